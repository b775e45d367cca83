"""Measures checking: a checker's start, checks a second, what a check costs over Lean's own work, and what
hostile jobs cost the honest ones."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from random import Random
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any, Literal

import psutil

from stp.bench.jobs import exact_mix, mix
from stp.datasets import seeds
from stp.datasets.seeds import Seed
from stp.errors import MachineryError, ToolchainError
from stp.settings import VerifySettings
from stp.syntax.lean import named, split_theorem
from stp.types import CheckResult, Job, Limits, Verdict
from stp.verify.hostile import deadly, hostile
from stp.verify.lean import toolchain
from stp.verify.lean.process import LeanProcess
from stp.verify.lean.worker import LeanWorker
from stp.verify.pool import Pool, open_pool

_REPEATS = 3
#: Passes over a mix before the clock starts: V8 compiles what is used often once more, better.
_WARMING = 3
_HONEST, _HOSTILE, _PART = 1000, 98, 50
_OVERHEAD_STATEMENTS, _OVERHEAD_PROOFS = 40, 8
#: So many proofs of a statement are of the corpus.
_DISTINCT = 6
#: So many checks, then the same in a file, then the next ones: what else the machine does falls on both.
_OVERHEAD_PART = 40
_Kind = Literal["embedded", "native"]


def start() -> dict[str, Any]:
    """Seconds until one checker is ready, and until both of two started together are."""
    lean = toolchain.find()
    times: dict[str, list[float]] = {"one": [], "two": []}
    memory_mb: list[int] = []

    def ready_s(began: float) -> float:
        process = LeanProcess(lean, "Checker")
        seconds = time.monotonic() - began
        memory_mb.append(process.memory_mb())
        process.kill()
        return seconds

    for _ in range(_REPEATS):
        times["one"].append(ready_s(time.monotonic()))
        with ThreadPoolExecutor(2) as threads:
            times["two"].append(max(threads.map(ready_s, [time.monotonic()] * 2)))
    return {
        "one_s": median(times["one"]), "two_s": median(times["two"]), "all_s": times,
        "memory_mb": max(memory_mb),
    }  # fmt: skip


def verify() -> dict[str, Any]:
    """Of each Lean on this machine: checks a second by one worker and two, who used the cores meanwhile,
    where a check's time goes, what it costs over Lean's own work, and a cached result."""
    return {kind: _verify(kind) for kind in _kinds()}


def _kinds() -> Iterator[_Kind]:
    yield "embedded"
    with suppress(ToolchainError):
        toolchain.find("native")
        yield "native"


def _verify(kind: _Kind) -> dict[str, Any]:
    mixes = {"mix": mix(), "exact": exact_mix()}
    numbers: dict[str, Any] = {"overhead": _overhead(kind)}
    for workers in (1, 2):
        began = time.monotonic()
        with open_pool(VerifySettings(toolchain=kind, pool="local", workers=workers)) as pool:
            list(pool.check([mixes["exact"][0]] * (8 * workers)))
            row: dict[str, Any] = {"ready_s": time.monotonic() - began}
            for name, jobs in mixes.items():
                refused = [result.id for result in pool.check(jobs) if not result.proved]
                if refused:
                    raise MachineryError(f"the mix {name!r} is not proved any more: {refused[:3]}")
                for number in range(_WARMING):
                    _rate(pool, _anew(jobs, number))
                passes = [_anew(jobs, _WARMING + number) for number in range(_REPEATS)]
                checkers_s, driver_s, wall_s = _cpu_s("Checker.lean"), _own_cpu_s(), time.monotonic()
                rates = [_rate(pool, one) for one in passes]
                cores_s = (time.monotonic() - wall_s) * (os.cpu_count() or 1)
                row[name] = {
                    "checks_per_s": median(rates), "all": rates, "jobs": len(jobs),
                    "cpu_in_lean": (_cpu_s("Checker.lean") - checkers_s) / cores_s,
                    "cpu_in_driver": (_own_cpu_s() - driver_s) / cores_s,
                }  # fmt: skip
            if workers == 1:
                numbers["parts_ms"] = _parts_ms(pool, _anew(mixes["mix"], _WARMING + _REPEATS))
        numbers[f"{workers} workers"] = row
    if kind == "native" and find_spec("lean_interact"):
        numbers["lean_interact_per_s"] = [_lean_interact(mixes["mix"]) for _ in range(_REPEATS)]
    with TemporaryDirectory() as folder:
        cache = Path(folder) / "checks.sqlite"
        with open_pool(VerifySettings(toolchain=kind, pool="local", workers=1), cache=cache) as pool:
            _rate(pool, mixes["exact"])
            numbers["cached_ms"] = median(1e3 / _rate(pool, mixes["exact"]) for _ in range(_REPEATS))
    return numbers


def _parts_ms(pool: Pool, jobs: list[Job]) -> dict[str, dict[str, float]]:
    """The mean milliseconds of each part of a check, by the proof's tactic."""
    groups: dict[str, list[CheckResult]] = defaultdict(list)
    tactics = {job.id: job.proof.split()[1] for job in jobs}
    for result in pool.check(jobs):
        groups[tactics[result.id]].append(result)
    return {
        tactic: {part: mean(r.times_ms[part] for r in group) for part in ("statement", "proof", "kernel")}
        for tactic, group in groups.items()
    }


