"""Intervals for shares, their ratios and differences, by resampling seeds and statements.

A statement's credit in a run is 1 if it was proved within the budget, 0 if not, and between where the budget
ends within the round that proved it. Two arms are resampled together: the same seeds, and of each seed the
same statements, so that what makes a pool easy cancels out of the comparison.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 2000
_LEVELS = (0.025, 0.975)

Interval = tuple[float, float]
RatioInterval = tuple[float, float | None]
"""None: no upper end that is a number."""
#: One vector of credits a seed, `(statements,)` each.
Credits = Sequence[NDArray[np.float64]]


def credit_at(budget: float, spent: Sequence[float], first_round: NDArray[np.int64]) -> NDArray[np.float64]:
    """Credits of statements first proved in those rounds (0: never), once `budget` is spent.

    `spent[r]` is the total after round r, `spent[0]` 0. Within a round, proofs count as spread evenly.
    """
    credit = np.zeros(len(first_round))
    for number in range(1, len(spent)):
        room = spent[number] - spent[number - 1]
        share = (budget - spent[number - 1]) / room if room > 0 else float(budget >= spent[number])
        credit[first_round == number] = min(1.0, max(0.0, share))
    return credit


def share_ci95(arm: Credits, resamples: int = _RESAMPLES) -> Interval:
    """The interval of the mean credit."""
    (means_R,) = _resampled([arm], resamples)
    low, high = np.quantile(means_R, _LEVELS)
    return float(low), float(high)


def ratio_ci95(arm: Credits, baseline: Credits) -> RatioInterval | None:
    """The interval of mean credit over the baseline's. Resamples in which the baseline proves nothing count
    as above any number: where they are too many the upper end is None, and so is the interval where its lower
    end is no number either."""
    ours_R, theirs_R = _resampled([arm, baseline], _RESAMPLES)
    ratios_R = np.where(theirs_R > 0, ours_R / np.where(theirs_R > 0, theirs_R, 1), np.inf)
    low, high = np.quantile(ratios_R, _LEVELS, method="nearest")
    if not np.isfinite(low):
        return None
    return float(low), float(high) if np.isfinite(high) else None


def difference_ci95(arm: Credits, baseline: Credits) -> Interval:
    """The interval of mean credit less the baseline's."""
    ours_R, theirs_R = _resampled([arm, baseline], _RESAMPLES)
    low, high = np.quantile(ours_R - theirs_R, _LEVELS)
    return float(low), float(high)


def rounds_difference_ci95(arm: Credits, baseline: Credits) -> Interval:
    """The interval of a mean over rounds less the baseline's: one vector of rounds a seed, whose lengths may
    differ. Both sides draw the same seeds, and of each seed rounds of their own."""
    rng = np.random.default_rng(0)
    total_R = np.zeros(_RESAMPLES)
    for _ in arm:
        seed_R = rng.integers(len(arm), size=_RESAMPLES)
        for sign, side in ((1, arm), (-1, baseline)):
            for seed, rounds in enumerate(side):
                chosen = seed_R == seed
                drawn = rng.integers(len(rounds), size=(int(chosen.sum()), len(rounds)))
                total_R[chosen] += sign * rounds[drawn].mean(axis=1)
    low, high = np.quantile(total_R / len(arm), _LEVELS)
    return float(low), float(high)


def _resampled(arms: Sequence[Credits], resamples: int) -> list[NDArray[np.float64]]:
    """The mean credit of each arm in each resample, `(R,)`: all arms have the same seeds and statements."""
    rng = np.random.default_rng(0)
    first = arms[0]
    totals = [np.zeros(resamples) for _ in arms]
    statements_R = np.zeros(resamples)
    for _ in first:
        seed_R = rng.integers(len(first), size=resamples)
        for seed, credits in enumerate(first):
            chosen = seed_R == seed
            rows = rng.integers(len(credits), size=(int(chosen.sum()), len(credits)))
            statements_R[chosen] += len(credits)
            for total_R, arm in zip(totals, arms, strict=True):
                total_R[chosen] += arm[seed][rows].sum(axis=1)
    return [total_R / statements_R for total_R in totals]
