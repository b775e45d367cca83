"""Nothing of a job is left for the next one, and hostile jobs cost only themselves."""

from __future__ import annotations

import os
import time
from random import Random

import psutil
import pytest

from stp.bench import mix
from stp.settings import VerifySettings
from stp.types import CheckResult, Job, Limits, Verdict
from stp.verify.pool import Pool, open_pool
from tests.cheats.test_cheats import ATTACKS, HONEST, cases

pytestmark = pytest.mark.lean


def decided(result: CheckResult) -> tuple[object, ...]:
    return result.verdict, result.reason, result.axioms, result.premises


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_order_changes_a_verdict(lean_pool: Pool) -> None:
    """Cheats that redefine, honest proofs of the same names, whole files with instances and notations."""
    corpus = [case.job(f"{attack} {i}") for attack in ATTACKS for i, case in enumerate(cases(attack))]
    corpus += [Job(f"honest {i}", "", statement, proof) for i, (statement, proof) in enumerate(HONEST)]
    corpus += mix()[: 500 - len(corpus)]
    assert len(corpus) == 500
    expected = {result.id: decided(result) for result in lean_pool.check(corpus)}
    for seed in range(3):
        shuffled = Random(seed).sample(corpus, len(corpus))
        found = {result.id: decided(result) for result in lean_pool.check(shuffled)}
        assert {id: (expected[id], found[id]) for id in found if found[id] != expected[id]} == {}


#: Statement, proof and the verdict that is due: loops, floods and bombs, each under a budget of its own.
LOOP = "theorem foo (f : Nat → Nat) (h : ∀ x, f x = f (x + 1)) : f {i} = 1"
COUNT = "theorem foo : Nat.rec (motive := fun _ => Nat) 0 (fun _ r => r + 1) {n} = 1"
HOSTILE = [
    (LOOP, "by simp [h]", {Verdict.REJECTED, Verdict.TIMED_OUT}),
    (LOOP, "by repeat rw [h]", {Verdict.REJECTED, Verdict.TIMED_OUT}),
    ("theorem foo : False", "by repeat (first | skip | trivial)", {Verdict.REJECTED, Verdict.TIMED_OUT}),
    ("theorem foo : False", "by iterate {n} skip", {Verdict.REJECTED}),
    ("theorem foo : False", "by trace {long}; trivial", {Verdict.REJECTED}),
    ("theorem foo : False", "{deep}trivial", {Verdict.REJECTED}),
    ("theorem foo : False", "by exact \0", {Verdict.REJECTED}),
    ("theorem foo : False", "by exact \ud800", {Verdict.REJECTED}),
    ("theorem foo : False", "by {huge}", {Verdict.REJECTED}),
    ("theorem foo : 2 ^ (2 ^ {i}{i}) = 0", "by decide +kernel", {Verdict.REJECTED}),
    ("theorem foo : (List.range {n}).length = {i}", "by decide", {Verdict.REJECTED, Verdict.TIMED_OUT}),
    ("theorem foo : (List.replicate {n} 'a').asString.length = {i}", "rfl",
     {Verdict.REJECTED, Verdict.TIMED_OUT, Verdict.BAD_STATEMENT}),
]  # fmt: skip
#: These end the checker, each twice: a crash or a clock that ran out is tried once more.
DEADLY = [
    (COUNT.format(n=10**8), "by decide +kernel"),
    ("theorem foo : (List.replicate 1000000000 1).length = 2", "by decide +kernel"),
]


def hostile(count: int) -> list[tuple[Job, set[Verdict]]]:
    found = []
    for i in range(count):
        statement, proof, due = HOSTILE[i % len(HOSTILE)]
        values = {
            "i": i, "n": 10**7 + i, "long": '"' + "x" * 600_000 + '"', "deep": "(" * (4000 + i),
            "huge": "skip;" * 2_000_000,
        }  # fmt: skip
        text = [part.format(**values) if "{" in part else part for part in (statement, proof)]
        found.append((Job(f"hostile {i}", "", *text, limits=Limits(30.0, 3_000)), due))
    return found


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_hostile_jobs_cost_only_themselves() -> None:
    rng = Random(0)
    honest = [Job(f"honest {n} {job.id}", job.header, job.statement, job.proof, origin=job.origin)
              for n in range(3) for job in mix()][:1000]  # fmt: skip
    bad = hostile(96)
    deadly = [Job(f"deadly {i}", "", *texts, limits=Limits(5.0, 3_000)) for i, texts in enumerate(DEADLY)]
    jobs = [*honest, *(job for job, _ in bad), *deadly]
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
    for job in deadly:
        assert results[job.id].verdict in (Verdict.TIMED_OUT, Verdict.OUT_OF_MEMORY, Verdict.CRASHED), job
    time.sleep(1)
    assert set(psutil.Process(os.getpid()).children(recursive=True)) - before == set()
