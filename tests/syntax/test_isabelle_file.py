"""Whole theory files: the spec states, the submission proves."""

from __future__ import annotations

import pytest

from stp.errors import UsageError
from stp.syntax.isabelle_file import proof_in, split_spec

SPEC = """
theory Spec
  imports Complex_Main
begin
(* what the goal speaks of *)
definition two :: nat where "two = 2"

lemma first: "two = 2" by (simp add: two_def)

theorem goal [simp]: fixes x :: nat shows "x + two > x"
  sorry

theorem later: "True" sorry
end
"""
PROOF = 'lemma pos: "two > 0" by (simp add: two_def)\n'
PROOF += 'theorem goal: fixes x :: nat shows "x + two > x" by (simp add: pos)'
SUBMISSION = f"""
theory Other imports Complex_Main begin
definition two :: nat
  where "two = 2" (* again *)
{PROOF}
end
"""


def test_the_spec_gives_header_and_statement_and_the_submission_the_rest() -> None:
    header, statement = split_spec(SPEC, "goal")
    assert header.split() == SPEC.partition("theorem")[0].replace("(* what the goal speaks of *)", "").split()
    assert statement == 'theorem goal: fixes x :: nat shows "x + two > x"'
    assert proof_in(SUBMISSION, header) == PROOF


def test_a_definition_that_differs_stays_in_the_proof_where_it_is_refused() -> None:
    header, _ = split_spec(SPEC, "goal")
    assert "two = 3" in proof_in(SUBMISSION.replace("two = 2", "two = 3"), header)


@pytest.mark.parametrize(
    ("spec", "theorem"),
    [
        (SPEC, "absent"), (SPEC, "first"), ("", "goal"), ("theory X imports Main begin end", "goal"),
        (SPEC.replace("end", ""), "goal"), (SPEC.replace("begin", "begin foo"), "goal"),
    ],
)  # fmt: skip
def test_a_spec_that_does_not_state_the_theorem_is_refused(spec: str, theorem: str) -> None:
    with pytest.raises(UsageError):
        split_spec(spec, theorem)


def test_a_submission_must_be_a_theory_on_the_same_imports() -> None:
    header, _ = split_spec(SPEC, "goal")
    for bad in ["by simp", SUBMISSION.replace("Complex_Main", "Complex_Main Evil"), SUBMISSION + "ML"]:
        with pytest.raises(UsageError):
            proof_in(bad, header)
