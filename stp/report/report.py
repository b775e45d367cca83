"""The report of a run in three forms: a table for the terminal, a page for people, lines for programs.

All three read the store only, also beside a running writer, and take a run that has only begun.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stp.files import write_file
from stp.report.record import FIXED, GATES, RoundRecord, RunRecord, read_run
from stp.report.table import laid_out, notes, table
from stp.store.store import Store
from stp.types import Source, Verdict


def summary(store: Store) -> str:
    """A plain table with one row a round, and a line for whatever is not finished."""
    run = read_run(store)
    if not run.rounds:
        return "No round has begun yet."
    columns = table(run)
    rows = [[column.above for column in columns], [column.name for column in columns]]
    rows += [[column.cell(record) for column in columns] for record in run.rounds]
    return "\n".join([*laid_out(rows), *([""] if (said := notes(run)) else []), *said])


def write_html(store: Store, path: Path, title: str) -> None:
    """One self-contained page at `path`, whole or not at all.

    Raises:
        StoreError: the page cannot be written there.
    """
    # Drawing takes matplotlib half a second to load: the table in the terminal does without it.
    from stp.report.page import render

    write_file(path, render(store, title))


def write_metrics(store: Store, path: Path) -> None:
    """One JSON object a round at `path`, whole or not at all; every line has the same keys.

    A number that a round does not have is null. Rates are fractions, `_s` are seconds.

    Raises:
        StoreError: the file cannot be written there.
    """
    write_file(path, "".join(json.dumps(line) + "\n" for line in metrics(store)))


def metrics(store: Store) -> list[dict[str, Any]]:
    """The lines of `write_metrics`."""
    run = read_run(store)
    return [_metrics(run, record) for record in run.rounds]


def _metrics(run: RunRecord, record: RoundRecord) -> dict[str, Any]:
    """The line of one round; which keys it has depends on the run, never on the round."""
    tallies = {source: record.rates.get(source, []) for source in Source}
    conjectures, dataset = tallies[Source.CONJECTURE], tallies[Source.DATASET]
    line: dict[str, Any] = {
        "round": record.round,
        "state": record.state,
        "seed_proofs": record.seed_proofs,
        **record.funnel,
        **{f"stopped_{name}": record.stopped[name] if record.stopped else None for name in GATES},
        "generated_tokens": record.generated_tokens,
        "barely_provable": record.barely_provable,
        "training_examples": record.examples,
        "training_loss": record.loss,
        "distinct_proofs": record.distinct_proofs,
        "attempts": record.attempts,
        "conjecture_pass_rate": _mean([tally.pass_rate for tally in conjectures]),
        "dataset_pass_rate": _mean([tally.pass_rate for tally in dataset]),
        "dataset_attempted": len(dataset),
        "dataset_proved": sum(tally.proved > 0 for tally in dataset),
        "dataset_proved_total": record.dataset_proved_total,
        **{f"verdict_{verdict}": record.verdicts.get(verdict, 0) for verdict in Verdict},
        **{f"{stage}_s": _rounded(record.stage_s.get(stage), 3) for stage in run.stages},
        "total_s": _rounded(sum(record.stage_s.values()), 3) if record.stage_s else None,
    }
    for name in (part for dataset in run.datasets for part in (dataset, dataset + FIXED)):
        line |= _held_out_metrics(record, name, run.samples.get(name, 0))
    return line


def _held_out_metrics(record: RoundRecord, name: str, most: int) -> dict[str, Any]:
    one, all_ = (record.pass_at(name, k) if k else None for k in (min(1, most), most))
    return {
        f"{name}/statements": len(record.samples.get(name, [])),
        f"{name}/K": most or None,
        f"{name}/pass@1": one and one.mean,
        f"{name}/pass@1_error": one and one.error,
        f"{name}/pass@K": all_ and all_.mean,
        f"{name}/pass@K_error": all_ and all_.error,
    }


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
