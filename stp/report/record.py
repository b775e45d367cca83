"""What a run has done so far, round by round: the numbers that every form of the report shows.

Read while the run goes on or after it was killed: whatever is missing is None, never an error.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from stp.report.rates import Rate, mean_pass_at_k
from stp.store.rows import Evaluation, Outcome, StageMark, Tally
from stp.store.store import Store
from stp.types import Source, Verdict

#: The stages of a round, in order.
STAGES = ("seeds", "conjecture", "gate", "attempt", "complete", "select", "train", "evaluate")
#: What is left of a round's conjectures after each step; the columns of the view `rounds_summary`.
FUNNEL = ("sampled", "parsed", "new", "compiled", "not_refuted", "not_trivial", "kept", "proved")
#: What stops a conjecture, in order; `rounds` keeps how many each stopped.
GATES = tuple(outcome.value for outcome in Outcome if outcome not in (Outcome.SAMPLED, Outcome.KEPT))
#: Ends the dataset's name of what fixed tactics got on the same statements with as many checks.
FIXED = "/fixed"


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """One round; None is a number that the round does not have (yet)."""

    round: int
    state: str
    """`done`, `in STAGE`, `after STAGE`, or `-` where no stage was ever begun."""
    seed_proofs: int
    """Distinct correct proofs that the seed corpus gave to this round."""
    funnel: dict[str, int | None]
    """By the names in `FUNNEL`."""
    stopped: dict[str, int] | None
    """Conjectures by the gate that stopped them, by the names in `GATES`."""
    generated_tokens: int | None
    """What the model wrote for conjectures and attempts."""
    barely_provable: int | None
    distinct_proofs: int | None
    """Distinct correct proofs among this round's attempts."""
    dataset_proved_total: int | None
    """Training statements of the dataset proved at least once, in this round or before."""
    rates: dict[Source, list[Tally]]
    """What each statement attempted in this round got."""
    verdicts: dict[Verdict, int]
    """Attempts, repeats included."""
    examples: int
    """What the round trained on."""
    loss: float | None
    """The mean over the training's steps; None where nothing was trained."""
    stage_s: dict[str, float]
    """Wall clock of each stage begun, in seconds."""
    samples: dict[str, list[tuple[int, int]]]
    """Of each dataset evaluated, fixed tactics included: (samples, proved) of each statement."""

    def pass_at(self, dataset: str, k: int) -> Rate | None:
        return mean_pass_at_k(self.samples.get(dataset, []), k)

    @property
    def minutes(self) -> float | None:
        return sum(self.stage_s.values()) / 60 if self.stage_s else None

    @property
    def attempts(self) -> int:
        """Attempts that count: crashed and out-of-memory ones are left out."""
        return sum(tally.attempts for tallies in self.rates.values() for tally in tallies)

    @property
    def datasets(self) -> list[str]:
        """Held-out datasets that it was evaluated on, without the fixed tactics'."""
        return [name for name, rows in self.samples.items() if rows and not name.endswith(FIXED)]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """All rounds of a run, in order."""

    rounds: list[RoundRecord]
    stages: tuple[str, ...]
    """`STAGES`, then any other that the store has marks of."""
    datasets: tuple[str, ...]
    """Held-out datasets, without the fixed tactics'."""
    samples: dict[str, int] = field(default_factory=dict)
    """K of each dataset, fixed tactics included: the most samples that one of its statements had."""
    band_high: float | None = None
    settings_digest: str | None = None
    toolchain: str | None = None
    decontaminated: dict[str, Any] | None = None
    """As `selfplay.seeds.fill` wrote it down: copies of held-out statements left out, and what held out."""

    def measured(self, dataset: str) -> list[RoundRecord]:
        """The rounds in which this dataset was evaluated."""
        return [record for record in self.rounds if record.samples.get(dataset)]


