"""Guide, memory and balance: what moves weights and temperature beyond the pass rate."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stp.selfplay.balance import balance_score, next_temperature
from stp.selfplay.guide import guide_scores, nearest, novelty
from stp.selfplay.reweight import unit


def test_the_guide_prefers_the_relevant_the_short_and_the_lonely() -> None:
    vectors = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.1], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    seeds = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    scores = guide_scores(np.array([10, 10, 10, 10]), np.array([10, 10, 10, 10]), vectors, seeds)
    assert scores.mean() == pytest.approx(1)
    assert scores[0] > scores[1]  # another is near to the second
    assert scores[3] == 0  # nothing to do with what it was made from
    longer = guide_scores(np.array([20, 10, 10, 10]), np.array([10, 10, 10, 10]), vectors, seeds)
    assert longer[0] < scores[0]


def test_a_set_that_scores_nothing_keeps_its_weights() -> None:
    assert guide_scores(
        np.array([1]), np.array([1]), np.array([[1.0, 0]]), np.array([[0, 1.0]])
    ).tolist() == [1]
    assert guide_scores(*(np.zeros(0, int),) * 2, *(np.zeros((0, 2)),) * 2).tolist() == []


def test_memory_halves_nothing_new_and_drops_what_repeats() -> None:
    conjectures, earlier = np.array([[1.0, 0], [0, 1.0], [1.0, 1.0]]), np.array([[2.0, 0]])
    assert novelty(conjectures, earlier) == pytest.approx([0, 1, 1 - 0.5**0.5], abs=1e-6)
    assert novelty(conjectures, np.zeros((0, 2))).tolist() == [1, 1, 1]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**16), st.integers(1, 700))
def test_nearest_is_the_same_in_blocks(seed: int, count: int) -> None:
    vectors = unit(np.random.default_rng(seed).normal(size=(count, 3)))
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, 0)
    expected = similarity.max(axis=1).clip(0, 1) if count > 1 else np.zeros(1)
    np.testing.assert_allclose(nearest(vectors, vectors, same=True), expected, atol=1e-6)


def test_balance_rewards_many_and_different_correct_proofs() -> None:
    assert balance_score([], 4) == 0
    assert balance_score([(4, 4)], 4) == 1
    assert balance_score([(8, 1)], 4) < balance_score([(8, 4)], 4) < balance_score([(4, 4)], 4)
    assert balance_score([(4, 4), (0, 0)], 4) == 0.5


def test_the_temperature_climbs_goes_on_and_turns_back() -> None:
    assert next_temperature([], 1.0, 0.1) == 1.0
    assert next_temperature([(1.0, 0.2)], 1.0, 0.1) == 1.1
    assert next_temperature([(1.0, 0.2), (1.1, 0.3)], 1.0, 0.1) == 1.2
    assert next_temperature([(1.0, 0.2), (1.1, 0.1)], 1.0, 0.1) == 1.0
    assert next_temperature([(1.1, 0.2), (1.0, 0.3)], 1.0, 0.1) == 0.9


@given(st.lists(st.tuples(st.floats(0.4, 2.0), st.floats(0, 1)), min_size=1, max_size=9), st.floats(0.01, 1))
def test_the_temperature_stays_in_its_range(history: list[tuple[float, float]], step: float) -> None:
    assert 0.4 <= next_temperature(history, 1.0, step) <= 2.0
