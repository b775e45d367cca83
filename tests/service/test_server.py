"""The process: it ends well when asked to, and goes on well when killed."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.service.conftest import Live, job

pytestmark = pytest.mark.programs


SERVE = """
import sys
from pathlib import Path
import stp.service.provers
from stp.service.bounds import ServeSettings
from stp.service.server import serve
from stp.settings import VerifySettings
from stp.verify.pool import Pool
from tests.service.conftest import ScriptedHost, only_lean
stp.service.provers.open_pool = only_lean(Pool([ScriptedHost], "scripted", None))
state, port, *tls = sys.argv[1:]
serve(ServeSettings(VerifySettings(), Path(state)), "127.0.0.1", int(port), *map(Path, tls))
"""


@contextmanager
def process(state: Path, *tls: Path) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SERVE, str(state), str(port), *map(str, tls)]
    child = subprocess.Popen(command, stderr=subprocess.PIPE)
    verify = ssl.create_default_context(cafile=tls[0]) if tls else True
    url = f"http{'s' if tls else ''}://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=url, verify=verify, timeout=60) as client:
            while True:
                assert child.poll() is None
                with suppress(httpx.TransportError):
                    if client.get("/ready").is_success:
                        break
                time.sleep(0.05)
            yield child, client
    finally:
        child.kill()
        child.wait()


def test_what_is_in_flight_is_answered_before_the_end(tmp_path: Path) -> None:
    with process(tmp_path) as (child, client), ThreadPoolExecutor(1) as threads:
        reply = threads.submit(client.post, "/v1/verify", json={"jobs": [job("wait 1")]})
        time.sleep(0.4)
        child.send_signal(signal.SIGTERM)
        assert reply.result().json()["results"][0]["verdict"] == "proved"
        assert child.wait(10) in (0, -signal.SIGTERM)
    assert child.stderr
    said = child.stderr.read().splitlines()
    assert [line.split()[0] for line in said] == [b"serving"], (
        "no task is left behind, none dies with a traceback (Kimina's fault g)"
    )
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o77 == 0
    audit = (tmp_path / "audit.jsonl").read_text()
    assert '"path": "/v1/verify", "status": 200' in audit
    assert '"jobs": 1' in audit


def test_who_never_reads_is_let_go(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stp.service.server._HEADERS_S", 0.3)
    asked = 400
    with live() as client, socket.socket() as slow:
        size = len(client.get("/openapi.json").content)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        slow.connect((client.base_url.host, client.base_url.port))
        slow.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * asked)
        time.sleep(3)
        slow.settimeout(30)
        read = 0
        with suppress(ConnectionResetError):
            while chunk := slow.recv(1 << 20):
                read += len(chunk)
    assert read < asked * size / 2


def test_a_kill_loses_no_accepted_job(tmp_path: Path) -> None:
    jobs = [job("wait 0.01", id=str(i)) for i in range(150)]
    with process(tmp_path) as (child, client):
        assert client.post("/v1/jobs", json={"id": "b", "jobs": jobs}).status_code == 202
        while client.get("/v1/jobs/b").json()["answered"] < 40:
            time.sleep(0.02)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    with process(tmp_path) as (_, client):
        while (batch := client.get("/v1/jobs/b").json())["state"] != "done":
            time.sleep(0.05)
    assert sorted(int(result["id"]) for result in batch["results"]) == list(range(150))


def test_a_service_that_can_check_nothing_any_more_ends(tmp_path: Path) -> None:
    with process(tmp_path) as (child, client):
        assert client.post("/v1/verify", json={"jobs": [job("fail")]}).status_code == 503
        assert child.wait(20) == 1
    assert child.stderr
    assert b"the service ends, its checkers failed: no checker starts any more" in child.stderr.read()


def test_tls_is_served_with_the_files_given(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key),
         "-out", str(cert)],
        capture_output=True,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("no openssl to make a certificate with")
    with process(tmp_path, cert, key) as (_, client):
        assert client.get("/health").json() == {"status": "ok"}