def read_run(store: Store) -> RunRecord:
    """Read everything that the report counts; the store may be one that another process writes to."""
    marks = defaultdict[int, list[StageMark]](list)
    trained = defaultdict[int, dict[str, Any]](dict)
    for mark in store.stages():
        marks[mark.round].append(mark)
        if mark.name == "train":
            trained[mark.round] = mark.stats
    funnels = {row["round"]: {name: row[name] for name in FUNNEL} for row in store.view("rounds_summary")}
    rates, totals = _rates(store)
    barely = defaultdict[int, int](int)
    for row in store.view("barely_provable"):
        barely[row["round"]] += 1
    samples = _samples(store.evaluations())
    band_high, tokens = store.meta("band_high"), store.generated_tokens()
    rounds = []
    for number in sorted({*marks, *funnels, *rates, *samples}):
        attempted = number in rates
        proofs = store.count_correct(number, conjectures=attempted)
        rounds.append(
            RoundRecord(
                round=number,
                state=_state(marks[number]),
                seed_proofs=0 if attempted else proofs,
                funnel=_funnel(funnels.get(number), attempted),
                stopped=_stopped(marks[number]),
                generated_tokens=tokens.get(number),
                barely_provable=barely[number] if attempted and band_high is not None else None,
                distinct_proofs=proofs if attempted else None,
                dataset_proved_total=totals.get(number),
                rates=rates.get(number, {}),
                verdicts=store.verdicts(number),
                examples=int(trained[number].get("examples", 0)),
                loss=trained[number].get("loss"),
                stage_s={mark.name: mark.elapsed_s for mark in marks[number]},
                samples=samples.get(number, {}),
            )
        )
    names = sorted({name for record in rounds for name in record.samples})
    return RunRecord(
        rounds,
        _stages(marks.values()),
        tuple(dict.fromkeys(name.removesuffix(FIXED) for name in names)),
        {name: max(n for r in rounds for n, _ in r.samples.get(name, [(0, 0)])) for name in names},
        band_high if isinstance(band_high, int | float) else None,
        _text(store.meta("settings_digest")),
        _text(store.meta("toolchain")),
        store.meta("decontaminated"),
    )


def _rates(store: Store) -> tuple[dict[int, dict[Source, list[Tally]]], dict[int, int]]:
    """Tallies by round and source, and how many statements of the dataset were proved up to each round."""
    rates: dict[int, dict[Source, list[Tally]]] = {}
    proved = defaultdict[int, set[str]](set)
    for row in store.view("pass_rates"):
        source = Source(row["source"])
        tallies = rates.setdefault(row["round"], {}).setdefault(source, [])
        tallies.append(Tally(row["attempts"], row["proved"]))
        if source is Source.DATASET and row["proved"]:
            proved[row["round"]].add(row["key"])
    totals, ever = {}, set[str]()
    for number in sorted(rates):
        ever |= proved[number]
        totals[number] = len(ever)
    return rates, totals


def _samples(evaluations: Iterable[Evaluation]) -> dict[int, dict[str, list[tuple[int, int]]]]:
    samples: dict[int, dict[str, list[tuple[int, int]]]] = {}
    for e in evaluations:
        samples.setdefault(e.round, {}).setdefault(e.dataset, []).append((e.samples, e.proved))
    return samples


def _funnel(counts: dict[str, int] | None, attempted: bool) -> dict[str, int | None]:
    """A round that attempts nothing yet has proved nothing *known*: None, not 0."""
    funnel: dict[str, int | None] = {name: counts[name] if counts else None for name in FUNNEL}
    if not attempted:
        funnel["proved"] = None
    return funnel


def _stopped(marks: list[StageMark]) -> dict[str, int] | None:
    stats = next((mark.stats for mark in marks if mark.name == "gate" and mark.finished_at), None)
    return None if stats is None else {name: int(stats.get(name, 0)) for name in GATES}


def _state(marks: list[StageMark]) -> str:
    if not marks:
        return "-"
    # A stage begun later than an unfinished one would be a fault of the round: show the first.
    for mark in marks:
        if mark.finished_at is None:
            return f"in {mark.name}"
    return "done" if any(mark.name == STAGES[-1] for mark in marks) else f"after {marks[-1].name}"


def _stages(marks: Iterable[list[StageMark]]) -> tuple[str, ...]:
    found = sorted({mark.name for of_round in marks for mark in of_round})
    return tuple(dict.fromkeys((*STAGES, *found)))


def _text(value: Any) -> str | None:
    if isinstance(value, dict):
        return " · ".join(f"{key} {part}" for key, part in value.items())
    return None if value is None else str(value)
