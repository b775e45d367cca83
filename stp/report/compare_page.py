"""The page of a comparison: curves against every cost, pass@k, and what the conjectures were like."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

from stp.report.compare import Comparison, Difference
from stp.report.experiment import COSTS, Arm
from stp.report.page import Plot, template
from stp.report.plots import COLOURS, canvas, to_svg

_COST_NAMES = {
    "tokens": "generated tokens",
    "hours": "hours of wall clock",
    "verifier_hours": "hours of Lean",
}
_NUMBER_NAMES = {
    "in_band_share": ("Barely provable", "share of the conjectures attempted"),
    "lemmas": ("Distinct lemmas", "lemmas of the conjectures attempted"),
    "conclusion_chars": ("Length of conclusions", "characters, mean"),
    "disjunction_share": ("Disjunctions", "share of the conjectures attempted"),
    "duplicate_share": ("Duplicates", "share of what parses"),
    "vacuous_share": ("Vacuous", "share of what parses"),
}
_FUNNEL = (("parsed", "new"), ("compiled", "kept"), ("kept", "proved"))


def render(comparison: Comparison, results: dict[str, Any], rows: list[list[str]]) -> str:
    """The page; `results` are the numbers of `results.json` that it draws."""
    plots = _difference_plots(comparison)
    plots += [_cost_plot(comparison, results, cost) for cost in COSTS]
    plots += _held_out_plots(comparison)
    conjecturing = [r.arm for r in comparison.results if all(run.makes_conjectures for run in r.arm.runs)]
    if conjecturing:
        plots += [_number_plot(comparison, conjecturing, name) for name in _NUMBER_NAMES]
        plots += [_funnel_plot(comparison, conjecturing, *pair) for pair in _FUNNEL]
    return template("compare.html").render(
        title="Methods at equal cost",
        written_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        comparison=comparison,
        head=rows[0],
        rows=rows[1:],
        conjecture_head=["arm", *(title for title, _ in _NUMBER_NAMES.values())],
        conjecture_rows=[_conjecture_row(comparison, arm) for arm in conjecturing],
        plots=plots,
        hidden=len(comparison.results) - len(_drawn(comparison)),
    )


def _conjecture_row(comparison: Comparison, arm: Arm) -> list[str]:
    """The arm's numbers, means over rounds and seeds, and in brackets the interval of each difference."""
    (result,) = (r for r in comparison.results if r.arm is arm)
    cells = [arm.name]
    for name in _NUMBER_NAMES:
        mean = fmean(fmean(of_round[name] for of_round in run.conjectures) for run in arm.runs)
        scale, unit = (100, " %") if name.endswith("_share") else (1, "")
        cell = f"{scale * mean:.1f}{unit}"
        if difference := result.conjecture_differences.get(name):
            low, high = difference.ci95
            cell += f" ({scale * low:+.1f} to {scale * high:+.1f})"
        cells.append(cell)
    return cells


def _difference_plots(comparison: Comparison) -> list[Plot]:
    """What each arm is worth beside the baseline: on the pool, and on each held-out dataset."""
    pool = {r.arm.name: r.difference for r in comparison.results}
    plots = [_forest(comparison, "pool", "Proved, over the baseline", pool)]
    for i, dataset in enumerate(
        sorted({name for r in comparison.results for name in r.held_out_differences})
    ):
        found = {r.arm.name: r.held_out_differences.get(dataset) for r in comparison.results}
        plots.append(_forest(comparison, f"held{i}", f"Held-out pass@k, over the baseline: {dataset}", found))
    return [plot for plot in plots if plot]


def _forest(
    comparison: Comparison, name: str, title: str, differences: dict[str, Difference | None]
) -> Plot | None:
    """Each arm's difference with its interval, the best on top; None where there is none."""
    rows = sorted(((d, arm) for arm, d in differences.items() if d), key=lambda row: row[0].mean)
    if not rows:
        return None
    with canvas(height_in=1.1 + 0.26 * len(rows)) as (figure, axes):
        for at, (difference, arm) in enumerate(rows):
            low, high = difference.ci95
            axes.plot([100 * low, 100 * high], [at, at], color=_colour(comparison, arm), lw=2, alpha=0.6)
            axes.plot(100 * difference.mean, at, "o", color=_colour(comparison, arm), markersize=5)
        axes.axvline(0, color=COLOURS[6], lw=1.2, ls="--")
        axes.set_yticks(range(len(rows)), [arm for _, arm in rows])
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xlabel(f"percentage points over {comparison.baseline}")
        axes.grid(axis="y", visible=False)
        caption = "With 95 % bootstrap intervals over seeds and statements, the same for both."
        return Plot(title, caption, Markup(to_svg(figure, f"difference-{name}", title)))