def _lean_interact(jobs: list[Job]) -> float:
    """Proofs a second of LeanInteract's REPL, in the same project, each header imported once and before the
    clock starts. It decides from messages alone."""
    from lean_interact import AutoLeanServer, Command, LeanREPLConfig, LocalProject

    server = AutoLeanServer(LeanREPLConfig(project=LocalProject(directory=str(toolchain.project_dir()))))
    headers = {job.header for job in jobs}
    environments = {header: server.run(Command(cmd=header)).env for header in headers if header}
    began = time.monotonic()
    for job in jobs:
        command = Command(cmd=f"{job.statement} := {job.proof}", env=environments.get(job.header))
        if not server.run(command).lean_code_is_valid(allow_sorry=False):
            raise MachineryError(f"LeanInteract does not accept {job.id} of the mix")
    return len(jobs) / (time.monotonic() - began)


def _anew(jobs: Sequence[Job], number: int) -> list[Job]:
    """The jobs under other names: a checker remembers statements, and each pass is to be the first."""
    return [
        replace(job, statement=named(f"pass_{number}_{theorem.name}", theorem.signature))
        for job in jobs
        for theorem in [split_theorem(job.statement)]
    ]


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


def _overhead(kind: _Kind) -> dict[str, Any]:
    """Time of a warm check, 8 of each statement, over Lean's own for the same theorems in one file."""
    by_key: dict[str, dict[str, Seed]] = defaultdict(dict)
    for seed in seeds.load():
        by_key[seed.statement.key][seed.proof] = seed
    # Proofs that differ: in one file Lean proves an auxiliary lemma once, however often it is needed.
    groups = [group for _, group in sorted(by_key.items()) if len(group) >= _DISTINCT][:_OVERHEAD_STATEMENTS]
    chosen = [
        (next(iter(group.values())).statement, proof)
        for group in groups
        for proof in _eight([*group][:_DISTINCT])
    ]
    limits = Limits(300.0, 60_000)
    jobs = [Job(str(i), s.header, s.text, proof, limits=limits) for i, (s, proof) in enumerate(chosen)]
    parts = [jobs[first : first + _OVERHEAD_PART] for first in range(0, len(jobs), _OVERHEAD_PART)]
    files = [_file(part) for part in parts]
    ratios, checks_ms = [], []
    with open_pool(VerifySettings(toolchain=kind, pool="local", workers=1)) as pool, ExitStack() as at_end:
        floor = LeanProcess(toolchain.find(kind), "Floor")
        at_end.callback(floor.kill)
        refused = [result.id for result in pool.check(jobs) if not result.proved]
        errors = [file for file in files if _floor(floor, file)["errors"]]
        if refused or errors:
            raise MachineryError(f"the floor is not comparable: {refused} {errors[:1]}")
        for number in range(_REPEATS):
            floor_s = spent_s = 0.0
            for part, file in zip(parts, files, strict=True):
                floor_s += _floor(floor, file)["ns"] / 1e9
                spent_s += len(part) / _rate(pool, _anew(part, number))
            ratios.append(spent_s / floor_s)
            checks_ms.append(1e3 * spent_s / len(jobs))
    return {"ratio": median(ratios), "all": ratios, "check_ms": median(checks_ms), "checks": len(jobs)}


