"""Keys: who has none gets in nowhere, what is kept of one is of no use, quotas hold."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from stp.cli import serve as commands
from stp.errors import UsageError
from stp.service.bounds import ServeSettings
from stp.service.keys import Keys
from stp.service.server import serve
from stp.settings import VerifySettings
from stp.store.service import ServiceStore
from tests.service.conftest import Live, job

BODY = {"jobs": [job("proved")]}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_only_keys_with_the_scope_are_served_and_revoking_works_at_once(
    live: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.add("alice", state=tmp_path)
    commands.add("bob", ["metrics"], state=tmp_path)
    alice, bob = capsys.readouterr().out.split()
    with live(keys=True) as client:
        assert client.get("/health").status_code == 200
        assert client.get("/").status_code == 200
        assert client.post("/health", content=b"x" * 1000).status_code == 413, "read without a key"
        for headers in ({}, bearer("x"), bearer(alice[:-1] + "!"), bearer("stp_nobody_" + alice[-43:])):
            reply = client.post("/v1/verify", json=BODY, headers=headers)
            assert reply.status_code == 401
            assert "Authorization: Bearer KEY" in reply.json()["detail"]
        assert client.post("/v1/verify", json=BODY, headers=bearer(alice)).status_code == 200
        assert client.get("/metrics", headers=bearer(bob)).status_code == 200
        for path in ("/v1/verify", "/api/check", "/verify", "/v1/jobs", "/mcp"):
            assert client.post(path, json={}, headers=bearer(bob)).status_code == 403
        commands.revoke("alice", state=tmp_path)
        assert client.post("/v1/verify", json=BODY, headers=bearer(alice)).status_code == 401
    capsys.readouterr()
    commands.list_(state=tmp_path)
    assert capsys.readouterr().out.split()[0::100] == ["bob"]


def test_who_gets_a_key_of_the_same_name_gets_nothing_of_the_last_one(
    live: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.add("bob", state=tmp_path)
    with live(keys=True) as client:
        first = bearer(capsys.readouterr().out.strip())
        body = {"id": "secret", "jobs": [job("proved")]}
        assert client.post("/v1/jobs", json=body, headers=first).status_code == 202
        commands.revoke("bob", state=tmp_path)
        commands.add("bob", state=tmp_path)
        second = bearer(capsys.readouterr().out.splitlines()[-1].strip())
        assert client.get("/v1/jobs/secret", headers=second).status_code == 404
        assert client.post("/v1/jobs", json=body, headers=second).status_code == 202


def test_the_store_holds_no_key_and_is_for_its_owner_only(tmp_path: Path) -> None:
    store = ServiceStore(tmp_path / "s" / "service.sqlite")
    key = Keys(store).add("alice", frozenset({"verify"}), 0)
    with pytest.raises(UsageError, match="there is one already"):
        Keys(store).add("alice", frozenset({"verify"}), 0)
    with pytest.raises(UsageError, match="expected some of jobs, metrics, verify"):
        Keys(store).add("eve", frozenset({"root"}), 0)
    store.close()
    for path in (tmp_path / "s").iterdir():
        assert key.removeprefix("stp_alice_").encode() not in path.read_bytes()
    assert (tmp_path / "s" / "service.sqlite").stat().st_mode & 0o77 == 0


def test_a_quota_is_a_rate(live: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands.add("carol", jobs_per_minute=60, state=tmp_path)
    headers = bearer(capsys.readouterr().out.strip())
    with live(keys=True) as client:
        body = {"jobs": [job("proved")] * 1}
        assert client.post("/v1/verify", json={"jobs": [job("proved") for _ in range(59)]}, headers=headers)
        replies = [client.post("/v1/verify", json=body, headers=headers) for _ in range(4)]
        assert replies[-1].status_code == 429
        assert 1 <= int(replies[-1].headers["Retry-After"]) <= 2


def test_what_is_refused_costs_no_quota(
    live: Live, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.add("carol", jobs_per_minute=60, state=tmp_path)
    headers = bearer(capsys.readouterr().out.strip())
    with live(keys=True, queued_jobs_per_client=10, batches_per_client=1) as client:

        def send(path: str, count: int, **more: object) -> httpx.Response:
            body = {"jobs": [job("proved") for _ in range(count)], **more}
            return client.post(path, json=body, headers=headers)

        for _ in range(4):
            assert "queue" in send("/v1/verify", 30).json()["detail"]
        for _ in range(4):
            assert send("/v1/jobs", 30, id="mine").status_code == 202
        for _ in range(4):
            assert "you have 1 batches" in send("/v1/jobs", 30).json()["detail"]
        assert send("/v1/verify", 9).status_code == 200


def test_nobody_elses_address_is_served_without_keys(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="add a key first"):
        serve(ServeSettings(VerifySettings(), tmp_path), "0.0.0.0", 0)
