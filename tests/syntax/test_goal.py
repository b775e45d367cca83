"""Open goals as statements of their own."""

from __future__ import annotations

import pytest

from stp.syntax.goal import goal_signature
from stp.syntax.lean import cut_conjecture


@pytest.mark.parametrize(
    ("goal", "signature"),
    [
        ("n : Nat\nh : n < 2\n⊢ n ≠ 2", "(n : Nat) (h : n < 2) : n ≠ 2"),
        ("case succ\na b : Nat\n⊢ a = b", "(a b : Nat) : a = b"),
        ("⊢ 1 = 2", ": 1 = 2"),
        (
            "α : Type u_1\ninst✝ : BEq α\nl : List α\n⊢ l == l",
            ".{u_1} (α : Type u_1) [inst_1 : BEq α] (l : List α) : l == l",
        ),
        ("a✝¹ : Nat\na✝ : a✝¹ = 0\n⊢ a✝¹ ≤ 1", "(a_2 : Nat) (a_1 : a_2 = 0) : a_2 ≤ 1"),
        ("h :\n  1 = 1 ∧\n    2 = 2\n⊢ p", "(h : 1 = 1 ∧ 2 = 2) : p"),
        ("h : 1 = 1 ∧\n  2 = 2\n⊢ 1 =\n    1", "(h : 1 = 1 ∧ 2 = 2) : 1 = 1"),
        ("case a\n⊢ 1 = 1\n\ncase b\n⊢ 2 = 2", ": 1 = 1"),
        ("x : Nat := 3\n⊢ x = 3", None),
        ("⊢ f ⋯ = 1", None),
        ("", None),
        ("no goal", None),
    ],
)
def test_a_goal_is_a_signature_or_nothing(goal: str, signature: str | None) -> None:
    assert goal_signature(goal) == signature
    if signature is not None:
        assert cut_conjecture(signature) == signature
