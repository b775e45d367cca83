"""Runs side by side at equal cost: a table for the terminal, `results.json` and a page with the curves."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from stp.errors import UsageError
from stp.files import write_file
from stp.report.bootstrap import (
    Credits,
    Interval,
    RatioInterval,
    difference_ci95,
    ratio_ci95,
    rounds_difference_ci95,
    share_ci95,
)
from stp.report.experiment import CONJECTURE_NUMBERS, COSTS, Arm, RunData, read_arms
from stp.report.rates import Rate, mean_pass_at_k, pass_at_k
from stp.report.table import laid_out

_CURVE_POINTS, _CURVE_RESAMPLES = 25, 400


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean of an arm less the baseline's, on the seeds that both have."""

    mean: float
    ci95: Interval


@dataclass(frozen=True, slots=True)
class Result:
    """What one arm reached once the budget of the comparison was spent."""

    arm: Arm
    share: float
    share_ci95: Interval
    proved: float
    """Newly proved statements of the pool, mean over seeds."""
    proved_total: float
    """The same over all seeds."""
    multi_step: int
    """Of these, statements that took two or more tactic steps and that the portfolio does not prove."""
    multi_step_share: float
    ratio: float | None
    """Over the baseline; None for the baseline, or where it proved nothing."""
    ratio_ci95: RatioInterval | None
    held_out: dict[str, dict[int, Rate]]
    """pass@k of the last model on each dataset, seeds together."""
    difference: Difference | None
    """Of the share proved; None for the baseline."""
    held_out_differences: dict[str, Difference]
    """Of pass@k of the last model on each dataset, k the most that both sampled."""
    conjecture_differences: dict[str, Difference]
    """Of the numbers in `CONJECTURE_NUMBERS`, means over rounds; none where one of the two makes none."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """All arms at one budget: the least that any run has spent."""

    baseline: str
    budget: float
    statements: int
    results: list[Result]


def compare(folders: list[Path], baseline: str) -> Comparison:
    """Reads the runs and works out every number of the comparison.

    Raises:
        UsageError: the runs cannot be compared, or none of them is the baseline.
        StoreError: a folder is no run.
    """
    arms = read_arms(folders)
    base = next((arm for arm in arms if arm.name == baseline), None)
    if base is None:
        raise UsageError(
            f"--baseline {baseline!r}: expected one of the arms {', '.join(arm.name for arm in arms)}"
        )
    budget = min(run.spent["tokens"][-1] for arm in arms for run in arm.runs)
    results = [_result(arm, base, budget) for arm in arms]
    return Comparison(baseline, budget, len(base.runs[0].pool), results)


def _result(arm: Arm, base: Arm, budget: float) -> Result:
    credits = arm.credits(budget)
    shared = {run.seed for run in arm.runs} & {run.seed for run in base.runs}
    pairs = [[run for run in side.runs if run.seed in shared] for side in (arm, base)]
    ours, theirs = ([run.credits(budget) for run in runs] for runs in pairs)
    denominator = sum(float(credit.sum()) for credit in theirs)
    multi_step = sum(run.multi_step(budget) for run in arm.runs)
    measured = arm is not base and shared and denominator > 0
    return Result(
        arm,
        arm.share(budget),
        share_ci95(credits),
        fmean(float(credit.sum()) for credit in credits),
        sum(float(credit.sum()) for credit in credits),
        multi_step,
        multi_step / max(1, sum(int((credit > 0).sum()) for credit in credits)),
        sum(float(credit.sum()) for credit in ours) / denominator if measured else None,
        ratio_ci95(ours, theirs) if measured else None,
        _held_out(arm),
        _difference(ours, theirs) if arm is not base and shared else None,
        _held_out_differences(*pairs) if arm is not base else {},
        _conjecture_differences(*pairs) if arm is not base and shared else {},
    )


def _difference(ours: Credits, theirs: Credits) -> Difference:
    means = [fmean(float(credit.mean()) for credit in credits) for credits in (ours, theirs)]
    return Difference(means[0] - means[1], difference_ci95(ours, theirs))


def _held_out_differences(ours: list[RunData], theirs: list[RunData]) -> dict[str, Difference]:
    """By dataset that all were evaluated on: runs of one seed have the same held-out statements."""
    found = {}
    for dataset in sorted(set.intersection(*(set(run.held_out) for run in ours + theirs)) if ours else ()):
        k = min(n for run in ours + theirs for n, _ in run.held_out[dataset])
        if not k:  # a statement whose attempts all ended with the checker says nothing
            continue
        rates = [
            [np.array([pass_at_k(n, c, k) for n, c in run.held_out[dataset]]) for run in runs]
            for runs in (ours, theirs)
        ]
        if [len(rate) for rate in rates[0]] == [len(rate) for rate in rates[1]]:
            found[dataset] = _difference(*rates)
    return found


def _held_out(arm: Arm) -> dict[str, dict[int, Rate]]:
    """pass@1, 2, 4, ... and pass@K of the last round evaluated, statements of all seeds together."""
    samples: dict[str, list[tuple[int, int]]] = {}
    for run in arm.runs:
        for dataset, rows in run.held_out.items():
            samples.setdefault(dataset, []).extend(rows)
    found = {}
    for dataset, rows in samples.items():
        most = max(n for n, _ in rows)
        ks = sorted({2**i for i in range(int(math.log2(max(1, most))) + 1)} | {most}) if most else []
        found[dataset] = {k: rate for k in ks if (rate := mean_pass_at_k(rows, k))}
    return found


def curve(arm: Arm, cost: str) -> list[tuple[float, float, float, float]]:
    """(cost, share proved, low, high) up to what every seed of the arm has spent."""
    end = min(run.spent[cost][-1] for run in arm.runs)
    points = [(0.0, 0.0, 0.0, 0.0)]
    for step in range(1, _CURVE_POINTS + 1):
        at = end * step / _CURVE_POINTS
        low, high = share_ci95(arm.credits(at, cost), _CURVE_RESAMPLES)
        points.append((at, arm.share(at, cost), low, high))
    return points


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Everything that the page shows, for programs. Ratios are over the baseline, whose name their key has
    (`ratio_over_expert_iteration`); that at the top is of the arm `ratio_of`, the first one given that is
    not the baseline."""
    ratio_over = f"ratio_over_{comparison.baseline}".replace("-", "_")
    arms = {
        r.arm.name: {
            "seeds": [run.seed for run in r.arm.runs],
            "rounds": [run.rounds for run in r.arm.runs],
            "toolchains": [run.toolchain for run in r.arm.runs],
            "proved_share": r.share,
            "proved_share_ci95": r.share_ci95,
            "proved": r.proved,
            "proved_total": r.proved_total,
            "multi_step": r.multi_step,
            "multi_step_share": r.multi_step_share,
            ratio_over: r.ratio,
            "ratio_ci95": r.ratio_ci95,
            "difference": _difference_json(r.difference),
            "held_out_differences": {
                dataset: _difference_json(found) for dataset, found in r.held_out_differences.items()
            },
            "conjecture_differences": {
                name: _difference_json(found) for name, found in r.conjecture_differences.items()
            },
            "held_out": {
                dataset: {f"pass@{k}": [rate.mean, rate.error] for k, rate in rates.items()}
                for dataset, rates in r.held_out.items()
            },
            "curves": {cost: curve(r.arm, cost) for cost in COSTS},
            "conjectures": {
                name: [[of_round[name] for of_round in run.conjectures] for run in r.arm.runs]
                for name in CONJECTURE_NUMBERS
            },
        }
        for r in comparison.results
    }
    first = next((r for r in comparison.results if r.arm.name != comparison.baseline), None)
    return {
        "baseline": comparison.baseline,
        "budget_tokens": comparison.budget,
        "statements": comparison.statements,
        "ratio_of": first.arm.name if first else None,
        ratio_over: first.ratio if first else None,
        "ratio_ci95": first.ratio_ci95 if first else None,
        "arms": arms,
    }


