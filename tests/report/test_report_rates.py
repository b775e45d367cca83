"""pass@k against counting every choice of k samples."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stp.report.rates import mean_pass_at_k, pass_at_k


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_it_is_the_share_of_choices_that_hold_a_correct_sample(nck: tuple[int, int, int]) -> None:
    n, c, k = nck
    choices = [*itertools.combinations([True] * c + [False] * (n - c), k)]
    expected = Fraction(sum(any(choice) for choice in choices), len(choices))
    assert pass_at_k(n, c, k) == pytest.approx(float(expected), abs=1e-12)


def test_thousands_of_samples_are_exact_to_twelve_digits() -> None:
    exact = 1 - Fraction(math.comb(25_600 - 7, 3200), math.comb(25_600, 3200))
    assert pass_at_k(25_600, 7, 3200) == pytest.approx(float(exact), rel=1e-12)


@pytest.mark.parametrize(("n", "c", "k"), [(4, 5, 1), (4, -1, 1), (4, 1, 0), (4, 1, 5), (0, 0, 1)])
def test_impossible_counts_are_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        pass_at_k(n, c, k)


def test_the_mean_has_the_standard_error_over_statements() -> None:
    rate = mean_pass_at_k([(4, 4), (4, 0), (4, 2), (4, 2)], 1)
    assert rate is not None
    assert rate.mean == pytest.approx(0.5)
    assert rate.error == pytest.approx(math.sqrt(0.5 / 3 / 4))
    assert rate.statements == 4


def test_a_statement_with_fewer_samples_counts_with_those_it_has() -> None:
    rate = mean_pass_at_k([(2, 1), (0, 0), (8, 8), (8, 0)], 8)
    assert rate is not None
    assert rate.mean == pytest.approx(0.5)


def test_no_statement_has_no_mean_and_one_has_no_error() -> None:
    assert mean_pass_at_k([], 1) is None
    only = mean_pass_at_k([(4, 1)], 1)
    assert only is not None
    assert (only.mean, only.error) == (0.25, None)
