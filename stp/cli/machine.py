"""`stp doctor` and `stp bench`: what this machine has, and what it does in a second."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False) -> None:
    """Say what this machine can run and what is missing. Exit code 3: `make selfplay` would fail."""
    from stp.doctor import examine

    findings = examine()
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            print(f"{finding.state:5}  {finding.name:{width}}  {finding.text}")
    raise typer.Exit(3 if any(finding.state == "bad" for finding in findings) else 0)


def bench(
    name: Annotated[
        str, typer.Argument(help="One benchmark, all, or gpu; a name that there is not lists them.")
    ] = "all",
    output: Annotated[
        Path | None, typer.Option(help="Also write the numbers here as JSON; gpu: by default bench-gpu.json.")
    ] = None,
    attempts: Annotated[
        int | None, typer.Option(min=1, help="Of scale: attempts in its store; 10 million.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Measure this machine: starts, checks and sampled tokens a second, one round and three; gpu: the GPU."""
    if name == "gpu":
        from stp.bench.gpu import run

        output = output or Path("bench-gpu.json")
        output.write_text(json.dumps([asdict(line) for line in run()], indent=2) + "\n")
        print(f"saved: {output}")
        return
    from stp.bench.run import run_bench

    run_bench(name, output, attempts, as_json=as_json)
