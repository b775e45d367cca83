"""The committed mixes of proved statements that the benchmarks check."""

from __future__ import annotations

from collections.abc import Iterable

from stp.datasets import lean_core, seeds
from stp.datasets.seeds import Seed
from stp.syntax.lean import make_statement
from stp.types import Job, Limits, Source, Statement

_MIX = 400


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


def statements_of(jobs: Iterable[Job]) -> list[Statement]:
    """What jobs ask a proof of."""
    return [make_statement(job.statement, job.header, Source.DATASET) for job in jobs]


def _job(seed: Seed) -> Job:
    s = seed.statement
    return Job(s.key, s.header, s.text, seed.proof, origin=s.origin, limits=Limits(60.0, 60_000))
