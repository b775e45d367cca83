"""Corpora as their authors publish them, in small files of our own in those formats."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stp.datasets import lean_core, published, registry
from stp.datasets.problems import read_problems
from stp.errors import UsageError
from stp.types import System

HEADER = "import Mathlib\nimport Aesop\nopen Nat\n\n"
ASK = "Complete the following Lean 4 code:\n\n```lean4\n"


def stp_row(code: str, target: str, tag: str = "['conjecture']", weight: float = 0.5) -> dict[str, object]:
    return {"prompt": ASK + code, "target": target, "weight": weight, "iteration": 7, "tag": tag}


STP = [
    stp_row(f"{HEADER}theorem ours_1 (a : ℕ) (h : 0 < a) : a ≠ 0 := by\n", "  have := h\n  omega\n```"),
    stp_row(
        "/- Of a file. -/\nimport Lib\n\nlemma before : 1 = 1 := rfl\n\ntheorem ours_2 : (2 : ℕ) = 2 := by",
        "\n  rfl\n\ntheorem more : 3 = 3 := rfl", tag="['mathlib']", weight=1.0,
    ),
    stp_row(f"{HEADER}theorem unproved : 1 = 1 := by\n", "  have : 2 = 2 := by sorry\n  rfl"),
    stp_row("State something.", "by simp"),
]  # fmt: skip
WORKBOOK = [
    {
        "natural_language_statement": "Adding nothing.", "answer": "", "tags": ["algebra"],
        "formal_statement": "theorem ours_workbook_3 (n : ℕ) :\n  n + 0 = n  :=  by sorry",
        "split": "lean_workbook", "proof": ["simp", "cases n\nall_goals rfl"],
    },
    {"formal_statement": "theorem ours_workbook_4 (x : ℕ) : x = x  :=  by sorry",
     "split": "lean_workbook_plus", "proof": []},
    {"formal_statement": "theorem ours_workbook_5 ∀ x, x = 1  :=  by sorry", "split": "lean_workbook",
     "proof": ["simp"]},
]  # fmt: skip


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    text = json.dumps(rows) if path.suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text)
    return path


def test_stp_s_rows_are_the_last_theorem_of_the_prompt_with_the_proof_that_the_target_gives(
    tmp_path: Path,
) -> None:
    found, unread = published.read(write(tmp_path / "stp.jsonl", STP))
    assert [(one.statement.text, one.proof, one.weight) for one in found] == [
        ("theorem ours_1 (a : ℕ) (h : 0 < a) : a ≠ 0", "by\n  have := h\n  omega", 0.5),
        ("theorem ours_2 : (2 : ℕ) = 2", "by\n  rfl", 1.0),
    ]
    assert found[0].statement.header == HEADER
    assert unread == 2  # a proof with sorry in it, and no theorem


def test_leanworkbook_s_rows_are_a_statement_with_each_of_its_proofs(tmp_path: Path) -> None:
    found, unread = published.read(write(tmp_path / "lean_workbook.json", WORKBOOK))
    assert [(one.statement.text, one.proof, one.weight) for one in found] == [
        ("theorem ours_workbook_3 (n : ℕ) : n + 0 = n", "by\n  simp", 0.5),
        ("theorem ours_workbook_3 (n : ℕ) : n + 0 = n", "by\n  cases n\n  all_goals rfl", 0.5),
    ]
    assert unread == 1


def test_a_folder_of_parquet_files_is_read_as_one_table(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    for number, rows in enumerate((STP[:1], STP[1:])):
        parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / f"train-{number}.parquet")
    assert published.read(tmp_path) == published.read(write(tmp_path.with_suffix(".jsonl"), STP))
    (tmp_path / "train-1.parquet").write_bytes(b"PAR1")
    with pytest.raises(UsageError, match=r"train-1\.parquet: expected a Parquet file"):
        published.read(tmp_path)


def test_leanworkbook_s_statements_are_problems_by_their_own_names(tmp_path: Path) -> None:
    problems = read_problems(write(tmp_path / "lean_workbook.json", WORKBOOK), System.LEAN, HEADER)
    assert [(problem.name, problem.split) for problem in problems] == [
        ("ours_workbook_3", "lean_workbook"),
        ("ours_workbook_4", "lean_workbook_plus"),
        ("lean_workbook.json:3", "lean_workbook"),
    ]
    assert [problem.statement is None for problem in problems] == [False, False, True]
    assert problems[0].before == HEADER


def test_self_play_trains_on_one_side_of_a_dataset_and_holds_the_other_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"formal_statement": f"theorem ours_{i} (n : Nat) : n + {i} = {i} + n := by sorry", "proof": []}
        for i in range(60)
    ]
    write(tmp_path / "lean_workbook.json", [*rows, *rows[:3]])
    monkeypatch.setenv("STP_DATA_DIR", str(tmp_path))
    train, held_out = registry.sides("leanworkbook")
    assert len(train) + len(held_out) == 60
    assert {lean_core.split_of(s.key) for s in train} == {"train"}
    assert {lean_core.split_of(s.key) for s in held_out} == {"test"}
    assert train[0].header.startswith("import Mathlib")
    split = [{**row, "split": "test" if i < 2 else "train"} for i, row in enumerate(rows)]
    train, held_out = registry.sides(str(write(tmp_path / "own.jsonl", split)))
    assert (len(train), len(held_out)) == (58, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"question": "1 + 1", "answer": "2"}', r"row 1: expected the columns .* found question"),
        ("[3]", "expected an object, found int"),
        ("{", "expected one JSON object"),
        ('{"prompt": "State something.", "target": "by simp"}', "found none in 1 rows"),
    ],
)  # fmt: skip
def test_what_is_neither_corpus_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError, match=said) as e:
        published.read(path)
    assert "\n" not in str(e.value)
    with pytest.raises(UsageError, match="nowhere"):
        published.read(tmp_path / "nowhere")
