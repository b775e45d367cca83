"""The plots of the report, each one inline SVG that follows the page's colours, light or dark.

matplotlib's object interface only: no display and no global figure.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from stp.report.rates import Rate

#: Stands for the page's text colour while matplotlib draws, and becomes `currentColor` afterwards.
_INK = "#010203"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dataset's name may hold a dollar sign
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.15,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "axes.axisbelow": True,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), _INK
    ),
}
#: Of middling lightness, so that they stand out on white and on black, for any eye: Paul Tol's and kin.
COLOURS = ("#4c8dff", "#f2a33a", "#2fb583", "#e0607e", "#9b7bea", "#35b6d6", "#8a94a6", "#c7a24a")
_STEPS = LinearSegmentedColormap.from_list("steps", ["#b4bdca", "#86b4f2", "#3f7fe8", "#7d5ad8", "#d1559b"])
_EARLY_TO_LATE = LinearSegmentedColormap.from_list("early_to_late", ["#a9b4c6", "#7aa5ee", "#2f6fe8"])
Colour = str | tuple[float, float, float, float]

_FEW_ROUNDS = 4
_CURVES = 6
_CURVE_POINTS = 48


@dataclass(frozen=True, slots=True)
class Curve:
    """pass@k of one round for some k."""

    name: str
    points: dict[int, Rate]
    baseline: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One rate by round."""

    name: str
    rates: dict[int, Rate]
    baseline: bool = False


@contextmanager
def canvas(width_in: float = 5.4, height_in: float = 3.5) -> Iterator[tuple[Figure, Axes]]:
    """A figure of one plot in the page's style."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, figure.add_subplot()


def to_svg(figure: Figure, name: str, label: str) -> str:
    """The figure as an SVG element; `name` keeps its ids apart from those of the page's other plots."""
    file = io.StringIO()
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    # matplotlib asks for its own fonts; the page's are there for sure.
    svg = re.sub(r"(font: [^;\"]*?px)[^;\"]*", r"\1 system-ui, sans-serif", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(label)}" ', 1)


def by_round(
    name: str, label: str, unit: str, rounds: Sequence[int], parts: dict[str, list[float]], *, stacked: bool
) -> str:
    """Several numbers of each round: bars side by side for a few rounds, one bar a round for many.

    `stacked`: the parts add up; else each part is contained in the one before it.
    """
    if len(rounds) <= _FEW_ROUNDS:
        with canvas(height_in=1.0 + 0.28 * len(parts) * max(1.0, 0.6 * len(rounds))) as (figure, axes):
            _bars_side_by_side(axes, unit, rounds, parts, stacked)
            return to_svg(figure, name, label)
    with canvas(height_in=3.9) as (figure, axes):
        low = [0.0] * len(rounds)
        for i, (part, values) in enumerate(parts.items()):
            colour = COLOURS[i % len(COLOURS)] if stacked else _STEPS(i / max(1, len(parts) - 1))
            axes.bar(rounds, values, bottom=low, width=0.84, label=part, color=colour)
            if stacked:
                low = [a + b for a, b in zip(low, values, strict=True)]
        axes.set(xlabel="round", ylabel=unit)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
        axes.grid(axis="x", visible=False)
        figure.legend(loc="outside upper center", ncols=4)
        return to_svg(figure, name, label)


def _bars_side_by_side(
    axes: Axes, unit: str, rounds: Sequence[int], parts: dict[str, list[float]], stacked: bool
) -> None:
    height = 0.8 / max(1, len(rounds))
    most = max((value for values in parts.values() for value in values), default=0.0) or 1.0
    for i, number in enumerate(rounds):
        values = [of_round[i] for of_round in parts.values()]
        at = [row + (i - (len(rounds) - 1) / 2) * height for row in range(len(parts))]
        colour = _EARLY_TO_LATE(i / (len(rounds) - 1)) if len(rounds) > 1 else COLOURS[0]
        bars = axes.barh(at, values, height=height * 0.9, color=colour, label=f"round {number}")
        texts = [_label(value, zero=not stacked) for value in values]
        axes.bar_label(bars, texts, padding=3, fontsize=8)
    axes.set_yticks(range(len(parts)), [*parts])
    axes.invert_yaxis()
    axes.set(xlabel=unit, xlim=(0, most * 1.14))
    axes.grid(axis="y", visible=False)
    if len(rounds) > 1:
        axes.figure.legend(loc="outside upper center", ncols=4)


