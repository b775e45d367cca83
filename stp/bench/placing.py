"""Measures how parts that run side by side get in each other's way: what a check on a large cluster costs the
driver, and how much longer generating with checking takes than the longer of the two."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from stp.bench.jobs import exact_mix, statements_of
from stp.cluster import start_ray
from stp.errors import MachineryError
from stp.models.base import Sample
from stp.models.prompts import Prompt, prompt_format
from stp.search.sample import Draws, Prover, attempt
from stp.settings import ModelSettings, VerifySettings
from stp.store.cache import ResultCache
from stp.store.store import Store
from stp.types import CheckResult, Job, Verdict
from stp.verify.pool import Pool, RayHost, open_pool

_REPEATS = 3
_NODES, _WORKERS = 4, 64
#: What a check of the mix takes one of two workers (docs/benchmarks.md).
_CHECK_S = 0.04
_CHECKS = 20_000
_SAMPLES = 16


class Waiting:
    """A worker whose checks take as long as real ones, and no core."""

    def __init__(self, check_s: float) -> None:
        self._check_s = check_s

    def check(self, jobs: Sequence[Job]) -> list[CheckResult]:
        """See `Host`."""
        time.sleep(self._check_s * len(jobs))
        times = {"statement": 0.0, "proof": 1e3 * self._check_s, "kernel": 0.0}
        return [CheckResult(job.id, Verdict.PROVED, times_ms=times) for job in jobs]


def cluster(
    nodes: int = _NODES, workers: int = _WORKERS, checks: int = _CHECKS, check_s: float = _CHECK_S
) -> dict[str, Any]:
    """CPU time of the driver for each check, the result cache included, where real Ray nodes on this machine
    have so many workers that only wait; `of_a_check` must stay below 0.03."""
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 80 << 20})
    before = os.environ.get("RAY_ADDRESS")
    try:
        for _ in range(nodes):
            made.add_node(num_cpus=workers // nodes, object_store_memory=80 << 20)
        os.environ["RAY_ADDRESS"] = made.address
        start_ray()
        with TemporaryDirectory() as folder:
            cache = ResultCache(Path(folder) / "checks.sqlite")
            with Pool([lambda: RayHost(Waiting, check_s)] * workers, "waiting", cache) as pool:
                _checked(pool, "warm", 10 * workers)
                rows = [_checked(pool, str(repeat), checks) for repeat in range(_REPEATS)]
    finally:
        ray.shutdown()
        made.shutdown()
        os.environ.pop("RAY_ADDRESS")
        if before is not None:
            os.environ["RAY_ADDRESS"] = before
    costs_ms = [1e3 * cpu_s / checks for cpu_s, _ in rows]
    return {
        "driver_ms": median(costs_ms), "all": costs_ms, "of_a_check": median(costs_ms) / 1e3 / check_s,
        "checks_per_s": median(checks / wall_s for _, wall_s in rows),
        "workers_busy": median(checks * check_s / workers / wall_s for _, wall_s in rows),
    }  # fmt: skip


def _checked(pool: Pool, name: str, checks: int) -> tuple[float, float]:
    """CPU and wall seconds of so many checks that no cache knows."""
    times, began = psutil.Process().cpu_times(), time.monotonic()
    jobs = (Job(f"{name}/{i}", "", f"theorem t : {i} = {i}", f"by simp -- {name}") for i in range(checks))
    answered = sum(1 for _ in pool.check(jobs))
    assert answered == checks
    after = psutil.Process().cpu_times()
    return after.user + after.system - times.user - times.system, time.monotonic() - began


class Sleeper:
    """A generator that waits and then writes proofs that were there before; it needs no core."""

    def __init__(self, proofs: dict[str, list[str]], sample_s: float) -> None:
        self._proofs, self._sample_s = proofs, sample_s

    def generate(self, prompts: Sequence[Prompt], *, n: int, **_: Any) -> list[list[Sample]]:
        """See `Generator.generate`."""
        time.sleep(self._sample_s * n * len(prompts))
        return [[Sample(text, 1, True) for text in self._proofs[prompt.text][:n]] for prompt in prompts]


def overlap() -> dict[str, Any]:
    """Seconds of 6,400 real checks by all workers; of sampling as long beside the same checks; `ratio`, which
    must stay below 1.15, is the latter over the longer of the two alone."""
    settings, style = ModelSettings(), prompt_format("tiny")
    verify = VerifySettings(pool="local")
    jobs = exact_mix()
    statements = statements_of(jobs)
    steps = [job.proof.removeprefix("by ") for job in jobs]
    proofs = {
        style.prover(s).text: [f"by\n  -- {i}\n  {step}" for i in range(_SAMPLES)]
        for s, step in zip(statements, steps, strict=True)
    }

    def played_s(pool: Pool, sample_s: float) -> float:
        generator: Any = Sleeper(proofs, sample_s)
        with Store() as store:
            store.add_statements(statements, 0, "train")
            began = time.monotonic()
            prover = Prover(generator, style, pool, settings, verify)
            attempt(store, prover, 1, "attempt", statements, Draws(_SAMPLES, 1.0, 0))
            wrong = store.verdicts(1).keys() - {Verdict.PROVED}
            if wrong:
                raise MachineryError(f"the mix is not proved any more: {wrong}")
            return time.monotonic() - began

    rows = []
    with open_pool(verify) as pool:
        played_s(pool, 0.0)  # warms the checkers
        for _ in range(_REPEATS):
            checking_s = played_s(pool, 0.0)
            rows.append((checking_s, played_s(pool, checking_s / (_SAMPLES * len(statements)))))
    ratios = [together_s / checking_s for checking_s, together_s in rows]
    return {"ratio": median(ratios), "all": ratios, "seconds": rows}
