"""`stp selfplay` and `stp report`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from stp.errors import UsageError


def selfplay(
    rounds: Annotated[int, typer.Option(help="Rounds that the run is to have in all.")] = 1,
    config: Annotated[str, typer.Option(help="A preset or a TOML file.")] = "tiny",
    run: Annotated[Path, typer.Option(help="The run's folder.")] = Path("runs/default"),
    tokens: Annotated[
        int, typer.Option(min=0, help="Begin no round after so many generated tokens; 0: any.")
    ] = 0,
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.key=value")] = None,
) -> None:
    """Play rounds of self-play; the same command goes on where it was stopped."""
    from stp.selfplay.round import selfplay as play
    from stp.settings import load

    if rounds < 0:
        raise UsageError(f"--rounds: expected 0 or more, found {rounds}")
    try:
        play(load(config, set_), run, rounds, tokens)
    except (KeyboardInterrupt, SystemExit) as stopped:  # the latter is what Ray makes of a SIGTERM
        print("\nstp: stopped; the same command goes on from here", file=sys.stderr)
        raise typer.Exit(130 if isinstance(stopped, KeyboardInterrupt) else 143) from None


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs; records too, to compare.")],
    compare: Annotated[bool, typer.Option("--compare", help="Compare the runs with each other.")] = False,
    baseline: Annotated[str, typer.Option(help="The run or arm that the others are held to.")] = (
        "expert-iteration"
    ),
    output: Annotated[Path, typer.Option(help="Where a comparison is written.")] = Path("comparison"),
) -> None:
    """Print a run's table and write its report.html; or compare several, seeds of one arm taken together."""
    if compare:
        from stp.report.compare import write_comparison

        print(write_comparison(runs, output, baseline))
    else:
        for run in runs:
            _report(run)


def _report(run: Path) -> None:
    from stp.report.report import summary, write_html
    from stp.store.store import Store

    with Store(run / "stp.sqlite", read_only=True) as store:
        if store.meta("prove") is not None:
            raise UsageError(
                f"{run}: expected a run of self-play, found a search of stp prove: its report is "
                f"{run / 'report.html'}, which the command that began it writes anew"
            )
        write_html(store, run / "report.html", f"STP run {run.name}")
        print(summary(store))
