"""Nothing of a job is left for the next one, and hostile jobs cost only themselves."""

from __future__ import annotations

import os
import time
from itertools import permutations
from random import Random

import psutil
import pytest

from stp.bench.jobs import mix
from stp.settings import VerifySettings
from stp.types import CheckResult, Job, Verdict
from stp.verify.hostile import deadly, hostile
from stp.verify.lean import toolchain
from stp.verify.lean.worker import LeanWorker
from stp.verify.pool import Pool, open_pool
from tests.cheats.test_cheats import ATTACKS, HONEST, cases

pytestmark = pytest.mark.lean


def decided(result: CheckResult) -> tuple[object, ...]:
    return result.verdict, result.reason, result.axioms, result.premises


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_order_changes_a_verdict(lean_pool: Pool) -> None:
    """Cheats that redefine, honest proofs of the same names, whole files with instances and attributes."""
    corpus = [case.job(f"{attack} {i}") for attack in ATTACKS for i, case in enumerate(cases(attack))]
    corpus += [Job(f"honest {i}", "", statement, proof) for i, (statement, proof) in enumerate(HONEST)]
    corpus += mix()[: 500 - len(corpus)]
    assert len(corpus) == 500
    expected = {result.id: decided(result) for result in lean_pool.check(corpus)}
    for seed in range(3):
        shuffled = Random(seed).sample(corpus, len(corpus))
        found = {result.id: decided(result) for result in lean_pool.check(shuffled)}
        assert {id: (expected[id], found[id]) for id in found if found[id] != expected[id]} == {}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_memory_that_ends_in_an_import_costs_no_verdict() -> None:
    """Each list of imports takes memory for good; where it ended, Lean found modules of no name."""
    modules = [f"import Init.Data.{name}" for name in ("List", "Nat", "Int", "Array", "Fin")]
    lists = [*permutations(modules, 1), *permutations(modules, 2)]
    jobs = [
        Job(str(n), "\n".join(given), "theorem foo (a : Nat) : a = a", "rfl") for n, given in enumerate(lists)
    ]
    worker = LeanWorker(toolchain.find("embedded"), memory_mb=8192)
    try:
        assert [result.verdict for result in worker.check(jobs)] == [Verdict.PROVED] * len(jobs)
        assert worker.restarts == 1
    finally:
        worker.close()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_hostile_jobs_cost_only_themselves() -> None:
    rng = Random(0)
    honest = [Job(f"honest {n} {job.id}", job.header, job.statement, job.proof, origin=job.origin)
              for n in range(3) for job in mix()][:1000]  # fmt: skip
    assert len(honest) == 1000
    bad = hostile(96)
    killers = deadly()
    jobs = [*honest, *(job for job, _ in bad), *killers]
    rng.shuffle(jobs)
    before = set(psutil.Process(os.getpid()).children(recursive=True))
    with open_pool(VerifySettings(pool="local", workers=1)) as pool:
        results = {result.id: result for result in pool.check(jobs)}
    assert len(results) == len(jobs)
    assert [results[job.id] for job in honest if not results[job.id].proved] == []
    wrong = [
        (job.statement, job.proof[:50], results[job.id].verdict, results[job.id].reason)
        for job, due in bad
        if results[job.id].verdict not in due
    ]
    assert wrong == []
    for job in killers:
        assert results[job.id].verdict in (Verdict.TIMED_OUT, Verdict.OUT_OF_MEMORY, Verdict.CRASHED), job
    time.sleep(1)
    assert set(psutil.Process(os.getpid()).children(recursive=True)) - before == set()
