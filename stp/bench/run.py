"""Measures this machine. Repeated in one run, medians reported with every repeat, beside the machine's size;
`docs/benchmarks.md` keeps the numbers with the command that made them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterator
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


def run_bench(
    name: str, output: Path | None = None, attempts: int | None = None, *, as_json: bool = False
) -> None:
    """Runs one benchmark or all and prints a line for each number, or JSON. They go to `output` too, and
    a plot of `verify`'s beside it. `attempts` are those that `scale` puts into its store.

    Raises:
        UsageError: there is no such benchmark.
    """
    if name != "all" and name not in BENCHES:
        raise UsageError(f"bench {name!r}: expected one of {', '.join(BENCHES)}, gpu or all")
    numbers: dict[str, Any] = {"machine": machine()}
    if not as_json:
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
            if not as_json:
                print(f"\n{key}", *_lines(numbers[key]), sep="\n  ", flush=True)
    if as_json:
        print(json.dumps(numbers))
    if output:
        output.write_text(json.dumps(numbers, indent=2) + "\n")
        if "verify" in numbers:
            checking_plot(numbers["verify"], output.with_suffix(".svg"))


def _lines(numbers: dict[str, Any]) -> list[str]:
    """A line for each number of a benchmark: where it stands, and it."""
    rows = [(" ".join(path).replace("_", " "), _written(value)) for path, value in _leaves(numbers, ())]
    width = max((len(name) for name, _ in rows), default=0)
    return [f"{name:{width}}  {value}" for name, value in rows]


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, str(key)))
    else:
        yield path, value


def _written(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_written, value))
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def machine() -> str:
    """Cores, memory and processor, as every number here needs beside it."""
    memory_gib = psutil.virtual_memory().total / 2**30
    return (
        f"{os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.machine()}, load {os.getloadavg()[0]:.1f}"
    )
