"""`stp data`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stp.errors import UsageError

if TYPE_CHECKING:
    from stp.datasets.registry import Entry

_SHOWN = 20

app = typer.Typer(no_args_is_help=True, help="Datasets and the seed corpus.")


@app.command("build")
def build(
    what: Annotated[str, typer.Argument(help="lean-core, seeds, isabelle-main or tiny")],
) -> None:
    """Make again what comes with STP: the lean-core index, the seed corpora, the tiny model."""
    if what == "lean-core":
        from stp.datasets.lean_core import build as make
    elif what == "seeds":
        from stp.datasets.seeds import build as make
    elif what == "isabelle-main":
        from stp.datasets.isabelle_main import build as make
    elif what == "tiny":
        from stp.selfplay.seed_model import build as make
    else:
        raise UsageError(f"expected lean-core, seeds, isabelle-main or tiny, found {what!r}")
    print(make())


@app.command("model")
def model(
    out: Annotated[Path, typer.Argument(help="The Hugging Face folder to write.")],
    seed_statements: Annotated[
        int, typer.Option(min=1, help="Whose proofs it learns: data.seed_statements.")
    ],
) -> None:
    """Train a model like the one that comes with STP on few of its proofs, for runs that start from few."""
    from stp.selfplay.seed_model import build_tiny

    print(build_tiny(out, seed_statements))


@app.command("pool")
def pool(
    file: Annotated[Path, typer.Argument(help="The pool's file; where it exists it is only described.")],
    candidates: Annotated[int, typer.Option(min=0, help="Statements of `data.dataset` to try; 0: all.")] = 0,
    config: Annotated[str, typer.Option(help="A preset or a TOML file.")] = "tiny",
    set_: Annotated[list[str] | None, typer.Option("--set", help="section.key=value")] = None,
) -> None:
    """Make a pool of statements that are hard for the portfolio and the seed model; print size and digest."""
    from stp.datasets import pool_file
    from stp.selfplay import hard_pool
    from stp.settings import load

    if not file.exists():
        hard_pool.build(file, load(config, set_), candidates)
    keys = pool_file.read(file)
    print(f"{file}: {len(keys)} statements, sha256 {pool_file.digest(keys)}")


@app.command("trace")
def trace(
    url: Annotated[str, typer.Argument(help="The address or folder of a Lean repository.")],
    commit: Annotated[str, typer.Argument(help="A commit or tag of it.")],
    out: Annotated[Path, typer.Argument(help="The folder to write, for `stp sft --data`.")],
) -> None:
    """Trace a Lean repository with LeanDojo: theorems, proofs and the premises they use."""
    from stp.datasets.leandojo import trace

    print(trace(url, commit, out))


@app.command("list")
def list_() -> None:
    """Print each benchmark and where it is, then each file of the project's own data with its digest."""
    import hashlib

    from stp.datasets import registry
    from stp.datasets.files import data_dir, read_rows

    for entry in registry.entries().values():
        print(f"{entry.name:22}  {_where(entry):12}  {entry.licence:10}  {entry.prover}")
    print()
    for path in sorted(data_dir().rglob("*.jsonl.gz")):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        name = path.relative_to(data_dir())
        print(
            f"{name!s:32}  {len(read_rows(path)):6} rows  {path.stat().st_size // 1000:5} kB  sha256 {digest}"
        )


@app.command("fetch")
def fetch(name: Annotated[str, typer.Argument(help="A benchmark of `stp data list`.")]) -> None:
    """Download a benchmark into the cache; a stopped download goes on."""
    from stp.datasets.fetch import fetch as download

    path, digest = download(_entry(name))
    print(f"{path}  sha256 {digest}")


@app.command("check")
def check(
    name: Annotated[str, typer.Argument(help="A benchmark of `stp data list`.")],
    from_: Annotated[
        Path | None, typer.Option("--from", help="The benchmark's file, or the folder that holds it.")
    ] = None,
) -> None:
    """Read a benchmark whole: statements, overlap with the training corpus. Exit code 1: not that file."""
    from stp.datasets import lean_core, registry
    from stp.datasets.decontaminate import RESEMBLANCE, N, trained_on

    dataset = registry.load(name, None, from_)
    said = registry.problem_with(dataset.entry, dataset.path) if dataset.path else None
    statements = [problem.statement for problem in dataset.problems if problem.statement]
    print(f"{name}: {len(dataset.problems)} problems, {len(statements)} of them theorems")
    for problem in dataset.problems:
        if problem.statement is None:
            print(f"  {problem.name}: {problem.reason}")
    for bad, reason in dataset.entry.bad.items():
        print(f"  {bad}: known to be wrong: {reason}")
    if dataset.entry.note:
        print(f"  note: {dataset.entry.note}")
    test = lean_core.load("test") if name == registry.LEAN_CORE else statements
    copies = sorted(trained_on().copies(test).values(), key=lambda c: -c.resemblance)
    same = sum(copy.same_key for copy in copies)
    print(
        f"  training corpus of the tiny model: {same} of {len(test)} are in it by key, "
        f"{len(copies) - same} more share {RESEMBLANCE:.0%} of their {N}-grams with one of it"
    )
    for copy in copies[:_SHOWN]:
        how = "the same as" if copy.same_key else f"{copy.resemblance:.0%} of"
        print(f"    {copy.name}: {how} {copy.of}")
    if len(copies) > _SHOWN:
        print(f"    and {len(copies) - _SHOWN} more")
    print(f"  {said or 'the digest is the one known, or none is'}")
    raise typer.Exit(1 if said else 0)


def _entry(name: str) -> Entry:
    from stp.datasets.registry import entries

    known = entries()
    if name not in known:
        raise UsageError(f"expected one of {', '.join(known)}, found {name!r}")
    return known[name]


def _where(entry: Entry) -> str:
    from stp.datasets.registry import is_here

    if is_here(entry):
        return "here" if entry.file else "built in"
    return "can be fetched" if entry.address else "not here"
