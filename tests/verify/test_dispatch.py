"""The pool's dispatcher, in front of hosts that answer when the test says so."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

from stp.errors import WorkerError
from stp.types import CheckResult, Job, Verdict
from stp.verify import pool as pools
from stp.verify.pool import Pool


class GatedHost:
    """Answers each batch when its gate is open; `entered` says that it has one."""

    def __init__(self) -> None:
        self.gate, self.entered, self.seen = threading.Event(), threading.Event(), list[str]()
        self.closed = False

    def check(self, jobs: Sequence[Job]) -> list[CheckResult]:
        self.seen += [job.id for job in jobs]
        self.entered.set()
        assert self.gate.wait(30)
        return [CheckResult(job.id, Verdict.PROVED) for job in jobs]

    def close(self) -> None:
        self.closed = True
        self.gate.set()


def job(id: str) -> Job:
    return Job(id, "", "theorem foo : True", "trivial")


def test_a_late_batch_is_given_to_an_idle_worker_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_LATE_S", 0.1)
    stuck, idle = GatedHost(), GatedHost()
    idle.gate.set()
    with Pool([lambda: stuck], "digest", None) as pool:
        future = pool.submit(job("1"))
        assert stuck.entered.wait(10)
        threading.Thread(target=pool._start, args=(lambda: idle,), daemon=True).start()
        assert future.result(timeout=10).proved
        assert idle.seen == ["1"]
        assert not stuck.gate.is_set()


def test_a_pool_that_is_closed_settles_what_is_under_way() -> None:
    class Ended(GatedHost):
        def check(self, jobs: Sequence[Job]) -> list[CheckResult]:
            super().check(jobs)
            raise WorkerError("the worker was closed")

        def close(self) -> None:
            self.gate.set()

    host = Ended()
    with Pool([lambda: host], "digest", None) as pool:
        future = pool.submit(job("1"))
        assert host.entered.wait(10)
    with pytest.raises(WorkerError):
        future.result(timeout=10)


class TalkativeHost(GatedHost):
    """Answers once more than it was asked."""

    def check(self, jobs: Sequence[Job]) -> list[CheckResult]:
        return [CheckResult(job.id, Verdict.PROVED) for job in (*jobs, jobs[0])]


def test_a_host_that_answers_otherwise_than_asked_fails_the_pool() -> None:
    with Pool([TalkativeHost], "digest", None) as pool:
        with pytest.raises(ValueError, match="zip"):
            pool.submit(job("1")).result(timeout=30)
        assert isinstance(pool.failure, ValueError)


def test_what_nobody_waits_for_is_not_checked() -> None:
    host = GatedHost()
    with Pool([lambda: host], "digest", None) as pool:
        first = pool.submit(job("1"))
        assert host.entered.wait(10)
        others = [pool.submit(job(str(i))) for i in range(2, 300)]
        cancelled = [future for future in others[100:] if future.cancel()]
        assert cancelled
        host.gate.set()
        assert all(future.result(timeout=10).proved for future in [first, *others[:100]])
    assert len(host.seen) == len(set(host.seen)) <= 300 - len(cancelled)


def test_a_worker_that_is_ready_behind_the_end_is_closed() -> None:
    made, ready = GatedHost(), threading.Event()

    def make() -> GatedHost:
        ready.wait(10)
        return made

    pool = Pool([make], "digest", None)
    closing = threading.Thread(target=pool.close)
    closing.start()
    while not pool._closing:
        time.sleep(0.01)
    ready.set()
    closing.join(20)
    assert made.closed
