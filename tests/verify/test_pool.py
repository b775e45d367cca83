"""Workers under faults: what is killed is restarted, what it cost is one job, nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import psutil
import pytest

from stp.errors import ToolchainError, WorkerError
from stp.settings import VerifySettings
from stp.types import Job, Limits, Verdict
from stp.verify.lean import toolchain
from stp.verify.lean.worker import LeanWorker
from stp.verify.pool import NodeWorker, open_pool

pytestmark = pytest.mark.lean
COMM = "theorem foo (a b : Nat) : a + b = b + a"


def jobs(count: int) -> list[Job]:
    return [Job(str(i), "", COMM, "by omega" if i % 2 else "by rfl") for i in range(count)]


def test_kills_and_stalls_cost_nobody_else_anything() -> None:
    before = checkers()
    worker = LeanWorker(toolchain.find(), memory_mb=8192)
    try:
        endless = (
            "by\n  have h : (10 : Nat) ^ 9 = 10 ^ 9 := by decide +kernel\n  repeat (first | skip | omega)"
        )
        stalled = Job("stall", "", COMM, endless, limits=Limits(2.0, 10**9))
        mixed = [*jobs(6), stalled, *jobs(6)]
        results = worker.check(mixed)
        assert [r.id for r in results] == [job.id for job in mixed]
        assert results[6].verdict is not Verdict.PROVED
        others = results[:6] + results[7:]
        assert [r.proved for r in others] == [int(r.id) % 2 == 1 for r in others]
        assert worker.check(jobs(2))[1].proved
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        assert [r.proved for r in worker.check(jobs(4))] == [False, True, False, True]
        assert worker.restarts >= 1
        os.kill(worker.pid, signal.SIGKILL)
        with ThreadPoolExecutor(1) as threads:
            starting = threads.submit(worker.check, jobs(2))
            time.sleep(1)
            worker.close()
            with pytest.raises(WorkerError, match="closed"):
                starting.result(timeout=2)
    finally:
        worker.close()
    time.sleep(0.2)
    assert checkers() <= before


def test_a_node_with_another_checker_is_refused_and_says_why() -> None:
    expected = replace(toolchain.find("embedded"), digest="0123")
    worker = NodeWorker(expected, memory_mb=4096)
    with pytest.raises(ToolchainError, match=r"node .*: expected the embedded prover .*0123, found"):
        worker.check(jobs(1))


def checkers() -> set[psutil.Process]:
    """Checkers that this process and its children run."""

    def is_one(process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error):  # it has just ended
            return "launcher.js" in " ".join(process.cmdline())
        return False

    return {process for process in psutil.Process().children(recursive=True) if is_one(process)}


def test_a_ray_pool_answers_like_a_local_one_and_leaves_no_checker(lean_pool) -> None:  # type: ignore[no-untyped-def]
    expected = {r.id: r.verdict for r in lean_pool.check(jobs(20))}
    before = checkers()
    with open_pool(VerifySettings(pool="ray", workers=1)) as pool:
        assert {r.id: r.verdict for r in pool.check(jobs(20))} == expected
    import ray

    ray.shutdown()
    time.sleep(1)
    assert before
    assert checkers() == before, "the local pool's own checkers and no other"
