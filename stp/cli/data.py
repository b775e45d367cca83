"""`stp data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stp.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Datasets and the seed corpus.")


@app.command("build")
def build(
    what: Annotated[str, typer.Argument(help="lean-core, seeds or tiny")],
) -> None:
    """Make again what comes with STP: the lean-core index, the seed corpus, the tiny model."""
    if what == "lean-core":
        from stp.datasets.lean_core import build as make
    elif what == "seeds":
        from stp.datasets.seeds import build as make
    elif what == "tiny":
        from stp.selfplay.seed_model import build as make
    else:
        raise UsageError(f"expected lean-core, seeds or tiny, found {what!r}")
    print(make())


@app.command("pool")
def pool(
    file: Annotated[Path, typer.Argument(help="The pool's file; where it exists it is only described.")],
    candidates: Annotated[int, typer.Option(help="Statements to try; 0: all.")] = 0,
    config: Annotated[str, typer.Option(help="A preset or a TOML file.")] = "tiny",
) -> None:
    """Make a pool of statements that are hard for fixed tactics and the seed model; print size and digest."""
    from stp.datasets import pool_file
    from stp.selfplay import hard_pool
    from stp.settings import load

    if not file.exists():
        hard_pool.build(file, load(config), candidates)
    keys = pool_file.read(file)
    print(f"{file}: {len(keys)} statements, sha256 {pool_file.digest(keys)}")


@app.command("list")
def list_() -> None:
    """Print each file of the project's own data with its rows, size and digest."""
    import hashlib

    from stp.datasets.files import data_dir, read_rows

    for path in sorted(data_dir().rglob("*.jsonl.gz")):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        name = path.relative_to(data_dir())
        print(
            f"{name!s:32}  {len(read_rows(path)):6} rows  {path.stat().st_size // 1000:5} kB  sha256 {digest}"
        )
