"""Exploration and exploitation, watched and balanced (B-STaR, Zeng et al. 2024, adapted).

Samples are of use where many of them are correct *and* differ. The score of a statement is
min(distinct / wanted, 1) · distinct / correct, `distinct` being its different correct proofs; the
temperature of the attempts climbs towards the higher mean score, a step a round.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

_COLDEST, _HOTTEST = 0.4, 2.0


def balance_score(counts: Sequence[tuple[int, int]], wanted: int) -> float:
    """The mean score of statements with (correct, distinct correct) proofs each; unproved ones score 0."""
    if not counts:
        return 0.0
    return sum(
        min(distinct / wanted, 1.0) * distinct / correct for correct, distinct in counts if correct
    ) / len(counts)


def next_temperature(history: Sequence[tuple[float, float]], start: float, step: float) -> float:
    """The temperature after rounds of (temperature, score): on the way that improved the score, back on one
    that did not. The first step is upwards."""
    if not history:
        return start
    direction = 1.0
    for (before, low), (after, high) in pairwise(history):
        moved = direction if after == before else 1.0 if after > before else -1.0  # at a bound it stays
        direction = moved if high >= low else -moved
    return round(min(_HOTTEST, max(_COLDEST, history[-1][0] + direction * step)), 6)
