"""What a comparison reads of each run, and the runs of one arm taken together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from stp.errors import UsageError
from stp.files import write_file
from stp.report.bootstrap import Credits, credit_at
from stp.report.record import RoundRecord, read_run
from stp.settings import PLACEMENT, with_later_keys
from stp.store.rows import Conjecture, Outcome
from stp.store.store import Store
from stp.syntax.dialect import DIALECTS
from stp.types import Source

#: What a comparison can be held against: cumulative costs of a run.
COSTS = ("tokens", "hours", "verifier_hours")


@dataclass(frozen=True, slots=True)
class RunData:
    """One run: all that a comparison reads of it, so that its store need not be kept. Lists are by round from
    1, where nothing else is said."""

    seed: int
    settings: dict[str, Any]
    """Without the seed, and without what only says where checkers run."""
    toolchain: str | None
    decontaminated: dict[str, Any] | None
    pool: tuple[str, ...]
    first_round: tuple[int, ...]
    """Of each statement of the pool: the round that proved it first, 0 for none."""
    spent: dict[str, list[float]]
    """By cost in `COSTS`, cumulative, from round 0 on, which costs 0."""
    steps: dict[str, int]
    """Of each statement proved: tactic steps of the correct proof that has the fewest."""
    portfolio_proves: tuple[str, ...]
    """Those of several steps that the portfolio proves too."""
    held_out: dict[str, list[tuple[int, int]]]
    """Of each dataset evaluated: (samples, proved) of each statement, by the last model."""
    funnel: list[dict[str, int | None]]
    """What was left of the round's conjectures, in `FUNNEL`."""
    conjectures: list[dict[str, float]]
    """Numbers of the round's conjectures, in `CONJECTURE_NUMBERS`."""

    @property
    def rounds(self) -> int:
        return len(self.spent["tokens"]) - 1

    @property
    def makes_conjectures(self) -> bool:
        return self.rounds > 0 and self.settings.get("conjecture", {}).get("mode") != "off"

    def credits(self, budget: float, cost: str = "tokens") -> NDArray[np.float64]:
        return credit_at(budget, self.spent[cost], np.array(self.first_round, dtype=np.int64))

    def multi_step(self, budget: float) -> int:
        """Statements proved within the budget, in two or more tactic steps, and not by the portfolio."""
        proved = {key for key, credit in zip(self.pool, self.credits(budget), strict=True) if credit > 0}
        return sum(self.steps[key] > 1 for key in proved - set(self.portfolio_proves))


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


def read_arms(paths: list[Path]) -> list[Arm]:
    """The runs by arm, each by its folder or its record: `ARM/seed-N` and `ARM/seed-N.json` belong to ARM,
    any other is an arm of its own.

    Raises:
        UsageError: nothing to compare, or runs that cannot be: other settings in one arm, other pools.
        StoreError: a folder is no run.
    """
    by_name: dict[str, list[RunData]] = defaultdict(list)
    for path in map(Path.absolute, paths):
        own = path.stem if path.is_file() else path.name
        by_name[path.parent.name if own.startswith("seed-") else own].append(read_data(path))
    arms = [Arm(name, sorted(runs, key=lambda run: run.seed)) for name, runs in by_name.items()]
    if not arms:
        raise UsageError("expected the folders or records of runs to compare, found none")
    pools: dict[int, tuple[str, RunData]] = {}
    for name, run in ((arm.name, run) for arm in arms for run in arm.runs):
        other, first = pools.setdefault(run.seed, (name, run))
        if run.pool != first.pool:
            raise UsageError(f"{other} and {name}, seed {run.seed}: pools differ: they cannot be compared")
    for arm in arms:
        if any(run.settings != arm.runs[0].settings for run in arm.runs):
            raise UsageError(f"{arm.name}: its runs differ in more than their seeds: give them other folders")
        if len({run.seed for run in arm.runs}) < len(arm.runs):
            raise UsageError(f"{arm.name}: two of its runs have the same seed: give them other folders")
    return arms


def read_data(path: Path) -> RunData:
    """A run of a folder, or one that `write_record` wrote down.

    Raises:
        UsageError: the file is no record of a run.
        StoreError: the folder is no run.
    """
    if not path.is_file():
        with Store(path / "stp.sqlite", read_only=True) as store:
            return _read_store(store, path)
    try:
        data = TypeAdapter(RunData).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"{path}: expected the record of a run, found {where}: {first['msg']}") from None
    return replace(data, settings=comparable(data.settings))