def _cost_plot(comparison: Comparison, results: dict[str, Any], cost: str) -> Plot:
    title = f"Proved, by {_COST_NAMES[cost]}"
    with canvas(height_in=3.9) as (figure, axes):
        for name in _drawn(comparison):
            at, share, low, high = zip(*results["arms"][name]["curves"][cost], strict=True)
            style = "--" if name == comparison.baseline else "-"
            axes.plot(at, share, style, color=_colour(comparison, name), label=name)
            axes.fill_between(at, low, high, color=_colour(comparison, name), alpha=0.15, lw=0)
        if cost == "tokens":
            axes.axvline(comparison.budget, color=COLOURS[6], lw=1.6, ls=":")
        _shares(axes, "share of the pool proved")
        axes.set_xlabel(_COST_NAMES[cost])
        if cost == "tokens":
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 100k, 2M
        axes.set_xlim(left=0)
        figure.legend(loc="outside upper center", ncols=3)
        caption = "Bands: 95 % bootstrap intervals over seeds and statements."
        if cost == "tokens":
            caption += " The table is read at the dotted line."
        return Plot(title, caption, Markup(to_svg(figure, f"cost-{cost}", title)))


def _held_out_plots(comparison: Comparison) -> list[Plot]:
    found = []
    datasets = sorted({dataset for r in comparison.results for dataset in r.held_out})
    for i, dataset in enumerate(datasets):
        title = f"Held-out pass@k: {dataset}"
        with canvas(height_in=3.9) as (figure, axes):
            for r in comparison.results:
                rates, colour = r.held_out.get(dataset, {}), _colour(comparison, r.arm.name)
                if not rates or r.arm.name not in _drawn(comparison):
                    continue
                means = [rate.mean for rate in rates.values()]
                errors = [rate.error or 0.0 for rate in rates.values()]
                axes.errorbar([*rates], means, errors, marker="o", markersize=3.5, color=colour, lw=1.5,
                              elinewidth=0.8, label=r.arm.name)  # fmt: skip
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter("{x:.0f}")
            axes.set_xlabel("k, proofs tried per statement")
            _shares(axes, "held-out statements proved")
            figure.legend(loc="outside upper center", ncols=3)
            caption = "Of each run's last model; bars are one standard error over statements of all seeds."
            found.append(Plot(title, caption, Markup(to_svg(figure, f"held{i}", title))))
    return found


def _number_plot(comparison: Comparison, arms: list[Arm], name: str) -> Plot:
    title, unit = _NUMBER_NAMES[name]
    series = {
        arm.name: [[of_round[name] for of_round in run.conjectures] for run in arm.runs] for arm in arms
    }
    return _by_round(comparison, f"number-{name}", title, unit, series, share=name.endswith("_share"))


def _funnel_plot(comparison: Comparison, arms: list[Arm], whole: str, part: str) -> Plot:
    title, unit = f"{part.capitalize()} of {whole}", f"share of the {whole} that are {part}"
    series = {
        arm.name: [
            [(of_round[part] or 0) / max(1, of_round[whole] or 0) for of_round in run.funnel]
            for run in arm.runs
        ]
        for arm in arms
    }
    return _by_round(comparison, f"funnel-{part}", title, unit, series, share=True)


def _by_round(
    comparison: Comparison,
    name: str,
    title: str,
    unit: str,
    series: dict[str, list[list[float]]],
    share: bool,
) -> Plot:
    with canvas(height_in=3.2) as (figure, axes):
        for arm, by_seed in series.items():
            if arm not in _drawn(comparison):
                continue
            rounds = range(1, min(map(len, by_seed)) + 1)
            means = [fmean(values[r - 1] for values in by_seed) for r in rounds]
            axes.plot([*rounds], means, "o-", markersize=3, color=_colour(comparison, arm), label=arm)
        if share:
            _shares(axes, "")
        else:
            axes.set_ylim(bottom=0)
        axes.set_xlabel("round")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
        figure.legend(loc="outside upper center", ncols=3)
        return Plot(title, f"{unit.capitalize()}; mean over seeds.", Markup(to_svg(figure, name, title)))


def _shares(axes: Axes, label: str) -> None:
    axes.set_ylabel(label)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axes.set_ylim(0, min(1.0, max(0.05, axes.get_ylim()[1] * 1.05)))


def _drawn(comparison: Comparison) -> list[str]:
    """The arms that the curves show: all, or of more than there are colours the baseline and those that
    differ most from it."""
    results = sorted(comparison.results, key=lambda r: -abs(r.difference.mean) if r.difference else -math.inf)
    chosen = {r.arm.name for r in results[: len(COLOURS)]}
    return [r.arm.name for r in comparison.results if r.arm.name in chosen]


def _colour(comparison: Comparison, arm: str) -> str:
    """Its own where the curves show it."""
    drawn = _drawn(comparison)
    return COLOURS[drawn.index(arm)] if arm in drawn else COLOURS[6]
