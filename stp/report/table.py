"""The table of a run, one row a round, that the terminal and the page both show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from stp.report.rates import Rate
from stp.report.record import FIXED, FUNNEL, RoundRecord, RunRecord

#: What stands where a round does not have a number.
NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table: its headings and how a round's cell is written."""

    above: str
    """The first line of the head, often empty."""
    name: str
    cell: Callable[[RoundRecord], str]


def table(run: RunRecord) -> list[Column]:
    """The columns that this run has: each dataset's held-out rates stand beside the fixed tactics'."""
    return [
        Column("", "round", lambda r: str(r.round)),
        Column("", "state", lambda r: r.state),
        Column("seed", "proofs", lambda r: number(r.seed_proofs or None)),
        *(Column("", name, partial(_step, name)) for name in FUNNEL if not name.startswith("not_")),
        Column("barely", "provable", lambda r: number(r.barely_provable)),
        Column("distinct", "proofs", lambda r: number(r.distinct_proofs)),
        *(column for dataset in run.datasets for column in _held_out(run, dataset)),
        Column("", "minutes", lambda r: number(r.minutes, 1)),
    ]


def laid_out(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines of text, the columns to the right."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return ["  ".join(map(str.rjust, row, widths)).rstrip() for row in rows]


def notes(run: RunRecord) -> list[str]:
    """What was left out as copies of held-out statements; a sentence for each round that is not final yet."""
    notes = [_left_out(run, run.decontaminated)] if run.decontaminated else []
    for record in run.rounds:
        if record.state in ("done", NOTHING):
            continue
        sizes = {name: len(rows) for name, rows in record.samples.items() if not name.endswith(FIXED)}
        so_far = "".join(f"; {name}: {size} statements evaluated so far" for name, size in sizes.items())
        notes.append(f"Round {record.round} is not finished ({record.state}){so_far}.")
    return notes


def _left_out(run: RunRecord, found: dict[str, Any]) -> str:
    conjectures = sum((record.stopped or {}).get("contaminated", 0) for record in run.rounds)
    parts = [
        f"{sum(counts.values())} {name} ({counts['by_key']} by key, {counts['by_ngrams']} by n-grams)"
        for name, counts in (("seed statements", found["seeds"]), ("statements of the pool", found["pool"]))
    ]
    against = ", ".join(f"{name} ({size})" for name, size in found["against"].items())
    absent = f"; not on this machine: {', '.join(found['absent'])}" if found["absent"] else ""
    return f"Left out as copies of {against}: {', '.join(parts)}, {conjectures} conjectures{absent}."


def number(value: float | None, digits: int = 0) -> str:
    """A count, or a dash where there is none."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def percent(rate: Rate | None) -> str:
    """A rate in percent, or a dash where there is none."""
    return NOTHING if rate is None else f"{100 * rate.mean:.1f}%"


def _held_out(run: RunRecord, dataset: str) -> list[Column]:
    columns = []
    for name, above in ((dataset, dataset), (dataset + FIXED, "fixed")):
        most = run.samples.get(name, 0)
        for k in sorted({1, most}) if most else []:
            columns.append(Column(above, f"pass@{k}", partial(_held_out_rate, name, k)))
    return columns


def _held_out_rate(dataset: str, k: int, record: RoundRecord) -> str:
    return percent(record.pass_at(dataset, k))


def _step(name: str, record: RoundRecord) -> str:
    return number(record.funnel[name])
