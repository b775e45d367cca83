"""The picture of `stp bench verify` for `docs/benchmarks.md`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from stp.report.plots import COLOURS

_PARTS = {
    "statement": "statement, elaborated once for its proofs",
    "proof": "proof",
    "kernel": "kernel's re-check",
}


def checking_plot(numbers: dict[str, Any], path: Path) -> None:
    """Writes the plot, an SVG: where a check's time goes, what it costs over Lean's own, checks a second."""
    figure = Figure(figsize=(10, 1.2 + 2.4 * len(numbers)), layout="constrained")
    for (kind, of), row in zip(numbers.items(), figure.subplots(len(numbers), 3, squeeze=False), strict=True):
        left, middle, right = row
        tactics = list(of["parts_ms"])
        start = [0.0] * len(tactics)
        for (part, label), colour in zip(_PARTS.items(), COLOURS, strict=False):
            widths = [of["parts_ms"][tactic][part] for tactic in tactics]
            left.barh(tactics, widths, left=start, color=colour, label=label)
            start = [a + b for a, b in zip(start, widths, strict=True)]
        left.set(xlabel="ms a check", title=f"{kind} Lean: where the time goes")
        left.legend(fontsize=7, frameon=False)
        ratios = of["overhead"]["all"]
        middle.bar(["Lean alone", "checked"], [1, of["overhead"]["ratio"]], color=COLOURS[6:4:-1])
        middle.plot([1] * len(ratios), ratios, "k.", label="each repeat")
        middle.axhline(1.25, ls=":", color="k", lw=1, label="wanted: at most 1.25")
        middle.set(ylabel="time of 320 proofs over Lean's own")
        middle.set_ylim(0, 1.6)
        middle.legend(fontsize=7, frameon=False, loc="upper left")
        names = ("mix", "exact")
        for place, workers in enumerate(("1 workers", "2 workers")):
            rates = [of[workers][name]["checks_per_s"] for name in names]
            label = f"{place + 1} worker{'s' * place}"
            bars = right.bar([0.4 * place, 1 + 0.4 * place], rates, 0.36, color=COLOURS[place], label=label)
            right.bar_label(bars, fmt="%.0f", fontsize=8)
        right.set(ylabel="checks/s", xticks=[0.2, 1.2], xticklabels=names)
        right.legend(fontsize=7, frameon=False)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="svg", metadata={"Date": None})
