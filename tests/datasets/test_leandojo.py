"""Reading a trace: a small one written by hand in the documented format of the LeanDojo Benchmark 4."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from stp.datasets import leandojo
from stp.errors import UsageError

SOURCE = """\
import Lib.Basic

namespace Lib

theorem double_pos (n : Nat) (h : 0 < n) : 0 < double n := by
  rw [double_eq]
  omega

/-- Not cut out as one command with a proof: alternatives. -/
theorem by_cases' : (n : Nat) → n = n
  | 0 => rfl
  | _ + 1 => rfl

@[simp] lemma double_add (a b : Nat) : double (a + b) = double a + double b := by
  simp [double_eq] -- ünïcode before what follows: ∀
  omega

theorem double_one : double 1 = 2 := rfl

end Lib
"""


def place(text: str, *, end: bool = False) -> list[int]:
    at = SOURCE.index(text) + (len(text) if end else 0)
    return [SOURCE.count("\n", 0, at) + 1, at - (SOURCE.rfind("\n", 0, at) + 1) + 1]


def theorem(name: str, text: str, *used: str) -> leandojo.Row:
    premises = [{"full_name": f"Lib.{n}", "def_path": "Lib/Basic.lean", "def_pos": [1, 1]} for n in used]
    return {
        "url": "https://example.org/lib", "commit": "0" * 40, "file_path": "Lib/Double.lean",
        "full_name": f"Lib.{name}", "start": place(text), "end": place(text, end=True),
        "traced_tactics": [{"tactic": "…", "annotated_tactic": ["…", premises]}],
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    def text(begin: str, end: str) -> str:
        return SOURCE[SOURCE.index(begin) : SOURCE.index(end)].strip()

    theorems = [
        theorem("double_one", "theorem double_one : double 1 = 2 := rfl"),
        theorem("double_add", text("@[simp]", "theorem double_one"), "double_eq", "double", "double_add"),
        theorem("by_cases'", text("theorem by_cases'", "@[simp]")),
        theorem("double_pos", text("theorem double_pos", "/-- Not"), "double_eq", "double_eq"),
    ]
    corpus = {
        "path": "Lib/Basic.lean", "imports": [],
        "premises": [
            {"full_name": "Lib.double", "code": "def double (n : Nat) := 2 * n", "kind": "…"},
            {
                "full_name": "Lib.double_eq",
                "code": "theorem double_eq (n : Nat) :\n    double n = 2 * n",
                "kind": "…",
            },
        ],
    }  # fmt: skip
    (tmp_path / "source/Lib").mkdir(parents=True)
    (tmp_path / "source/Lib/Double.lean").write_text(SOURCE)
    (tmp_path / "corpus.jsonl").write_text(json.dumps(corpus) + "\n")
    (tmp_path / "train.json").write_text(json.dumps(theorems[:2]))
    (tmp_path / "val.json").write_text(json.dumps(theorems[2:]))
    return tmp_path


def test_theorems_come_with_their_proofs_in_the_order_of_the_file(folder: Path) -> None:
    [seeds] = leandojo.read(folder)
    assert [(s.statement.text, s.proof) for s in seeds] == [
        ("theorem double_pos (n : Nat) (h : 0 < n) : 0 < double n", "by\n  rw [double_eq]\n  omega"),
        (
            "theorem double_add (a b : Nat) : double (a + b) = double a + double b",
            "by\n  simp [double_eq] -- ünïcode before what follows: ∀\n  omega",
        ),
        ("theorem double_one : double 1 = 2", "rfl"),
    ]
    assert [s.statement.origin for s in seeds] == ["Lib.double_pos", "Lib.double_add", "Lib.double_one"]


def test_premises_are_theorems_other_than_itself_as_a_lemma_is_shown(folder: Path) -> None:
    [[first, second, third]] = leandojo.read(folder)
    assert [p.statement for p in first.premises] == ["Lib.double_eq (n : Nat) : double n = 2 * n"]
    assert second.premises == first.premises
    assert first.premises[0].module == "Lib.Basic"
    assert third.premises == ()


def test_tuples_are_two_users_of_one_lemma_the_earlier_first(folder: Path) -> None:
    [file] = leandojo.read(folder)
    assert leandojo.tuples(file) == [(file[0], file[0].premises[0], file[1])]


def test_the_published_benchmark_is_read_beside_a_clone_of_what_was_traced(folder: Path) -> None:
    """Its lists lie in two splits of the same theorems, with a file of where they come from."""
    trace = leandojo.read(folder)
    for split in ("random", "novel_premises"):
        (folder / split).mkdir()
        for name in ("train.json", "val.json"):
            (folder / split / name).write_text((folder / name).read_text())
    for name in ("train.json", "val.json"):
        (folder / name).unlink()
    (folder / "metadata.json").write_text('{"leandojo_version": "4.0.0", "from_repo": {"url": "…"}}')
    assert leandojo.read(folder) == trace
    (folder / "source").rename(folder / "elsewhere")
    with pytest.raises(UsageError, match=r"clone https://example\.org/lib there and check out 0000"):
        leandojo.read(folder)


def test_what_is_no_trace_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere/corpus\.jsonl"):
        leandojo.read(tmp_path / "nowhere")
    (folder / "source/Lib/Double.lean").unlink()
    with pytest.raises(UsageError, match=r"Double\.lean"):
        leandojo.read(folder)
    (folder / "val.json").write_text('[{"full_name": "Lib.double"}]')
    with pytest.raises(UsageError, match=r"val\.json: expected LeanDojo's theorems, with url, commit"):
        leandojo.read(folder)
    (folder / "val.json").write_text("{")
    with pytest.raises(UsageError, match=r"val\.json"):
        leandojo.read(folder)


def test_tracing_without_leandojo_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lean_dojo", None)
    with pytest.raises(UsageError, match=r"stp-prover\[dojo\]"):
        leandojo.trace("https://example.org/lib", "main", tmp_path / "out")
    assert "lean_dojo" not in sys.modules or sys.modules["lean_dojo"] is None
