"""Open goals as statements of their own."""

from __future__ import annotations

import pytest

from stp.syntax.goal import OpenGoal, completed, open_goal, open_goals
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
        ("x : Nat := 3\n⊢ x = 3", None),
        ("⊢ f ⋯ = 1", None),
        ("", None),
        ("no goal", None),
    ],
)
def test_a_goal_is_a_signature_or_nothing(goal: str, signature: str | None) -> None:
    found = open_goal(goal)
    assert (found.signature if found else None) == signature
    if signature is not None:
        assert cut_conjecture(signature) == signature


def test_all_goals_of_a_message_are_said_or_none() -> None:
    said = open_goals("case a\nx✝¹ : Nat\nx✝ y✝ : Nat\nh : y✝ = 1\n⊢ x✝ = x✝¹\n\ncase b\n⊢ 2 = 2\n")
    assert said == (
        OpenGoal("(x_2 : Nat) (x_1 y_1 : Nat) (h : y_1 = 1) : x_1 = x_2", ("x_2", "x_1", "y_1")),
        OpenGoal(": 2 = 2", ()),
    )
    assert open_goals("⊢ 1 = 1\n\n⊢ f ⋯ = 1") is None
    assert open_goals("") is None


GOALS = OpenGoal(": p", ("h_1", "x_1")), OpenGoal(": q", ())


@pytest.mark.parametrize(
    ("proof", "closings", "whole"),
    [
        ("by simp", ["by omega"], "by\n  simp\n  next h_1 x_1 =>\n    omega"),
        (
            "by\n    intro x\n    cases x with\n    | zero => rfl",
            ["by\n  intro y\n  simp [y]", "by rfl"],
            "by\n  intro x\n  cases x with\n  | zero => rfl\n  next h_1 x_1 =>\n    intro y\n    simp [y]"
            "\n  next =>\n    rfl",
        ),
        ("foo bar", ["by rfl"], None),
        ("bye", ["by rfl"], None),
        ("by", ["by rfl"], None),
        ("by simp", ["rfl"], None),
        ("by intro x\n   simp", ["by rfl"], None),  # the steps' column is not the second line's
    ],
)
def test_a_proof_is_completed_goal_by_goal(proof: str, closings: list[str], whole: str | None) -> None:
    assert completed(proof, [*zip(GOALS, closings, strict=False)]) == whole