def _label(value: float, zero: bool) -> str:
    """What stands at a bar's end; a stage or verdict that a round does not have is left bare."""
    if value == 0:
        return "0" if zero else ""
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def pass_rates(label: str, series: dict[str, list[tuple[int, int]]], band_high: float | None) -> str:
    """A histogram of (attempts, proved) of statements: exactly 0 on its own, then twenty bins (low, high]."""
    with canvas() as (figure, axes):
        if band_high is not None:
            axes.axvspan(0, band_high, color=COLOURS[1], alpha=0.16, lw=0)
            axes.text(
                band_high / 2,
                0.98,
                "barely\nprovable",
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="top",
                fontsize=8.5,
            )
        width = 0.05 / max(1, len(series))
        for i, (name, tallies) in enumerate(series.items()):
            counts = [0] * 21
            for attempts, proved in tallies:
                counts[-(-20 * proved // attempts)] += 1
            left = [-0.07 if bin == 0 else (bin - 1) / 20 for bin in range(21)]
            shares = [count / len(tallies) for count in counts]
            axes.bar(
                [x + i * width for x in left],
                shares,
                width=width * 0.92,
                align="edge",
                color=COLOURS[(2, 0)[i % 2]],
                label=f"{name} (n = {len(tallies):,})",
            )
        axes.set_xticks([-0.045, 0.25, 0.5, 0.75, 1.0], ["never", "25%", "50%", "75%", "100%"])
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
        axes.set(xlabel="pass rate of a statement", ylabel="share of statements", xlim=(-0.09, 1.01))
        axes.margins(y=0.12)
        axes.grid(axis="x", visible=False)
        figure.legend(loc="outside upper center", ncols=2)
        return to_svg(figure, "rates", label)


def pass_at_k(name: str, label: str, curves: Sequence[Curve]) -> str:
    """pass@k over k; the last curve that is no baseline has a band of one standard error."""
    with canvas(height_in=3.9) as (figure, axes):
        models = [curve for curve in curves if not curve.baseline]
        for curve in curves:
            latest = bool(models) and curve is models[-1]
            colour = COLOURS[1] if curve.baseline else _EARLY_TO_LATE(_place(curve, models))
            axes.plot(
                [*curve.points],
                [rate.mean for rate in curve.points.values()],
                "s--" if curve.baseline else "o-",
                markersize=3.5 if len(curve.points) <= 16 else 0,
                color=colour,
                lw=2.2 if latest else 1.5,
                zorder=3 if latest else 2,
                label=curve.name,
            )
            if latest:
                _band(axes, curve.points, colour)
        _rate_axis(axes)
        most = max((k for curve in curves for k in curve.points), default=1)
        axes.set_xlabel("k, proofs tried per statement")
        if most > 16:
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter("{x:.0f}")
        else:
            axes.set_xticks(range(1, most + 1))
        figure.legend(loc="outside upper center", ncols=3)
        return to_svg(figure, name, label)


def over_rounds(name: str, label: str, lines: Sequence[Line]) -> str:
    """Rates by round, each in a band of one standard error; a baseline is a level, dashed."""
    with canvas(height_in=3.9) as (figure, axes):
        numbers = [number for line in lines for number in line.rates]
        for i, line in enumerate(lines):
            means, colour = [rate.mean for rate in line.rates.values()], COLOURS[(0, 2)[i % 2]]
            if line.baseline:
                # It does not learn: its last measure stands for the whole run.
                level = [means[-1]] * 2
                axes.plot([min(numbers), max(numbers)], level, "--", color=colour, lw=1.5, label=line.name)
                continue
            marker = "o" if len(means) <= 25 else ""
            axes.plot([*line.rates], means, marker=marker, markersize=3.5, color=colour, label=line.name)
            _band(axes, line.rates, colour)
        _rate_axis(axes)
        axes.set_xlabel("round")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
        figure.legend(loc="outside upper center", ncols=2)
        return to_svg(figure, name, label)


def _band(axes: Axes, rates: dict[int, Rate], colour: Colour) -> None:
    low = [max(0.0, rate.mean - (rate.error or 0.0)) for rate in rates.values()]
    high = [min(1.0, rate.mean + (rate.error or 0.0)) for rate in rates.values()]
    axes.fill_between([*rates], low, high, color=colour, alpha=0.17, lw=0)


def _rate_axis(axes: Axes) -> None:
    axes.set_ylabel("statements proved")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axes.set_ylim(0, min(1.0, max(0.05, axes.get_ylim()[1] * 1.05)))


def _place(curve: Curve, models: Sequence[Curve]) -> float:
    return models.index(curve) / (len(models) - 1) if len(models) > 1 else 1.0


def spread_out(values: Sequence[int], most: int = _CURVES) -> list[int]:
    """At most that many of the values, the first and the last among them, evenly apart."""
    if len(values) <= most:
        return [*values]
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


def curve_ks(most: int) -> list[int]:
    """The k at which a curve up to `most` is drawn: all of them, or enough for a smooth line."""
    if most <= _CURVE_POINTS:
        return [*range(1, most + 1)]
    return sorted({round(most ** (i / (_CURVE_POINTS - 1))) for i in range(_CURVE_POINTS)})
