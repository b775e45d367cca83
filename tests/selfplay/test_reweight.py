"""Re-weighting: the closed form against the linear program it solves."""

from __future__ import annotations

import numpy as np
import pytest

from stp.errors import MachineryError
from stp.selfplay.reweight import reweight

optimize = pytest.importorskip(
    "scipy.optimize", reason="scipy, for comparison with a linear program, is missing"
)


def _case(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rng.integers(1, 8), 4)), rng.normal(size=(rng.integers(1, 12), 4))


def _cost(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1)[:, None] * np.linalg.norm(others, axis=1)[None, :]
    return -(vectors @ others.T) / norms


def _optimum(cost: np.ndarray, cap: int) -> tuple[float, np.ndarray]:
    """Cost and x-marginal of the optimal plan; with a cap, of as many y as there are places."""
    count_x, count_y = cost.shape
    by_x = np.kron(np.eye(count_x), np.ones(count_y))
    by_y = np.kron(np.ones(count_x), np.eye(count_y))
    placed = min(count_y, cap * count_x) if cap else count_y
    result = optimize.linprog(
        cost.ravel(),
        A_ub=np.vstack([by_x, by_y]),
        b_ub=np.concatenate([np.full(count_x, cap or count_y), np.ones(count_y)]),
        A_eq=np.ones((1, count_x * count_y)),
        b_eq=[placed],
    )
    return float(result.fun), by_x @ result.x


def test_without_a_cap_it_solves_the_linear_program() -> None:
    for seed in range(200):
        conjectures, unproved = _case(seed)
        _, marginal = _optimum(_cost(conjectures, unproved), cap=0)
        share = reweight(conjectures, unproved, 0, seed) / len(conjectures)
        np.testing.assert_allclose(share, marginal / len(unproved), atol=1e-7)


def _greedy(cost: np.ndarray, cap: int, seed: int) -> list[tuple[int, int]]:
    """The rule as step 7 states it, one y after the other: pairs (x, y)."""
    cost, pairs = cost.copy(), []
    for y in np.random.default_rng(seed).permutation(cost.shape[1]):
        x = int(cost[:, y].argmin())
        if cost[x, y] < np.inf:
            pairs.append((x, int(y)))
            if sum(taken == x for taken, _ in pairs) == cap:
                cost[x] = np.inf
    return pairs


def test_with_a_cap_it_is_the_greedy_rule_feasible_and_never_below_the_optimum() -> None:
    worse = 0
    for seed in range(200):
        conjectures, unproved = _case(seed)
        cap, cost = 1 + seed % 3, _cost(conjectures, unproved)
        pairs = _greedy(cost, cap, seed)
        counts = np.bincount([x for x, _ in pairs], minlength=len(conjectures))
        weights = reweight(conjectures, unproved, cap, seed)
        np.testing.assert_allclose(weights, counts * len(conjectures) / counts.sum())
        assert counts.max() <= cap
        assert counts.sum() == min(len(unproved), cap * len(conjectures)), "left out only when all are full"
        best, _ = _optimum(cost, cap)
        paid = sum(cost[x, y] for x, y in pairs)
        assert paid >= best - 1e-7
        worse += paid > best + 1e-7
    assert worse, "greedy is known not to be optimal always: the comparison would not notice"


@pytest.mark.parametrize("cap", [0, 1, 3])
def test_blocks_do_not_change_the_weights(cap: int) -> None:
    rng = np.random.default_rng(1)
    conjectures = rng.normal(size=(40, 8)).astype(np.float32)
    conjectures[20:] = conjectures[:20]  # ties
    unproved = rng.normal(size=(90, 8)).astype(np.float32)
    whole = reweight(conjectures, unproved, cap, 5, block_rows=1000)
    for block_rows in (1, 7, 64):
        np.testing.assert_array_equal(reweight(conjectures, unproved, cap, 5, block_rows), whole)


def test_what_only_rounding_tells_apart_is_a_tie() -> None:
    conjectures, unproved = np.array([[1.0, 1.0], [1.0 + 1e-12, 1.0]]), np.array([[1.0, 0.0]])
    assert reweight(conjectures, unproved, 0, 0).tolist() == [2, 0]


def test_the_seed_decides_who_comes_first() -> None:
    conjectures, unproved = np.eye(2), np.array([[1.0, 0.1], [1.0, 0.2], [1.0, -1.0], [0.1, 1.0]])
    first = reweight(conjectures, np.tile(unproved, (3, 1))[:5], 2, seed=0)
    np.testing.assert_array_equal(first, reweight(conjectures, np.tile(unproved, (3, 1))[:5], 2, seed=0))
    rng = np.random.default_rng(0)
    many, targets = rng.normal(size=(30, 5)), rng.normal(size=(30, 5))
    assert len({tuple(reweight(many, targets, 3, seed)) for seed in range(5)}) > 1


def test_weights_are_one_on_average_and_scale_free() -> None:
    conjectures, unproved = _case(3)
    weights = reweight(conjectures, unproved, 0, 0)
    assert weights.dtype == np.float64
    assert weights.mean() == pytest.approx(1)
    np.testing.assert_array_equal(weights, reweight(conjectures * 7, unproved * 0.1, 0, 0))


def test_nothing_to_stand_for_weighs_nothing() -> None:
    assert reweight(np.ones((3, 2)), np.ones((0, 2)), 3, 0).tolist() == [0, 0, 0]
    assert reweight(np.ones((0, 2)), np.ones((3, 2)), 3, 0).tolist() == []


def test_a_vector_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(MachineryError, match="finite"):
        reweight(np.array([[np.nan, 1.0]]), np.ones((1, 2)), 0, 0)
