"""Small counterexamples, read by eye here and by the real Lean."""

from __future__ import annotations

import pytest

from stp.syntax.refute import refutation
from stp.types import Job
from stp.verify.pool import Pool

FALSE = [
    "theorem foo (n : Nat) : n * n = n - 1",
    "theorem foo {a b : Int} : a < b → 0 < b",
    "theorem foo.{u} {α : Type u} [BEq α] (l : List α) (h : l ≠ []) : l.reverse = l",
    "theorem foo.{u, v} {α : Type u} {β : Type v} {f : α → β} {l : List α} : (l.map f).length = 0",
    "theorem foo {n : Nat} {a b : Fin n} (h : a < b) : a = b",
    "theorem foo.{u} {α : Type u} {n : Nat} {xs : Vector α n} : xs.toArray = #[]",
    "theorem foo (p q : Prop) (h : p ∨ q) : p",
    "theorem foo : 2 + 2 = 5",
    "theorem foo {α : Type u} [Inhabited α] [DecidableEq α] : (default : α) ≠ default",
    "theorem foo (f : Nat → Nat → Nat) [Std.Associative f] (a b : Nat) : f a b = a",
]
TRUE = [
    "theorem foo (n : Nat) : n + 0 = n",
    "theorem foo.{u} {α : Type u} (l : List α) : l.reverse.reverse = l",
    "theorem foo (f : Nat → Nat) (h : ∀ x, f x = x) : f 3 = 3",
    # True by a class that is a hypothesis.
    "theorem foo {α : Type u} [Subsingleton α] (x y : α) : x = y",
    "theorem foo {op : α → α → α} [ha : Std.Associative op] {xs : Array α} {a₁ a₂ : α} :"
    " xs.foldr op (op a₁ a₂) = op (xs.foldr op a₁) a₂",
]


def test_type_variables_are_nat_and_instances_stay() -> None:
    statement, proof = refutation(FALSE[2])
    assert statement == "theorem refuted : ¬ ∀ [BEq Nat] (l : List Nat) (h : l ≠ []), l.reverse = l"
    assert proof.startswith("by first | exact fun all => absurd (all [] (by decide +kernel)) (by decide")


@pytest.mark.lean
@pytest.mark.parametrize("statement", FALSE)
def test_what_fails_for_small_values_is_refuted(lean_pool: Pool, statement: str) -> None:
    result = lean_pool.submit(Job("job", "", *refutation(statement))).result()
    assert result.proved, (result.reason, result.messages)


@pytest.mark.lean
@pytest.mark.parametrize("statement", TRUE)
def test_what_is_true_is_not(lean_pool: Pool, statement: str) -> None:
    assert not lean_pool.submit(Job("job", "", *refutation(statement))).result().proved
