"""`stp prove`."""

from __future__ import annotations

import difflib
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stp.errors import ModelServerError, UsageError

if TYPE_CHECKING:
    from stp.prove import FileProver
    from stp.search.holes import HoleReport
    from stp.search.prove import Budget
    from stp.settings import Settings

_LOOK_S = 0.5


def prove(
    ctx: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(help="A Lean file or a theory, to fill its `sorry`s.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="A benchmark of `stp data list`, or a file or folder of your own.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="One side of it, such as test; else all.")] = None,
    k: Annotated[int, typer.Option("-k", help="Tries for each statement or hole, at most.")] = 32,
    strategy: Annotated[
        str, typer.Option(help="sample, portfolio, repair or tree; a+b: eight tries of a, then half each.")
    ] = "portfolio+sample",
    model: Annotated[str | None, typer.Option(help="tiny, or the folder of a model.")] = None,
    out: Annotated[Path, typer.Option(help="The run's folder; the same command goes on there.")] = Path(
        "runs/prove"
    ),
    from_: Annotated[
        Path | None, typer.Option("--from", help="The benchmark's file, or the folder that holds it.")
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Spend all tries on proved statements too: unbiased pass@k.")
    ] = False,
    tokens: Annotated[int | None, typer.Option(help="Stop after so many sampled tokens.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Stop after so many seconds.")] = None,
    temperature: Annotated[float, typer.Option(help="Of sampling.")] = 1.0,
    watch: Annotated[bool, typer.Option("--watch", help="With FILE: again whenever it is saved.")] = False,
    config: Annotated[str, typer.Option(help="A preset or a TOML file: sections verify and model.")] = "tiny",
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.key=value")] = None,
) -> None:
    """Prove the statements of a benchmark, or fill the holes of a file.

    Exit code 0: a benchmark was gone through, or all holes are filled; 1: holes are left; 3: the model's
    server was lost, and the search went on without it.
    """
    from stp.search.prove import Budget
    from stp.settings import load

    # A pool in this process starts sooner than Ray does; --set verify.pool=ray spreads over a cluster.
    overrides = ["verify.pool=local", *([f"model.base={model}"] if model else []), *(set_ or [])]
    settings = load(config, overrides)
    budget = Budget(k, tokens, seconds, all_)
    if (file is None) == (dataset is None):
        raise UsageError("expected FILE or --dataset NAME; names are those of: stp data list")
    for name in ("watch",) if file is None else ("split", "out", "from_", "all_"):
        source = ctx.get_parameter_source(name)
        if source and source.name == "COMMANDLINE":
            goes, here = ("FILE", "--dataset") if file is None else ("--dataset", "FILE")
            raise UsageError(f"--{name.strip('_')} goes with {goes}, found it with {here}")
    try:
        if file is not None:
            _file(settings, file, strategy, budget, temperature, watch)
        else:
            _dataset(settings, str(dataset), split, strategy, budget, from_, temperature, out)
    except KeyboardInterrupt:
        print("\nstp: stopped" + ("" if file else "; the same command goes on from here"), file=sys.stderr)
        raise typer.Exit(130) from None


def _dataset(
    settings: Settings, dataset: str, split: str | None, strategy: str, budget: Budget, source: Path | None,
    temperature: float, out: Path,
) -> None:  # fmt: skip
    from stp.prove import Request, prove
    from stp.report.proofs import summary

    record = prove(settings, Request(dataset, split, strategy, budget, source, temperature), out)
    print(summary(record))
    print(f"\nreport: {out / 'report.html'}", file=sys.stderr)
    if record.lost:
        raise typer.Exit(ModelServerError.exit_code)


def _file(
    settings: Settings, file: Path, strategy: str, budget: Budget, temperature: float, watch: bool
) -> None:
    """Fills a file's holes, prints a line for each and the difference, and writes the filled copy."""
    from stp.prove import FileProver

    with closing(FileProver(settings, file, strategy, budget, temperature)) as prover:
        while watch:
            saved = file.stat().st_mtime_ns if file.exists() else 0
            try:
                _fill(prover, file)
            except UsageError as error:  # half written, say
                print(f"stp: {error}", file=sys.stderr)
            print(f"watching {file}: save it, or stop with Ctrl-C", file=sys.stderr)
            while not file.exists() or file.stat().st_mtime_ns == saved:
                time.sleep(_LOOK_S)
        is_filled = _fill(prover, file)
    if not is_filled and prover.has_lost_model:
        raise typer.Exit(ModelServerError.exit_code)
    raise typer.Exit(0 if is_filled else 1)


def _fill(prover: FileProver, file: Path) -> bool:
    """Is every hole filled now? The copy is written after each one, so that a stop loses none."""
    from stp.files import write_file
    from stp.prove import proved_path

    before = after = prover.read()
    reports: list[HoleReport] = []
    target = proved_path(file)
    try:
        for text, found in prover.fill(before):
            reports = found
            if text != after:
                write_file(target, text)
            after = text
    finally:
        for report in reports:
            said = report.reason or (
                report.proof.replace("\n", "; ") if report.proof else f"{report.tries} tries"
            )
            print(f"{file}:{report.line}: {report.state:6}  {report.theorem}  {said}")
        if after != before:
            lines = (before.splitlines(True), after.splitlines(True), str(file), str(target))
            print("\n" + "".join(difflib.unified_diff(*lines)), end="")
    if not reports:
        print(f"{file}: no theorem with a hole")
    return all(report.state in ("proved", "filled") for report in reports)
