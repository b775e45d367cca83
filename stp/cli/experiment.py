"""`stp ablate` and `stp plan`: experiments, and what a large run would need."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def ablate(
    plan: Annotated[str, typer.Option(help="A plan that comes with STP (smoke, experiment, ...) or a file.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the runs; by default runs/PLAN.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs and stop.")] = False,
) -> None:
    """Play a grid of settings and seeds and compare the runs; the same command goes on where it stopped."""
    from stp.selfplay import ablate as plans

    chosen = plans.load_plan(plan)
    if dry_run:
        for run in plans.planned_runs(chosen):
            print(run.folder)
        return
    plans.ablate(chosen, out or Path("runs") / Path(plan).stem)
