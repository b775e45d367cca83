"""A live service on a free port, with a scripted worker in place of Lean or with the session's real one."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from stp.errors import ToolchainError, WorkerError
from stp.service.bounds import Bounds, ServeSettings
from stp.service.provers import opening
from stp.service.server import make_server
from stp.settings import VerifySettings
from stp.types import CheckResult, Job, System, Verdict
from stp.verify.pool import Pool

Live = Callable[..., AbstractContextManager[httpx.Client]]


class ScriptedHost:
    """A worker that does what a proof says: `wait S`, `crash REASON`, `fail`, or its verdict's name."""

    def __init__(self) -> None:
        self.checked: list[str] = []
        self._mutex = threading.Lock()

    def check(self, jobs: Sequence[Job]) -> list[CheckResult]:
        with self._mutex:
            return [self._check(job) for job in jobs]

    def close(self) -> None:
        pass

    def _check(self, job: Job) -> CheckResult:
        self.checked.append(job.id)
        word, _, rest = job.proof.partition(" ")
        began = time.monotonic()
        if word == "fail":
            raise WorkerError("no checker starts any more")
        if word == "wait":
            time.sleep(float(rest.split()[0]))
        spent = {"statement": 0.0, "proof": 1e3 * (time.monotonic() - began), "kernel": 0.0}
        if word == "crash":
            return CheckResult(job.id, Verdict.CRASHED, rest, times_ms=spent)
        verdict = Verdict(word) if word in set(Verdict) else Verdict.PROVED
        return CheckResult(job.id, verdict, times_ms=spent, toolchain="scripted")


def only_lean(pool: Pool) -> Callable[..., Pool]:
    """In place of `open_pool`: a machine with this Lean pool and no Isabelle."""

    def open_pool(settings: VerifySettings, **_: object) -> Pool:
        if settings.system is System.ISABELLE:
            raise ToolchainError("none on this machine")
        return pool

    return open_pool


@pytest.fixture
def host() -> ScriptedHost:
    return ScriptedHost()


@contextmanager
def running(settings: ServeSettings) -> Iterator[httpx.Client]:
    """A server in a thread, and a client of it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with opening(settings.verify) as pools:
        server = make_server(settings, pools, "127.0.0.1", port)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
                while not server.started or client.get("/ready").status_code != 200:
                    assert thread.is_alive()
                    time.sleep(0.01)
                yield client
        finally:
            server.should_exit = True
            thread.join(timeout=60)


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: ScriptedHost) -> Live:
    """`with live(...) as client`: a service over the scripted worker; `pool` takes another one."""

    @contextmanager
    def serve(keys: bool = False, pool: Pool | None = None, **bounds: Any) -> Iterator[httpx.Client]:
        made = pool or Pool([lambda: host], "scripted", None)
        monkeypatch.setattr("stp.service.provers.open_pool", only_lean(made))
        with running(ServeSettings(VerifySettings(), tmp_path, keys, Bounds(**bounds))) as client:
            yield client

    return serve


@pytest.fixture(scope="session")
def lean_service(lean_pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The service over the session's real Lean; who closes that pool is the session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stp.service.provers.open_pool", only_lean(lean_pool))
        patch.setattr(lean_pool, "close", lambda: None)
        settings = ServeSettings(VerifySettings(), tmp_path_factory.mktemp("service"))
        with running(settings) as client:
            yield client


def job(proof: str, **more: Any) -> dict[str, Any]:
    """A job of the scripted worker."""
    return {"statement": "theorem foo : True", "proof": proof, **more}
