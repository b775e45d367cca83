"""Measures this machine. Repeated in one run, medians reported with every repeat, beside the machine's size;
`docs/benchmarks.md` keeps the numbers with the command that made them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from stp.bench import checking, isabelle, placing, playing, scale, serving
from stp.bench.plot import checking_plot
from stp.errors import ToolchainError, UsageError

BENCHES: dict[str, Callable[[], dict[str, Any]]] = {
    "start": checking.start,
    "verify": checking.verify,
    "hostile": checking.hostility,
    "sample": playing.sample,
    "round": partial(playing.play, 1),
    "rounds": partial(playing.play, 3),
    "overlap": placing.overlap,
    "cluster": placing.cluster,
    "scale": scale.measure,
    "serve": serving.measure,
    "isabelle": isabelle.measure,
}


def run_bench(name: str, output: Path | None, attempts: int | None = None) -> None:
    """Runs one benchmark or all and prints a line each. The numbers go to `output` too, and a plot of
    `verify`'s beside it. `attempts` are those that `scale` puts into its store.

    Raises:
        UsageError: there is no such benchmark.
    """
    if name != "all" and name not in BENCHES:
        raise UsageError(f"bench {name!r}: expected one of {', '.join(BENCHES)}, gpu or all")
    numbers: dict[str, Any] = {"machine": machine()}
    print(numbers["machine"])
    for key, measure in BENCHES.items():
        if name in ("all", key):
            sized = partial(scale.measure, attempts) if key == "scale" and attempts else measure
            try:
                numbers[key] = sized()
            except ToolchainError as error:
                if name != "all":
                    raise
                numbers[key] = {"absent": str(error)}
            print(f"{key}: {json.dumps(numbers[key])}", flush=True)
    if output:
        output.write_text(json.dumps(numbers, indent=2) + "\n")
        if "verify" in numbers:
            checking_plot(numbers["verify"], output.with_suffix(".svg"))


def machine() -> str:
    """Cores, memory and processor, as every number here needs beside it."""
    memory_gib = psutil.virtual_memory().total / 2**30
    return (
        f"{os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.machine()}, load {os.getloadavg()[0]:.1f}"
    )