def _eight(proofs: list[str]) -> list[str]:
    """Six proofs, and the first two that are on one line with a step more."""
    lines = [proof for proof in proofs if proof.startswith("by ") and "\n" not in proof]
    more = _OVERHEAD_PROOFS - len(proofs)
    return [*proofs, *(f"by intros; {proof.removeprefix('by ')}" for proof in lines[:more])]


def _floor(process: LeanProcess, file: str) -> Any:
    """How long Lean itself takes for a file, and how many errors it finds."""
    process.send(file)
    return process.receive(time.monotonic() + 300)


def _file(jobs: Sequence[Job]) -> str:
    """The jobs' theorems in one file, under names of their own."""
    signatures = [split_theorem(job.statement).signature for job in jobs]
    return "\n\n".join(
        f"{named(f't{i}', signature)} := {job.proof}"
        for i, (job, signature) in enumerate(zip(jobs, signatures, strict=True))
    )


def hostility() -> dict[str, Any]:
    """A thousand honest checks by one worker, and by another one the same among a hundred hostile ones, in
    turns: honest checks a second, restarts counted apart, and what was wrong or left behind. `ratio` leaves
    out the time of the hostile checks themselves, which their limits set; `ratio_with_theirs` does not."""
    ones = [replace(job, id=f"{n} {job.id}") for n in range(3) for job in mix()][:_HONEST]
    bad = hostile(_HOSTILE)
    mixed = [*ones, *(job for job, _ in bad), *deadly()]
    Random(0).shuffle(mixed)
    honest = {job.id for job in ones}
    ones = [job for job in mixed if job.id in honest]  # in the same order: one after its like is cheaper
    due = dict.fromkeys(honest, frozenset({Verdict.PROVED})) | {job.id: verdicts for job, verdicts in bad}
    lean = toolchain.find()
    ratios, with_theirs, wrong, restarts, restarting_s = [], [], 0, 0, 0.0
    for _ in range(_REPEATS):
        with closing(LeanWorker(lean, 4096)) as calm, closing(LeanWorker(lean, 4096)) as beset:
            for worker in (calm, beset):
                worker.check(ones[::5])  # warms the compiled code
            live_s, theirs_s = {calm: 0.0, beset: 0.0}, 0.0
            for first in range(0, len(mixed), _PART):  # a machine is faster and slower by the minute
                part = mixed[first : first + _PART]
                for worker in (calm, beset) if first // _PART % 2 else (beset, calm):
                    jobs = part if worker is beset else [job for job in part if job.id in honest]
                    began, restarted_s = time.monotonic(), worker.restarting_s
                    results = worker.check(jobs)
                    live_s[worker] += time.monotonic() - began - (worker.restarting_s - restarted_s)
                    wrong += sum(r.verdict not in due.get(r.id, frozenset({r.verdict})) for r in results)
                    theirs_s += sum(sum(r.times_ms.values()) for r in results if r.id not in honest) / 1e3
            restarts, restarting_s = beset.restarts, beset.restarting_s
        ratios.append(live_s[calm] / (live_s[beset] - theirs_s))
        with_theirs.append(live_s[calm] / live_s[beset])
    return {
        "ratio": median(ratios), "all": ratios, "ratio_with_theirs": median(with_theirs), "wrong": wrong,
        "restarts": restarts, "restarting_s": restarting_s,
        "left_behind": len(psutil.Process().children(recursive=True)),
    }  # fmt: skip
