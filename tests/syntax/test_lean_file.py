"""The theorems of a file and their holes, and printed goals as statements."""

from __future__ import annotations

import pytest

from stp.syntax.lean_file import commands, definitions, holds_command, imports_of, theorems

FILE = """\
/-! sorry, said a comment. -/
import Init
open Nat

namespace A.B
variable (n : Nat)

def twice (n : Nat) : Nat := sorry

/-- A doc comment with sorry. -/
@[simp]
theorem twice_eq : twice n = n + n := by
  have h : "sorry" = "sorry" := rfl
  sorry

section
private lemma two (a b : Nat) (h : a = b)
    (k : let x := a; x = b) : b = a := by
  open Nat in
  cases h
  · exact (sorry)
set_option maxRecDepth 1000 in
theorem by_cases_ : ∀ n : Nat, n = n
  | 0 => sorry
  | _ + 1 => rfl
end

mutual
theorem m : 1 = 1 := rfl
end
theorem _root_.top : True := by trivial
end A.B
noncomputable section
instance : Inhabited Nat := ⟨sorry⟩
theorem last : True := sorry
"""


def test_theorems_have_their_full_names_and_their_holes() -> None:
    found = theorems(FILE)
    assert [(t.full_name, len(t.holes)) for t in found] == [
        ("A.B.twice_eq", 1), ("A.B.two", 1), ("A.B.by_cases_", 1), ("A.B.m", 0), ("top", 0), ("last", 1),
    ]  # fmt: skip
    assert all(FILE[hole.start : hole.end] == "sorry" for t in found for hole in t.holes)
    assert FILE[found[0].start : found[0].end].startswith("@[simp]\ntheorem twice_eq")
    assert FILE[found[0].start : found[0].end].endswith("sorry")
    assert FILE[found[2].start :].startswith("set_option maxRecDepth 1000 in\ntheorem by_cases_")
    assert commands("def f := 1\n@[simp]\ntheorem t : f = 1 := by\n  open Nat in\n  rfl\n#eval f") == 3
    assert definitions(FILE) == ["A.B.twice"]


@pytest.mark.parametrize("text", ["", "theorem", "theorem a", "def f := 1", "end\nend"])
def test_files_without_theorems_have_none(text: str) -> None:
    assert theorems(text) == []


@pytest.mark.parametrize(
    ("proof", "expected"),
    [
        ("by simp", False), ("open Nat in add_comm a b", False), ("l.prefix", False), ("#s", False),
        ("by\n  set_option maxRecDepth 9 in\n  open A in simp", False),
        ("by -- theorem\n  exact «instance» \"def\"", False),
        ("trivial instance : Inhabited Nat := ⟨0⟩", True), ("by trivial open A", True),
        ("by trivial open A open B in x", True), ("by trivial set_option maxRecDepth 9", True),
        ("by trivial end A", True), ("by trivial attribute [simp] a", True),
    ],
)  # fmt: skip
def test_a_command_in_a_proof_is_seen_wherever_it_stands(proof: str, expected: bool) -> None:
    assert holds_command(proof) is expected


def test_imports_are_one_line_however_they_are_spelled() -> None:
    text = "-- a comment\nimport  Init\n/- import A -/ import Std.Data\n\nopen Nat\nimport B\n"
    assert imports_of(text) == "import Init import Std.Data"
    assert imports_of("theorem a : True := trivial") == ""
    assert imports_of("import Init\n/- no end") == ""
