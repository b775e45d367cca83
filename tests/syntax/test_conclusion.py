"""Parts of a statement, for guards and gates."""

from __future__ import annotations

import pytest

from stp.syntax.conclusion import contradiction, disjunctions, split_conclusion


@pytest.mark.parametrize(
    ("statement", "binders", "conclusion"),
    [
        ("theorem t (a b : Nat) (h : a < b) : a ≤ b", "(a b : Nat) (h : a < b)", "a ≤ b"),
        ("theorem t : 1 = 1", "", "1 = 1"),
        (
            "theorem t.{u} {α : Type u} [BEq α] : ∀ x : α, x = x",
            ".{u} {α : Type u} [BEq α]",
            "∀ x : α, x = x",
        ),
        ("theorem t (f : {x : Nat // x > 0} → Nat) : f = f", "(f : {x : Nat // x > 0} → Nat)", "f = f"),
    ],
)
def test_the_colon_outside_brackets_parts_a_statement(statement: str, binders: str, conclusion: str) -> None:
    assert split_conclusion(statement) == (binders, conclusion)


def test_a_contradiction_keeps_the_hypotheses_and_universes() -> None:
    assert contradiction("theorem t (n : Nat) (h : n < 0) : n = 3") == (
        "theorem contradiction (n : Nat) (h : n < 0) : False"
    )
    assert (
        contradiction("theorem t.{u} (α : Type u) : True") == "theorem contradiction.{u} (α : Type u) : False"
    )
    assert contradiction("theorem t : 1 = 1") is None


def test_disjunctions_are_counted_in_hypotheses_too_and_not_in_comments() -> None:
    assert disjunctions("theorem t (h : p ∨ q) : q ∨ p /- ∨ -/") == 2
