"""`stp ablate` and `stp plan`: experiments, and what a large run would need."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from stp.errors import UsageError


def ablate(
    plan: Annotated[str, typer.Option(help="A plan that comes with STP (smoke, experiment, ...) or a file.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the runs; by default runs/PLAN.")] = None,
    records: Annotated[
        Path | None, typer.Option(help="Folder of the records and the comparison; by default OUT/records.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the runs and stop.")] = False,
    cpus: Annotated[
        int, typer.Option(min=0, help="Play runs as Ray tasks of so many cores; 0: in turn.")
    ] = 0,
    gpus: Annotated[float, typer.Option(min=0, help="And so many GPUs each.")] = 0,
) -> None:
    """Play a grid of settings and seeds and compare the runs; the same command goes on where it stopped.

    A run with a record is done: records are small, and enough to compare and to go on from.
    """
    from stp.selfplay import ablate as plans

    chosen = plans.load_plan(plan)
    if dry_run:
        for run in plans.planned_runs(chosen, cpus):
            print(run.folder)
        return
    try:
        out = out or Path("runs") / Path(plan).stem
        plans.ablate(chosen, out, records or out / "records", cpus, gpus)
    except KeyboardInterrupt:
        print("\nstp: stopped; the same command goes on from here", file=sys.stderr)
        raise typer.Exit(130) from None


def plan(
    config: Annotated[str, typer.Option(help="A preset or a TOML file.")] = "tiny",
    run: Annotated[
        Path | None, typer.Option(help="A run to read rates from, in place of the options.")
    ] = None,
    tokens_per_s: Annotated[float, typer.Option(min=1e-6, help="Tokens a GPU samples a second.")] = 2_500.0,
    checks_per_s: Annotated[float, typer.Option(min=1e-6, help="Checks of one checker a second.")] = 2.0,
    training_tokens_per_s: Annotated[
        float, typer.Option(min=1e-6, help="Tokens a GPU trains on a second.")
    ] = 4_000.0,
    statements: Annotated[
        int, typer.Option(min=0, help="Statements of the dataset, where the settings take all.")
    ] = 0,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs; 1 is also a machine without.")] = 8,
    workers: Annotated[int, typer.Option(min=0, help="Checkers; 0: as many as keep up.")] = 0,
    model_gb: Annotated[float, typer.Option(min=0, help="Size of a model on disk.")] = 14.0,
) -> None:
    """Say what STP's published run, a round of it and one of these settings need, and what is slowest."""
    from stp.report import cost
    from stp.settings import load
    from stp.store.store import Store

    settings = load(config)
    rates = cost.Rates(tokens_per_s, checks_per_s, training_tokens_per_s)
    if run:
        with Store(run / "stp.sqlite", read_only=True) as store:
            if not store.generated_tokens():
                raise UsageError(f"{run}: expected a run with a round to read rates from, found none")
            rates = cost.measured(store, rates)
    costs = [
        cost.cost(work, rates, gpus, workers, model_gb)
        for work in cost.workloads(settings, rates, statements)
    ]
    print(cost.table(costs))
    print(
        f"\nfrom {rates.tokens_per_s:,.0f} tokens/s and {rates.training_tokens_per_s:,.0f} training tokens/s "
        f"of a GPU, {rates.checks_per_s:.3g} checks/s of a checker; "
        f"{100 * rates.distinct_frac:.0f} % of proofs distinct, {rates.training_frac:.3g} tokens trained on "
        f"for each sampled, {rates.bytes_per_proof:.0f} bytes a proof"
    )