def write_record(run: Path, path: Path) -> RunData:
    """Writes all that a comparison reads of a run's folder, some 15 kB, whole or not at all."""
    data = read_data(run)
    write_file(path, TypeAdapter(RunData).dump_json(data).decode() + "\n")
    return data


def comparable(settings: dict[str, Any]) -> dict[str, Any]:
    """Recorded settings, as JSON, that runs of one arm share, whenever they were recorded."""
    settings = {name: value for name, value in with_later_keys(settings).items() if name != "seed"}
    return {
        name: {key: value for key, value in section.items() if f"{name}.{key}" not in PLACEMENT}
        if isinstance(section, dict)
        else section
        for name, section in settings.items()
    }


def _read_store(store: Store, folder: Path) -> RunData:
    settings: dict[str, Any] = store.meta("settings") or {}
    record = read_run(store)
    tokens, verifier_s, first = store.generated_tokens(), store.verifier_s(), store.first_proved()
    whole = [r for r in record.rounds if r.round > 0 and r.state == "done"]
    pool = tuple(s.key for s in store.statements(source=Source.DATASET, split="train"))
    if not pool:
        raise UsageError(f"{folder}: expected a run with statements to prove, found none")
    last = len(whole)
    steps = fewest_steps(store, 1, last)
    stats = {(m.round, m.name): m.stats for m in store.stages()}
    hours = {r.round: sum(r.stage_s.values()) / 3600 for r in whole}
    stages = ("conjecture", "gate")
    checks = {
        r: (verifier_s.get(r, 0) + sum(stats.get((r, s), {}).get("verifier_s", 0) for s in stages)) / 3600
        for r in hours
    }
    return RunData(
        int(settings.get("seed", 0)),
        comparable(settings),
        record.toolchain,
        record.decontaminated,
        pool,
        tuple(number if (number := first.get(key, 0)) <= last else 0 for key in pool),
        {
            "tokens": _cumulative(whole, tokens),
            "hours": _cumulative(whole, hours),
            "verifier_hours": _cumulative(whole, checks),
        },
        {key: steps[key] for key in pool if key in steps},
        tuple(key for r in whole for key in stats.get((r.round, "evaluate"), {}).get("portfolio_proves", ())),
        {
            dataset: measured[-1].samples[dataset]
            for dataset in record.datasets
            if (measured := record.measured(dataset))
        },
        [r.funnel for r in whole],
        [_conjectures(store, r.round, r.barely_provable) for r in whole],
    )


def _cumulative(rounds: list[RoundRecord], values: Mapping[int, float]) -> list[float]:
    return [0.0, *accumulate(float(values.get(r.round, 0)) for r in rounds)]


def tactic_steps(proof: str) -> int:
    """Tactics of a proof: what lines, `;`, `<;>` and `·` tell apart, at least 1."""
    text = proof.strip().removeprefix("by").replace("<;>", ";").replace("·", ";").replace("\n", ";")
    return max(1, sum(bool(part.strip()) for part in text.split(";")))


def fewest_steps(store: Store, first: int, last: int) -> dict[str, int]:
    """Of each statement with correct proofs in these rounds: tactic steps of that with the fewest."""
    fewest: dict[str, int] = {}
    for proof in store.correct_proofs(first, last):
        steps = tactic_steps(proof.text)
        fewest[proof.statement] = min(steps, fewest.get(proof.statement, steps))
    return fewest


def _conjectures(store: Store, round: int, in_band: int | None) -> dict[str, float]:
    rows = store.conjectures(round)
    kept = [row for row in rows if row.outcome is Outcome.KEPT]
    by_key = {s.key: s for s in store.statements(source=Source.CONJECTURE, round=round)}
    statements = [
        (DIALECTS[s.system], s.text) for row in kept if row.statement and (s := by_key[row.statement])
    ]
    parsed = len(rows) - _count(rows, Outcome.UNPARSED)
    return {
        "in_band_share": (in_band or 0) / max(1, len(kept)),
        "lemmas": float(len({row.lemma_name for row in kept if row.lemma_name})),
        "conclusion_chars": fmean(len(d.conclusion(text)) for d, text in statements) if kept else 0.0,
        "disjunction_share": sum(d.disjunctions(text) > 0 for d, text in statements) / max(1, len(kept)),
        "duplicate_share": _count(rows, Outcome.DUPLICATE) / max(1, parsed),
        "vacuous_share": _count(rows, Outcome.VACUOUS) / max(1, parsed),
    }


def _count(rows: list[Conjecture], outcome: Outcome) -> int:
    return sum(row.outcome is outcome for row in rows)
