"""Measures this machine: worker start-up, checks a second on a committed mix, sampled tokens a second.

Repeated in one run, medians reported with every repeat, beside the machine's size; `docs/benchmarks.md`
keeps the numbers with the command that made them.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from stp.datasets import seeds
from stp.errors import UsageError
from stp.settings import Settings, VerifySettings
from stp.types import Job, Limits
from stp.verify.lean import toolchain
from stp.verify.lean.process import LeanProcess
from stp.verify.pool import open_pool

_REPEATS = 3
_MIX = 400


def run_bench(name: str, output: Path | None) -> None:
    """Runs one benchmark or all and prints a line each.

    Raises:
        UsageError: there is no such benchmark.
    """
    if name != "all" and name not in BENCHES:
        raise UsageError(f"bench {name!r}: expected one of {', '.join(BENCHES)} or all")
    numbers: dict[str, Any] = {"machine": machine()}
    print(numbers["machine"])
    for key, measure in BENCHES.items():
        if name in ("all", key):
            numbers[key] = measure()
            print(f"{key}: {json.dumps(numbers[key])}", flush=True)
    if output:
        output.write_text(json.dumps(numbers, indent=2) + "\n")


def machine() -> str:
    """Cores, memory and processor, as every number here needs beside it."""
    memory_gib = psutil.virtual_memory().total / 2**30
    return (
        f"{os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.machine()}, load {os.getloadavg()[0]:.1f}"
    )


def mix() -> list[Job]:
    """The first proofs of the seed corpus, one a statement: `exact`, `simp`, `grind`, `omega` and others."""
    chosen = {seed.statement.key: seed for seed in seeds.load()}
    return [
        Job(
            key,
            s.statement.header,
            s.statement.text,
            s.proof,
            origin=s.statement.origin,
            limits=Limits(60.0, 60_000),
        )
        for key, s in sorted(chosen.items())[:_MIX]
    ]


def _start() -> dict[str, Any]:
    lean = toolchain.find()
    times, memory_mb = [], 0
    for _ in range(_REPEATS):
        began = time.monotonic()
        process = LeanProcess(lean, "Checker")
        times.append(time.monotonic() - began)
        memory_mb = process.memory_mb()
        process.kill()
    return {"ready_s": median(times), "all_s": times, "memory_mb": memory_mb}


def _verify() -> dict[str, Any]:
    jobs, numbers = mix(), {}
    for workers in (1, 2):
        began = time.monotonic()
        with open_pool(VerifySettings(pool="local", workers=workers)) as pool:
            ready = [pool.submit(jobs[0]) for _ in range(8 * workers)]
            for future in ready:
                future.result()
            ready_s = time.monotonic() - began
            proved = sum(result.proved for result in pool.check(jobs))  # warms the compiled code
            rates = []
            for _ in range(_REPEATS):
                began = time.monotonic()
                for _ in pool.check(jobs):
                    pass
                rates.append(len(jobs) / (time.monotonic() - began))
        numbers[f"{workers} workers"] = {
            "checks_per_s": median(rates), "all": rates, "proved": proved, "of": len(jobs),
            "ready_s": ready_s,
        }  # fmt: skip
    return numbers


def _sample() -> dict[str, Any]:
    from stp.models.hf import HfGenerator
    from stp.models.prompts import prompt_format
    from stp.selfplay.seeds import seed_model

    settings = Settings()
    generator = HfGenerator(seed_model(settings), settings.model.prompt_format, settings.model.batch_size)
    style = prompt_format(settings.model.prompt_format)
    prompts = [style.prover(job.statement) for job in mix()[:64]]
    rates = []
    for repeat in range(_REPEATS + 1):
        began = time.monotonic()
        sampled = generator.generate(prompts, n=16, temperature=1.0, max_tokens=96, seed=repeat)
        tokens = sum(sample.tokens for samples in sampled for sample in samples)
        rates.append(tokens / (time.monotonic() - began))
    return {"tokens_per_s": median(rates[1:]), "all": rates[1:]}


BENCHES: dict[str, Callable[[], dict[str, Any]]] = {"start": _start, "verify": _verify, "sample": _sample}
