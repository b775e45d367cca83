"""Open goals as statements of their own."""

from __future__ import annotations

import pytest

from stp.search.tactics import completed, forgiving
from stp.syntax.goals import Goal, goal_of, goals_in
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
    ],
)
def test_a_printed_goal_is_a_signature(goal: str, signature: str) -> None:
    [found] = goals_in(goal)
    assert found.whole
    assert found.signature == signature
    assert cut_conjecture(signature) == signature


@pytest.mark.parametrize("goal", ["x : Nat := 3\n⊢ x = 3", "⊢ f ⋯ = 1", "h : p\nodd line\n⊢ q"])
def test_a_goal_of_which_something_is_left_out_says_so(goal: str) -> None:
    assert [found.whole for found in goals_in(goal)] == [False]


@pytest.mark.parametrize("text", ["", "no goal"])
def test_what_is_no_goal_gives_none(text: str) -> None:
    assert goals_in(text) == []


def test_printed_goals_become_statements() -> None:
    text = """\
case succ
a b : Nat
h : a =
  b
inst✝ : DecidableEq Nat
x✝¹ : a < b
⊢ b + 1 =
    a + 1

case zero
⊢ True"""
    first, second = goals_in(text)
    assert first.statement == (
        "theorem goal (a b : Nat) (h : a = b) [inst_1 : DecidableEq Nat] (x_2 : a < b) : b + 1 = a + 1"
    )
    assert second.statement == "theorem goal : True"


def test_a_statement_is_a_goal_too() -> None:
    goal = goal_of("theorem t {α : Type} [BEq α] (a b : Nat) (h : ∀ n : Nat, n = a) : b = a")
    assert goal.hypotheses == (("α", "Type"), ("a b", "Nat"), ("h", "∀ n : Nat, n = a"))
    assert goal.target == "b = a"


GOALS = Goal((("h✝ a", "p"), ("x✝", "Nat")), "p"), Goal((), "q")


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


@pytest.mark.parametrize(
    ("proof", "forgives"),
    [
        ("by induction l <;> grind", "by induction l <;> (try grind)"),
        ("by cases a <;> cases b <;> simp [f]", "by cases a <;> (try cases b) <;> (try simp [f])"),
        ("by\n  intro x\n  omega", "by\n  intro x\n  try omega"),
        ("by\n  intro x\n  cases x <;> rfl", "by\n  intro x\n  cases x <;> (try rfl)"),
        ("by grind", None),
        ("by\n  intro x\n  cases x with\n  | zero => rfl", None),
        ("rfl", None),
        ("by", None),
    ],
)
def test_a_forgiving_proof_leaves_open_what_its_end_does_not_close(proof: str, forgives: str | None) -> None:
    assert forgiving(proof) == forgives
