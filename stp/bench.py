"""Measures this machine: starts, checks (also over Lean's own time), sampled tokens, whole rounds.

Repeated in one run, medians reported with every repeat, beside the machine's size; `docs/benchmarks.md`
keeps the numbers with the command that made them.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import median
from subprocess import DEVNULL
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from stp.datasets import lean_core, seeds
from stp.datasets.seeds import Seed
from stp.errors import MachineryError, UsageError
from stp.selfplay import scale
from stp.service.bench import bench_serve
from stp.settings import VerifySettings, load
from stp.types import Job, Limits, Verdict
from stp.verify.hostile import deadly, hostile
from stp.verify.lean import toolchain
from stp.verify.lean.process import LeanProcess
from stp.verify.lean.worker import LeanWorker
from stp.verify.pool import Pool, open_pool

_REPEATS = 3
_MIX = 400
_HONEST, _HOSTILE = 1000, 100
_OVERHEAD_STATEMENTS, _OVERHEAD_PROOFS = 40, 8
#: With that word in it a file is elaborated with the elaborator's own kernel checks, as Lean does it.
_WHOLE = "/-! kernel -/\n\ntheorem done : True := trivial"


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
    """400 proved statements, one proof each: as many by `exact` as by `simp`, `rfl`, `omega` and `grind`."""
    found = exact_mix()[: _MIX // 5]
    used = {job.id for job in found}
    corpus = seeds.load()
    for tactic in ("by simp", "by rfl", "by omega", "by grind"):
        chosen = {s.statement.key: s for s in corpus if s.proof == tactic and s.statement.key not in used}
        kept = list(chosen.values())[: _MIX // 5]
        used |= {seed.statement.key for seed in kept}
        found += [_job(seed) for seed in kept]
    return found


def exact_mix() -> list[Job]:
    """Statements of `lean-core`, each by its own library theorem, written `exact NAME ..`."""
    # `..` fills in what is explicit: no instances, hypotheses, coercions, or what unfolds to a function.
    hidden = frozenset("[{↑¬≠→∀≤<≥>")
    plain = [
        s
        for s in lean_core.load("train")
        if not hidden & set(s.text) and "(" in s.text and " = " in s.text and "(h" not in s.text
    ]
    return [
        Job(s.key, s.header, s.text, f"by exact {s.origin} ..", limits=Limits(60.0, 60_000))
        for s in plain[:_MIX]
    ]


def _job(seed: Seed) -> Job:
    s = seed.statement
    return Job(s.key, s.header, s.text, seed.proof, origin=s.origin, limits=Limits(60.0, 60_000))


def _start() -> dict[str, Any]:
    """Seconds until one checker is ready, and until both of two started together are."""
    lean = toolchain.find()
    times: dict[str, list[float]] = {"one": [], "two": []}
    memory_mb: list[int] = []

    def start(began: float) -> float:
        process = LeanProcess(lean, "Checker")
        ready_s = time.monotonic() - began
        memory_mb.append(process.memory_mb())
        process.kill()
        return ready_s

    for _ in range(_REPEATS):
        times["one"].append(start(time.monotonic()))
        with ThreadPoolExecutor(2) as threads:
            times["two"].append(max(threads.map(start, [time.monotonic()] * 2)))
    return {
        "one_s": median(times["one"]), "two_s": median(times["two"]), "all_s": times,
        "memory_mb": max(memory_mb),
    }  # fmt: skip


def _verify() -> dict[str, Any]:
    """Checks a second of two mixes by one worker and two, and who used the cores meanwhile."""
    mixes = {"mix": mix(), "exact": exact_mix()}
    numbers: dict[str, Any] = {}
    for workers in (1, 2):
        began = time.monotonic()
        with open_pool(VerifySettings(pool="local", workers=workers)) as pool:
            list(pool.check([mixes["exact"][0]] * (8 * workers)))
            row: dict[str, Any] = {"ready_s": time.monotonic() - began}
            for name, jobs in mixes.items():
                proved = {
                    result.id for result in pool.check(jobs) if result.proved
                }  # warms the compiled code
                jobs = [job for job in jobs if job.id in proved]
                checkers_s, driver_s, wall_s = _cpu_s("Checker.lean"), _own_cpu_s(), time.monotonic()
                rates = [_rate(pool, jobs) for _ in range(_REPEATS)]
                cores_s = (time.monotonic() - wall_s) * (os.cpu_count() or 1)
                row[name] = {
                    "checks_per_s": median(rates), "all": rates, "jobs": len(jobs),
                    "cpu_in_lean": (_cpu_s("Checker.lean") - checkers_s) / cores_s,
                    "cpu_in_driver": (_own_cpu_s() - driver_s) / cores_s,
                }  # fmt: skip
        numbers[f"{workers} workers"] = row
    with TemporaryDirectory() as folder:
        cache = Path(folder) / "checks.sqlite"
        with open_pool(VerifySettings(pool="local", workers=1), cache=cache) as pool:
            _rate(pool, mixes["exact"])
            numbers["cached_ms"] = median(1e3 / _rate(pool, mixes["exact"]) for _ in range(_REPEATS))
    return numbers


def _rate(pool: Pool, jobs: list[Job]) -> float:
    """Jobs a second."""
    began = time.monotonic()
    list(pool.check(jobs))
    return len(jobs) / (time.monotonic() - began)


def _cpu_s(word: str) -> float:
    """CPU time so far of this process's children whose command line holds the word."""
    total = 0.0
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if word in " ".join(child.cmdline()):
                times = child.cpu_times()
                total += times.user + times.system
    return total


def _own_cpu_s() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


