"""The command line: parses, calls, prints. A module a command; heavy modules are imported by the command that
needs them."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from stp import __version__
from stp.cli import data, experiment, export, machine, prove, selfplay, serve, sft, toolchain, verify
from stp.errors import StpError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__)
app.command()(selfplay.selfplay)
app.command()(selfplay.report)
app.command()(experiment.ablate)
app.command()(experiment.plan)
app.command()(prove.prove)
app.command()(sft.sft)
app.command()(export.export)
app.command()(verify.verify)
app.add_typer(toolchain.app, name="toolchain")
app.add_typer(data.app, name="data")
app.command()(serve.serve)
app.command()(serve.mcp)
app.add_typer(serve.app, name="keys")
app.command()(machine.doctor)
app.command()(machine.bench)


def main() -> None:
    """Runs the command line. An `StpError` becomes its one line and its exit code, here and only here."""
    try:
        app()
    except StpError as error:
        print(f"stp: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        # A full disk can show anywhere; what was being written is whole or absent, so it can be done again.
        where = f"{error.filename}: " if error.filename else ""
        print(
            f"stp: {where}{error.strerror or error}; mend that and run the same command again",
            file=sys.stderr,
        )
        sys.exit(3)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """STP, a self-play theorem prover."""
    if version:
        print(__version__)
        raise typer.Exit
