"""The service's own API: right answers, one clear sentence to what is wrong, nothing of the host."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from stp.service.schema import JobIn, LimitsIn
from stp.verify import job as jobs_json
from tests.service.conftest import Live, ScriptedHost, job


def test_the_schema_is_that_of_verify_jsonl() -> None:
    assert set(JobIn.model_fields) == jobs_json._FIELDS
    assert set(LimitsIn.model_fields) == set(jobs_json._LIMITS)


def test_results_come_in_the_order_of_the_jobs_or_as_they_are_there(live: Live) -> None:
    body = {"jobs": [job("wait 0.3", id="slow"), job("rejected", id="no"), job("proved")]}
    with live() as client:
        results = client.post("/v1/verify", json=body).json()["results"]
        assert [(r["id"], r["verdict"]) for r in results] == [
            ("slow", "proved"), ("no", "rejected"), ("2", "proved"),
        ]  # fmt: skip
        lines = client.post("/v1/verify", json=body, headers={"Accept": "application/x-ndjson"})
        assert {json.loads(line)["id"] for line in lines.text.splitlines()} == {"slow", "no", "2"}
        assert 'stp_checks_total{cached="false",verdict="proved"} 4.0' in client.get("/metrics").text
        assert client.get("/v1/pool").json()["verdicts"] == {"proved": 4, "rejected": 2}
        assert client.get("/v1/toolchains").json()["toolchains"][0]["toolchain"] == "scripted"
        assert client.get("/v1/limits").json()["jobs_per_request"] == 2000


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({}, 422, "jobs: Field required"),
        ({"jobs": []}, 422, "jobs: List should have at least 1 item"),
        ({"jobs": [job("proved", extra=1)]}, 422, "jobs.0.extra: Extra inputs are not permitted"),
        ({"jobs": [job("proved", premises="yes")]}, 422, "jobs.0.premises: Input should be a valid boolean"),
        ({"jobs": [{"statement": "x"}]}, 422, "jobs.0.proof: Field required"),
        ({"jobs": [job("proved", id="a")] * 2}, 422, "jobs: expected ids that differ"),
        ({"jobs": [job("proved", limits={"wall_s": 601})]}, 422, "jobs.0: limits.wall_s: expected at most"),
        ({"jobs": [job("proved", system="isabelle")]}, 503, "isabelle: none on this machine"),
        ({"jobs": [job("proved")] * 2001}, 422, "jobs: expected at most 2000, found 2001"),
        ({"jobs": [job("\ud800")]}, 422, "jobs.0: field 'proof': expected a text"),
        ({"\ud800": 1, "jobs": [job("proved")]}, 422, "valid string"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_a_sentence(
    live: Live, body: dict[str, Any], status: int, sentence: str
) -> None:
    with live() as client:
        headers = {"Content-Type": "application/json"}
        reply = client.post("/v1/verify", content=json.dumps(body), headers=headers)
    assert reply.status_code == status
    assert sentence in reply.json()["detail"]
    assert "retry-after" not in reply.headers, "waiting does not mend it"


def test_malformed_bodies_and_wrong_kinds_are_refused(live: Live) -> None:
    with live() as client:
        headers = {"Content-Type": "application/json"}
        assert client.post("/v1/verify", content=b'{"jobs": [', headers=headers).status_code == 422
        assert client.post("/v1/verify", content=b"\xff\xfe", headers=headers).status_code in (400, 422)
        assert client.post("/v1/verify", content=b"[" * 100_000, headers=headers).status_code in (400, 422)
        assert client.post("/v1/verify", content=b"x").status_code == 422
        assert client.get("/v1/verify").status_code == 405
        assert client.get("/nowhere").status_code == 404


def test_a_body_without_end_is_cut_while_it_is_read(live: Live) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 100 << 20:
            sent += 1 << 20
            yield b" " * (1 << 20)

    with live() as client:
        with suppress(httpx.WriteError):  # the service may close the connection in the middle of it
            assert client.post("/v1/verify", content=endless()).status_code == 413
        assert sent < 64 << 20
        with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as claims:
            claims.sendall(
                b"POST /v1/verify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 104857600\r\n\r\n"
            )
            answer = claims.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"at most 16777216 bytes" in answer
        assert client.get("/health").json() == {"status": "ok"}


def test_slow_clients_are_let_go(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stp.service.server._HEADERS_S", 0.5)
    with live(body_s=0.5) as client:
        address = (client.base_url.host, client.base_url.port or 0)
        for start in (
            b"POST /v1/verify HT",
            b"POST /v1/verify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n",
        ):
            with socket.create_connection(address) as slow:
                slow.sendall(start)
                slow.settimeout(10)
                began = time.monotonic()
                answer = slow.recv(1000)
                assert time.monotonic() - began < 5
                assert not answer or answer.startswith(b"HTTP/1.1 408")


def test_replies_say_nothing_of_the_host_and_forbid_foreign_scripts(live: Live) -> None:
    with live() as client:
        reply = client.post(
            "/v1/verify", json={"jobs": [job("crash it ended: /usr/lib/x/node.js at /home/u/a")]}
        )
        assert reply.json()["results"][0]["reason"] == "it ended: … at …"
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
        assert "server" not in reply.headers
        for page in ("/", "/docs"):
            reply = client.get(page)
            assert "https:" not in reply.text, "nothing comes from elsewhere"
            assert "unsafe" not in reply.headers["Content-Security-Policy"]


def test_another_host_name_is_refused_where_there_are_no_keys(live: Live) -> None:
    with live() as client:
        assert client.get("/health", headers={"Host": "evil.example"}).status_code == 403
        for host in ("localhost", "127.0.0.2:8000", "[::1]:8000"):
            assert client.get("/health", headers={"Host": host}).status_code == 200


def test_a_client_that_goes_away_takes_its_jobs_back(live: Live, host: ScriptedHost) -> None:
    body = {"jobs": [job("wait 0.05") for _ in range(100)]}
    with live() as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/verify", json=body, timeout=0.3)
        stream = {"Accept": "application/x-ndjson"}
        with client.stream("POST", "/v1/verify", json=body, headers=stream) as reply:
            next(reply.iter_lines())
        kimina = {"codes": [{"custom_id": i, "proof": "wait 0.05"} for i in range(100)]}
        with pytest.raises(httpx.ReadTimeout):
            client.post("/verify", json=kimina, timeout=0.3)
        time.sleep(0.5)
        assert client.get("/v1/pool").json()["waiting"] == 0
        assert len(host.checked) < 60


def test_methods_that_there_are_not_count_together(live: Live) -> None:
    with live() as client:
        for i in range(3):
            client.request(f"BREW{i}", "/health")
        text = client.get("/metrics").text
    assert "BREW" not in text
    assert 'stp_requests_total{method="other",status="405"} 3.0' in text
