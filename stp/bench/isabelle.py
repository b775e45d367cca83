"""`stp bench isabelle`: what the Isabelle of this machine does, beside what it must reach. Never run yet."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import cycle, islice
from statistics import median
from typing import Any

from stp.datasets.isabelle_templates import claims
from stp.errors import MachineryError
from stp.types import Job, Limits, System
from stp.verify.isabelle import toolchain
from stp.verify.isabelle.worker import IsabelleWorker

#: At least so many a second, at most so many seconds, and memory at most so many times that of the start.
MUST = {"audited_per_s": 10.0, "packed_per_s": 25.0, "alone_s": 0.5, "ready_s": 10.0, "memory_growth": 1.2}
_REPEATS = 3
_BATCH = 64
_MIX, _ALONE, _MANY = 320, 40, 5000
_MEMORY_MB = 100_000
"""No server is replaced while its growth is measured."""


def measure() -> dict[str, Any]:
    """Seconds until a worker is ready, audited checks a second with a theory each and in packs, seconds of a
    single job, memory over thousands of jobs, and which of `MUST` were reached.

    Raises:
        ToolchainError: no Isabelle.
        MachineryError: it proves too few of the jobs to measure anything.
    """
    prover = toolchain.find()
    ready_s = []
    for _ in range(_REPEATS):
        began = time.monotonic()
        worker = IsabelleWorker(prover, _MEMORY_MB)
        ready_s.append(time.monotonic() - began)
        if len(ready_s) < _REPEATS:
            worker.close()
    try:
        jobs = _mix(worker)
        # A text with its own theorem shares no theory; the others do once most jobs are proved.
        apart = [replace(job, proof=f"{job.statement} {job.proof}") for job in jobs]
        rates = [_rate(worker, apart) for _ in range(_REPEATS)]
        packed = [_rate(worker, jobs) for _ in range(_REPEATS)]
        alone_s = []
        for job in islice(cycle(jobs), _ALONE):
            began = time.monotonic()
            worker.check([job])
            alone_s.append(time.monotonic() - began)
        memory_mb = [worker.memory_mb]
        many = islice(cycle(jobs), _MANY)
        while part := list(islice(many, _BATCH)):
            worker.check(part)
            memory_mb.append(worker.memory_mb)
    finally:
        worker.close()
    numbers = {
        "audited_per_s": median(rates), "packed_per_s": median(packed), "alone_s": median(alone_s),
        "ready_s": median(ready_s), "memory_growth": max(memory_mb) / memory_mb[0],
    }  # fmt: skip
    reached = {name: _reached(name, value) for name, value in numbers.items()}
    return {
        **numbers, "all_rates": rates, "all_packed": packed, "jobs": len(jobs), "reached": reached,
        "memory_mb": memory_mb[:: max(1, len(memory_mb) // 10)],
    }  # fmt: skip


def _reached(name: str, value: float) -> bool:
    return value >= MUST[name] if name.endswith("_per_s") else value <= MUST[name]


def _mix(worker: IsabelleWorker) -> list[Job]:
    """One-line proofs that are proved here."""
    jobs = [
        Job(str(i), "", statement, proof, System.ISABELLE, limits=Limits(wall_s=20.0))
        for i, (statement, proof) in enumerate(islice(claims(), _MIX))
    ]
    proved = {
        r.id for at in range(0, len(jobs), _BATCH) for r in worker.check(jobs[at : at + _BATCH]) if r.proved
    }
    if len(proved) < _MIX // 2:
        raise MachineryError(
            f"expected Isabelle to prove {_MIX // 2} of {_MIX} statements, found {len(proved)}: run make "
            "test-isabelle"
        )
    return [job for job in jobs if job.id in proved]


def _rate(worker: IsabelleWorker, jobs: list[Job]) -> float:
    """Jobs a second, in batches."""
    began = time.monotonic()
    for at in range(0, len(jobs), _BATCH):
        worker.check(jobs[at : at + _BATCH])
    return len(jobs) / (time.monotonic() - began)
