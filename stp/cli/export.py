"""`stp export`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """How tables are written."""

    JSONL = "jsonl"
    PARQUET = "parquet"


def export(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    out: Annotated[Path, typer.Argument(help="The folder to write: dataset/ and model/.")],
    format_: Annotated[Format, typer.Option("--format", help="Of the tables.")] = Format.JSONL,
    strict: Annotated[
        bool,
        typer.Option(help="Have a second process check every proof again, and leave out what it denies."),
    ] = True,
) -> None:
    """Write a run's training rows, preference pairs, statements with their checks, and model, with cards."""
    from stp.selfplay.export import export as write

    done = write(run, out, format_.value, strict=strict)
    for name, count in done.rows.items():
        print(f"{out / 'dataset'}: {name}: {count} rows")
    if done.left_out:
        print(f"{done.left_out} proofs were not accepted by the strict check and were left out")
    if done.model_round is not None:
        print(f"{out / 'model'}: the model of round {done.model_round}")