def _overhead() -> dict[str, Any]:
    """Time of a warm check, 8 of each statement, over Lean's own for the same theorems in one file."""
    by_key: dict[str, list[Seed]] = defaultdict(list)
    for seed in seeds.load():
        by_key[seed.statement.key].append(seed)
    chosen = [
        (group[0].statement, group[i % len(group)].proof)
        for _, group in sorted(by_key.items())[:_OVERHEAD_STATEMENTS]
        for i in range(_OVERHEAD_PROOFS)
    ]
    limits = Limits(300.0, 60_000)
    jobs = [Job(str(i), s.header, s.text, proof, limits=limits) for i, (s, proof) in enumerate(chosen)]
    texts = [s.text.replace(s.name, f"t{i}", 1) + f" := {proof}" for i, (s, proof) in enumerate(chosen)]
    file = Job("file", "", "", "\n\n".join([_WHOLE, *texts]), limits=limits,
               theorem="done")  # fmt: skip
    ratios, checks_ms = [], []
    with open_pool(VerifySettings(pool="local", workers=1)) as pool:
        refused = [result.id for result in pool.check(jobs) if not result.proved]
        for _ in range(_REPEATS):
            result = pool.submit(file).result()
            if result.verdict is not Verdict.UNJUDGED or refused:
                raise MachineryError(
                    f"the floor is not comparable: {result.reason} {result.messages} {refused}"
                )
            floor_s = result.times_ms["proof"] / 1e3
            spent_s = len(jobs) / _rate(pool, jobs)
            ratios.append(spent_s / floor_s)
            checks_ms.append(1e3 * spent_s / len(jobs))
    return {"ratio": median(ratios), "all": ratios, "check_ms": median(checks_ms), "checks": len(jobs)}


def _hostile() -> dict[str, Any]:
    """A thousand honest checks by one worker, alone and among a hundred hostile ones: honest checks a second
    of the time that the worker lived, restarts counted apart, and what was wrong or left behind."""
    ones = [replace(job, id=f"{n} {job.id}") for n in range(3) for job in mix()][:_HONEST]
    bad = hostile(_HOSTILE)
    killers = deadly()
    mixed = [*ones, *(job for job, _ in bad), *killers]
    Random(0).shuffle(mixed)
    lean = toolchain.find()
    ratios, wrong, restarts, restarting_s = [], 0, 0, 0.0
    for _ in range(_REPEATS):
        rates = []
        for jobs in (ones, mixed):
            worker = LeanWorker(lean, 4096)
            worker.check(ones[::5])  # warms the compiled code
            began, results = time.monotonic(), []
            for first in range(0, len(jobs), 50):
                results += worker.check(jobs[first : first + 50])
            live_s = time.monotonic() - began - worker.restarting_s
            rates.append(len(ones) / live_s)
            found = {result.id: result.verdict for result in results}
            wrong += sum(found[job.id] is not Verdict.PROVED for job in ones)
            if jobs is mixed:
                wrong += sum(found[job.id] not in due for job, due in bad)
                restarts, restarting_s = worker.restarts, worker.restarting_s
            worker.close()
        ratios.append(rates[1] / rates[0])
    return {
        "ratio": median(ratios), "all": ratios, "wrong": wrong, "restarts": restarts,
        "restarting_s": restarting_s,
        "left_behind": len(psutil.Process().children(recursive=True)),
    }  # fmt: skip


def _sample() -> dict[str, Any]:
    from stp.models.backend import open_generator
    from stp.models.prompts import prompt_format
    from stp.selfplay.seed_model import seed_model

    settings = load()
    generator = open_generator(settings.model, seed_model(settings.model))
    style = prompt_format(settings.model.prompt_format)
    prompts = [style.prover(job.statement) for job in mix()[:64]]
    rates = []
    for repeat in range(_REPEATS + 1):
        began = time.monotonic()
        sampled = generator.generate(prompts, n=16, temperature=1.0, max_tokens=96, seed=repeat)
        tokens = sum(sample.tokens for samples in sampled for sample in samples)
        rates.append(tokens / (time.monotonic() - began))
    return {"tokens_per_s": median(rates[1:]), "all": rates[1:]}


def _play(rounds: int) -> dict[str, Any]:
    """A new run with the default preset, caches as they are: its time, its memory, its numbers.

    Memory is the sum of the resident sets of the driver and all its children, read once a second: what
    several of them share is counted for each.
    """
    with TemporaryDirectory() as folder:
        began = time.monotonic()
        command = [sys.executable, "-m", "stp", "selfplay", "--rounds", str(rounds), "--run", folder]
        driver, peak = psutil.Popen(command, stdout=DEVNULL, stderr=DEVNULL), 0
        while driver.poll() is None:
            peak = max(peak, _resident(driver))
            time.sleep(1)
        if driver.returncode:
            raise MachineryError(f"{' '.join(command)}: ended with exit code {driver.returncode}")
        lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
        return {
            "minutes": (time.monotonic() - began) / 60, "peak_gib": peak / 2**30,
            "rounds": [json.loads(line) for line in lines],
        }  # fmt: skip


def _resident(driver: psutil.Process) -> int:
    total = 0
    for process in (driver, *driver.children(recursive=True)):
        with suppress(psutil.Error):
            total += process.memory_info().rss
    return total


BENCHES: dict[str, Callable[[], dict[str, Any]]] = {
    "start": _start,
    "verify": _verify,
    "overhead": _overhead,
    "hostile": _hostile,
    "sample": _sample,
    "round": lambda: _play(1),
    "rounds": lambda: _play(3),
    "scale": scale.measure,
    "serve": lambda: bench_serve(mix()),
}