def _conjecture_differences(ours: list[RunData], theirs: list[RunData]) -> dict[str, Difference]:
    if not all(run.makes_conjectures for run in ours + theirs):
        return {}
    found = {}
    for name in CONJECTURE_NUMBERS:
        sides = [
            [np.array([of_round[name] for of_round in run.conjectures]) for run in runs]
            for runs in (ours, theirs)
        ]
        means = [fmean(float(rounds.mean()) for rounds in side) for side in sides]
        found[name] = Difference(means[0] - means[1], rounds_difference_ci95(*sides))
    return found


def _difference_json(difference: Difference | None) -> list[float] | None:
    """Mean, low and high."""
    return [difference.mean, *difference.ci95] if difference else None


def table(comparison: Comparison) -> list[list[str]]:
    """Head and rows, as text."""
    datasets = sorted({dataset for r in comparison.results for dataset in r.held_out})
    head = ["arm", "seeds", "rounds", "proved", "share", "95 %", "ratio", "95 %", "multi-step"]
    head += [f"{dataset} pass@k" for dataset in datasets]
    rows = [head]
    for r in sorted(comparison.results, key=lambda r: (-r.share, r.arm.name)):
        rounds = sorted({run.rounds for run in r.arm.runs})
        cells = [r.arm.name, str(len(r.arm.runs)), "-".join(map(str, dict.fromkeys((rounds[0], rounds[-1])))),
                 f"{r.proved:.1f}", f"{100 * r.share:.1f}%", _interval(r.share_ci95, 100, "%"),
                 "-" if r.ratio is None else f"{r.ratio:.2f}", _interval(r.ratio_ci95, 1, ""),
                 f"{r.multi_step} ({100 * r.multi_step_share:.0f}%)"]  # fmt: skip
        for dataset in datasets:
            rates = r.held_out.get(dataset, {})
            k = max(rates, default=0)
            cells.append(f"{100 * rates[k].mean:.1f}% @{k}" if k else "-")
        rows.append(cells)
    return rows


def _interval(interval: RatioInterval | None, scale: float, unit: str) -> str:
    if interval is None:
        return "-"
    low, high = interval
    if high is None:
        return f"{low:.2f} or more"
    return f"{scale * low:.1f}-{scale * high:.1f}{unit}" if unit else f"{low:.2f}-{high:.2f}"


def write_comparison(folders: list[Path], out: Path, baseline: str) -> str:
    """Writes `compare.html` and `results.json` into `out`; returns the table for the terminal."""
    from stp.report.compare_page import render  # matplotlib takes half a second to load

    comparison = compare(folders, baseline)
    results = to_json(comparison)
    rows = table(comparison)
    write_file(out / "results.json", json.dumps(results, indent=1) + "\n")
    write_file(out / "compare.html", render(comparison, results, rows))
    runs = [run for r in comparison.results for run in r.arm.runs]
    toolchains = {one for run in runs for one in (run.toolchain or "").split(", ")}
    differ = f"checked by {len(toolchains)} different toolchains, see results.json"
    return "\n".join(
        [*laid_out(rows), "",
         f"at {comparison.budget:,.0f} generated tokens, of {comparison.statements} statements; "
         f"page: {out / 'compare.html'}",
         *([differ] if len(toolchains) > 1 else [])]
    )  # fmt: skip
