"""What a comparison reads of each run, and the runs of one arm taken together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stp.errors import UsageError
from stp.report.bootstrap import Credits, credit_at
from stp.report.record import RoundRecord, RunRecord, read_run
from stp.store.rows import Conjecture, Outcome
from stp.store.store import Store
from stp.syntax.conclusion import disjunctions, split_conclusion
from stp.types import Source

#: What a comparison can be held against: cumulative costs of a run.
COSTS = ("tokens", "hours", "verifier_hours")


@dataclass(frozen=True, slots=True)
class RunData:
    """One run. Lists are by round from 0, costs and counts cumulative or of the round as said."""

    folder: Path
    seed: int
    settings: dict[str, Any]
    """Without the seed."""
    record: RunRecord
    pool: tuple[str, ...]
    first_round: NDArray[np.int64]
    """Of each statement of the pool: the round that proved it first, 0 for none."""
    spent: dict[str, list[float]]
    """By cost in `COSTS`, cumulative; 0 after round 0."""
    steps: dict[str, int]
    """Of each statement proved: tactic steps of its shortest correct proof."""
    conjectures: list[dict[str, float]]
    """Of each round from 1: numbers of its conjectures, in `CONJECTURE_NUMBERS`."""

    @property
    def rounds(self) -> int:
        return len(self.spent["tokens"]) - 1

    def credits(self, budget: float, cost: str = "tokens") -> NDArray[np.float64]:
        return credit_at(budget, self.spent[cost], self.first_round)


CONJECTURE_NUMBERS = (
    "in_band_share", "lemmas", "conclusion_chars", "disjunction_share", "duplicate_share", "vacuous_share",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Arm:
    """Runs that differ by their seeds alone."""

    name: str
    runs: list[RunData]

    def credits(self, budget: float, cost: str = "tokens") -> Credits:
        return [run.credits(budget, cost) for run in self.runs]

    def share(self, budget: float, cost: str = "tokens") -> float:
        return fmean(float(credit.mean()) for credit in self.credits(budget, cost))


def read_arms(folders: list[Path]) -> list[Arm]:
    """The runs by arm: `ARM/seed-N` belongs to ARM, any other folder is an arm of its own.

    Raises:
        UsageError: nothing to compare, or runs that cannot be: other settings in one arm, other pools.
        StoreError: a folder is no run.
    """
    by_name: dict[str, list[RunData]] = defaultdict(list)
    for folder in folders:
        path = folder.absolute()
        name = path.parent.name if path.name.startswith("seed-") else path.name
        by_name[name].append(read_data(folder))
    arms = [Arm(name, sorted(runs, key=lambda run: run.seed)) for name, runs in by_name.items()]
    if not arms:
        raise UsageError("expected the folders of runs to compare, found none")
    pools: dict[int, RunData] = {}
    for run in (run for arm in arms for run in arm.runs):
        other = pools.setdefault(run.seed, run)
        if run.pool != other.pool:
            raise UsageError(f"{run.folder} and {other.folder}: pools differ: they cannot be compared")
    for arm in arms:
        if any(run.settings != arm.runs[0].settings for run in arm.runs):
            raise UsageError(f"{arm.name}: its runs differ in more than their seeds: give them other folders")
        if len({run.seed for run in arm.runs}) < len(arm.runs):
            raise UsageError(f"{arm.name}: two of its runs have the same seed: give them other folders")
    return arms


def read_data(folder: Path) -> RunData:
    """What the comparison needs of one run."""
    with Store(folder / "stp.sqlite", read_only=True) as store:
        settings: dict[str, Any] = store.meta("settings") or {}
        record = read_run(store)
        tokens, verifier_s, first = store.generated_tokens(), store.verifier_s(), store.first_proved()
        whole = [r for r in record.rounds if r.round > 0 and r.state == "done"]
        pool = tuple(s.key for s in store.statements(source=Source.DATASET, split="train"))
        if not pool:
            raise UsageError(f"{folder}: expected a run with statements to prove, found none")
        last = len(whole)
        first_round = [number if (number := first.get(key, 0)) <= last else 0 for key in pool]
        gates = {m.round: float(m.stats.get("verifier_s", 0)) for m in store.stages() if m.name == "gate"}
        hours = {r.round: sum(r.stage_s.values()) / 3600 for r in whole}
        checks = {r: (verifier_s.get(r, 0) + gates.get(r, 0)) / 3600 for r in hours}
        return RunData(
            folder,
            int(settings.pop("seed", 0)),
            settings,
            record,
            pool,
            np.array(first_round, dtype=np.int64),
            {
                "tokens": _cumulative(whole, tokens),
                "hours": _cumulative(whole, hours),
                "verifier_hours": _cumulative(whole, checks),
            },
            _steps(store, set(pool), last),
            [_conjectures(store, r.round, r.barely_provable) for r in whole],
        )


def _cumulative(rounds: list[RoundRecord], values: Mapping[int, float]) -> list[float]:
    return [0.0, *accumulate(float(values.get(r.round, 0)) for r in rounds)]


def tactic_steps(proof: str) -> int:
    """Tactics of a proof: what lines, `;`, `<;>` and `·` tell apart, at least 1."""
    text = proof.strip().removeprefix("by").replace("<;>", ";").replace("·", ";").replace("\n", ";")
    return max(1, sum(bool(part.strip()) for part in text.split(";")))


def _steps(store: Store, pool: set[str], last: int) -> dict[str, int]:
    shortest: dict[str, str] = {}
    for proof in store.correct_proofs(1, last):
        if proof.statement in pool and len(proof.text) < len(shortest.get(proof.statement, proof.text + " ")):
            shortest[proof.statement] = proof.text
    return {key: tactic_steps(text) for key, text in shortest.items()}


def _conjectures(store: Store, round: int, in_band: int | None) -> dict[str, float]:
    rows = store.conjectures(round)
    kept = [row for row in rows if row.outcome is Outcome.KEPT]
    texts = {s.key: s.text for s in store.statements(source=Source.CONJECTURE, round=round)}
    statements = [texts[row.statement] for row in kept if row.statement]
    parsed = len(rows) - _count(rows, Outcome.UNPARSED)
    return {
        "in_band_share": (in_band or 0) / max(1, len(kept)),
        "lemmas": float(len({row.lemma_name for row in kept if row.lemma_name})),
        "conclusion_chars": fmean(len(split_conclusion(text)[1]) for text in statements) if kept else 0.0,
        "disjunction_share": sum(disjunctions(text) > 0 for text in statements) / max(1, len(kept)),
        "duplicate_share": _count(rows, Outcome.DUPLICATE) / max(1, parsed),
        "vacuous_share": _count(rows, Outcome.VACUOUS) / max(1, parsed),
    }


def _count(rows: list[Conjecture], outcome: Outcome) -> int:
    return sum(row.outcome is outcome for row in rows)
