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
    """Print each file of the project's own data with its rows, size and digest."""
    import hashlib

    from stp.datasets.files import data_dir, read_rows

    for path in sorted(data_dir().rglob("*.jsonl.gz")):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        name = path.relative_to(data_dir())
        print(
            f"{name!s:32}  {len(read_rows(path)):6} rows  {path.stat().st_size // 1000:5} kB  sha256 {digest}"
        )
