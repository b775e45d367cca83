"""What is counted of a proof search: tries in order, rates only where they can be had, bad statements."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stp.datasets import registry
from stp.datasets.decontaminate import Copy
from stp.report.proofs import ProveRecord, read_proofs, results_json, summary
from stp.report.proofs_page import render
from stp.store.rows import proof_key
from stp.store.store import Store
from stp.types import CheckResult, Verdict

LETTERS = {"P": Verdict.PROVED, "r": Verdict.REJECTED, "B": Verdict.BAD_STATEMENT, "c": Verdict.CRASHED}


def record(
    tmp_path: Path, outcomes: list[str], *, k: int, all_: bool = True, copied: str = ""
) -> ProveRecord:
    """The record of a search: a letter for each try of each statement; `.` was not checked."""
    path = tmp_path / "own.jsonl"
    path.write_text("".join(
        json.dumps({"name": f"<i>{i}", "formal_statement": f"theorem t{i} : {i} = {i} := by"}) + "\n"
        for i in range(len(outcomes))
    ))  # fmt: skip
    dataset = registry.load(str(path))
    with Store() as store:
        for problem, letters in zip(dataset.problems, outcomes, strict=True):
            assert problem.statement is not None
            store.add_statements([problem.statement], 0, "test")
            for number, letter in enumerate(letters, 1):
                proof = f"by {letter}"
                store.add_attempts(number, "evaluate", [(problem.statement.key, proof, 1, 5)])
                if letter in LETTERS:
                    result = CheckResult("", LETTERS[letter], axioms=("propext",), toolchain="lean")
                    store.add_checks([(proof_key(problem.statement.key, proof), result)])
        values = {"k": k, "all": all_, "strategy": "sample", "split": None, "model": "tiny"}
        copies = {
            problem.statement.key: Copy(problem.name, "Nat.seen", False, 0.9)
            for problem in dataset.problems
            if problem.statement and problem.name in copied
        }
        return read_proofs(store, dataset, values, copies)


def test_the_curve_counts_first_proofs_and_estimates_without_bias(tmp_path: Path) -> None:
    found = record(tmp_path, ["rrPr", "PPPP", "rrrr", "rPrP"], k=4)
    assert [point.solved for point in found.pass_at_k] == [1, 2, 3, 3]
    assert [problem.solved_at for problem in found.problems] == [3, 1, None, 2]
    one, two, _, four = found.pass_at_k
    assert one.unbiased == pytest.approx((1 / 4 + 1 + 0 + 2 / 4) / 4)
    assert four.unbiased == pytest.approx(3 / 4)
    assert (two.blocks, two.block_mean) == (2, pytest.approx((2 / 4 + 3 / 4) / 2))
    assert two.block_spread == pytest.approx(0.125 * 2**0.5)
    assert (four.blocks, four.block_spread) == (1, None)


def test_a_search_that_stops_at_the_first_proof_has_no_unbiased_rate(tmp_path: Path) -> None:
    found = record(tmp_path, ["rrP.", "P...", "rrrr"], k=4, all_=False)
    assert all(point.unbiased is None and point.blocks == 0 for point in found.pass_at_k)
    assert [problem.tries for problem in found.problems] == [3, 1, 4]
    assert "unbiased" not in summary(found)


def test_what_does_not_elaborate_is_neither_solved_nor_unsolved(tmp_path: Path) -> None:
    found = record(tmp_path, ["B", "P", "r", "cc"], k=2)
    values = json.loads(results_json(found))
    counts = [values[name] for name in ("total", "solved", "unsolved", "bad_statements", "no_theorems")]
    assert counts == [4, 1, 2, 1, 0]
    assert values["pass_at_k"][1]["rate"] == 1 / 4
    assert "1 do not elaborate: <i>0" in summary(found)


def test_copies_of_what_the_model_learnt_from_are_told_apart(tmp_path: Path) -> None:
    found = record(tmp_path, ["P", "P", "r"], k=1, copied="<i>1")
    assert json.loads(results_json(found))["without_copies"] == {"total": 2, "solved": 1}
    assert [problem.copy_of for problem in found.problems] == ["", "Nat.seen", ""]
    assert "without copies of what the model learnt from (1): 1 of 2" in summary(found)
    assert "copies Nat.seen" in render(found)


def test_results_keep_their_schema(tmp_path: Path) -> None:
    values = json.loads(results_json(record(tmp_path, ["P"], k=1)))
    assert {
        "schema",
        "dataset",
        "split",
        "strategy",
        "model",
        "k",
        "total",
        "solved",
        "pass_at_k",
    } <= values.keys()
    assert values["schema"] == 1
    (problem,) = values["problems"]
    assert (problem["proof"], problem["axioms"], problem["toolchain"]) == ("by P", ["propext"], "lean")


def test_the_page_escapes_what_is_not_ours(tmp_path: Path) -> None:
    page = render(record(tmp_path, ["P", "r"], k=2))
    assert "&lt;i&gt;0" in page
    assert "<i>0" not in page
    assert "1 of 2 proved" in page
