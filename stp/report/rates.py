"""pass@k: how likely is it that at least one of k sampled proofs holds.

`n` samples of a statement were checked and `c` of them hold. The unbiased estimate for k <= n draws k of
the n without putting any back: 1 - C(n-c, k) / C(n, k) (Chen et al., 2021, "Evaluating Large Language
Models Trained on Code", equation 1).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """A mean over statements."""

    mean: float
    error: float | None
    """Standard error of the mean over the statements; None for a single one."""
    statements: int


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance that k of n samples, c of them correct, hold a correct one.

    Raises:
        ValueError: not 0 <= c <= n, or not 1 <= k <= n.
    """
    if not 0 <= c <= n:
        raise ValueError(f"expected 0 <= c <= n, found c={c} n={n}")
    if not 1 <= k <= n:
        raise ValueError(f"expected 1 <= k <= n, found k={k} n={n}")
    if n - c < k:
        return 1.0
    # The same quotient as a product of c factors: binomials of thousands of samples are very long integers.
    return 1.0 - math.prod(1.0 - k / i for i in range(n - c + 1, n + 1))


def mean_pass_at_k(samples: Iterable[tuple[int, int]], k: int) -> Rate | None:
    """The mean over statements with (n, c) each; None without any statement.

    A statement with n < k counts with all the samples that it has: too low rather than too high.

    Raises:
        ValueError: k < 1, or not 0 <= c <= n somewhere.
    """
    # Thousands of statements share a few (n, c): each is worked out once.
    values = [
        (pass_at_k(n, c, min(k, n)) if n else 0.0, times)
        for (n, c), times in sorted(Counter(samples).items())
    ]
    total = sum(times for _, times in values)
    if not total:
        return None
    mean = math.fsum(value * times for value, times in values) / total
    if total == 1:
        return Rate(mean, None, 1)
    squares = math.fsum((value - mean) ** 2 * times for value, times in values)
    return Rate(mean, math.sqrt(squares / (total - 1) / total), total)
