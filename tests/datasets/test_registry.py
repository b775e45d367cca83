"""Benchmarks by name: every statement of them is cut apart and put together again unchanged."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from stp.datasets import lean_core, registry
from stp.datasets.files import data_dir
from stp.datasets.problems import read_problems
from stp.errors import UsageError
from stp.settings import VerifySettings
from stp.syntax.lean import statement_key
from stp.types import Job, System
from stp.verify.lean import toolchain
from stp.verify.pool import open_pool

SHARED = Path(__file__).parents[3] / "shared" / "data"
FILES = {name: entry for name, entry in registry.entries().items() if entry.file}
COUNTS = {
    "minif2f": 488, "minif2f-deepseek": 488, "minif2f-goedel": 244,
    "minif2f-isabelle": 488, "proofnet": 371, "proofnet-verified": 367, "putnambench": 672,
    "putnambench-isabelle": 640,
}  # fmt: skip
#: Of ProofNet's 371, so many are definitions, which nothing proves.
DEFINITIONS = {"proofnet": 14}


def shared(name: str) -> Path:
    path = SHARED / FILES[name].file
    if not path.is_file():
        pytest.skip(f"no {path.name} beside this checkout")
    return path


@pytest.mark.parametrize("name", COUNTS)
def test_every_statement_is_split_and_written_back_unchanged(name: str) -> None:
    path = shared(name)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    problems = registry.load(name, source=SHARED).problems
    assert len(problems) == len(rows) == COUNTS[name]
    for problem, row in zip(problems, rows, strict=True):
        assert row["formal_statement"] in problem.source
        assert problem.source.startswith(row["header"])
        if problem.system is System.ISABELLE:
            assert problem.source == row["theory_statement"]
        else:
            assert problem.text + problem.hole == row["formal_statement"]
            assert problem.statement is None or problem.hole == " := by"
    assert sum(problem.statement is None for problem in problems) == DEFINITIONS.get(name, 0)
    keys = [problem.statement.key for problem in problems if problem.statement]
    assert len(set(keys)) == len(keys)
    assert len({problem.name for problem in problems}) == len(problems)


@pytest.mark.parametrize("name", COUNTS)
def test_the_digest_of_a_file_and_the_names_of_bad_statements_are_the_manifest_s(name: str) -> None:
    path = shared(name)
    assert registry.problem_with(FILES[name], path) is None
    known = {problem.name for problem in registry.load(name, source=SHARED).problems}
    assert FILES[name].bad.keys() <= known


def test_minif2f_core_is_a_choice_of_minif2f_behind_headers_of_its_own() -> None:
    shared("minif2f-core")
    dataset = registry.load("minif2f-core", source=SHARED)
    assert dataset.path is not None
    assert registry.problem_with(dataset.entry, dataset.path) is None
    assert dataset.entry.bad.keys() <= {problem.name for problem in dataset.problems}
    rows = map(json.loads, (SHARED / "minif2f_core_lean4.jsonl").read_text(encoding="utf-8").splitlines())
    assert [
        (row["name"], row["split"], statement_key(row["formal_statement"]), row["tier"] == "A")
        for row in rows
    ] == [(p.name, p.split, p.statement.key, "def" not in p.before) for p in dataset.problems if p.statement]


@pytest.mark.lean
def test_the_headers_of_minif2f_core_define_what_mathlib_means() -> None:
    parts = tomllib.loads((data_dir() / "minif2f-core.toml").read_text(encoding="utf-8"))
    facts = {
        "7! = 5040 ∧ Nat.factorial 0 = 1": "by decide",
        "Nat.choose 7 3 = 35 ∧ Nat.choose 3 7 = 0 ∧ Nat.choose 5 0 = 1": "by decide",
        "Nat.Prime 7 ∧ ¬ Nat.Prime 1 ∧ ¬ Nat.Prime 0 ∧ ¬ Nat.Prime 9": (
            "by\n  refine ⟨⟨by decide, fun m h => ?_⟩, fun h => by have := h.1; omega,"
            " fun h => by have := h.1; omega, fun h => by have := h.2 3 ⟨3, rfl⟩; omega⟩\n"
            "  have : ∀ m < 8, m ∣ 7 → m = 1 ∨ m = 7 := by decide\n"
            "  exact this m (Nat.lt_succ_of_le (Nat.le_of_dvd (by decide) h)) h"
        ),
        "Even (6 : ℤ) ∧ Odd (-3 : ℤ) ∧ ¬ Even (3 : ℕ)": ("⟨⟨3, rfl⟩, ⟨-2, rfl⟩, fun ⟨r, h⟩ => by omega⟩"),
        "(12 ≡ 5 [MOD 7]) ∧ ¬ (12 ≡ 4 [MOD 7])": "by simp [Nat.ModEq]",
        "abs (-3) = 3 ∧ abs 3 = 3 ∧ abs 0 = 0": "by decide",
        "Nat.digits 10 123 = [3, 2, 1] ∧ Nat.digits 10 0 = [] ∧ Nat.ofDigits 10 [3, 2, 1] = 123": (
            "by simp [Nat.digits, Nat.ofDigits]"
        ),
    }
    jobs = [
        Job(says, parts["defined"]["header"], f"theorem t : {says}", proof) for says, proof in facts.items()
    ]
    jobs.append(Job("plain", parts["plain"]["header"], "theorem t (n : ℕ) (z : ℤ) (q : ℚ) : n = n", "rfl"))
    with open_pool(VerifySettings(pool="local", workers=1, toolchain="embedded", trusting=True)) as pool:
        assert [(r.id, r.messages) for r in pool.check(jobs) if not r.proved] == []


def test_another_file_is_told_by_its_digest(tmp_path: Path) -> None:
    entry = FILES["minif2f"]
    (tmp_path / entry.file).write_text('{"name": "a", "formal_statement": "theorem a : 1 = 1 := by"}\n')
    said = registry.problem_with(entry, registry.find(entry, tmp_path))
    assert said is not None
    assert entry.sha256[:12] in said


def test_data_come_from_the_folder_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STP_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(UsageError, match="stp data fetch proofnet"):
        registry.load("proofnet")
    (tmp_path / "proofnet_lean4.jsonl").write_text(
        '{"name": "a", "formal_statement": "theorem a : 1 = 1 := by"}'
    )
    monkeypatch.setenv("STP_DATA_DIR", str(tmp_path))
    assert [problem.name for problem in registry.load("proofnet").problems] == ["a"]


def test_published_forms_and_own_files_are_read(tmp_path: Path) -> None:
    workbook = tmp_path / "lean_workbook.json"
    workbook.write_text(
        json.dumps(
            [
                {
                    "id": "lean_workbook_1",
                    "status": "proved",
                    "formal_statement": "theorem w : 1 = 1  :=  by sorry",
                }
            ]
        )
    )
    (problem,) = registry.load("leanworkbook", source=tmp_path).problems
    assert (problem.name, problem.text, problem.hole) == (
        "lean_workbook_1",
        "theorem w : 1 = 1",
        "  :=  by sorry",
    )
    assert problem.statement is not None
    assert problem.statement.header.startswith("import Mathlib")

    (tmp_path / "own.lean").write_text(
        "namespace A\ntheorem done : 1 = 1 := rfl\n"
        "/-- Said. -/\n@[simp] theorem todo (n : Nat) : n = n := by\n  sorry\nend A\n"
    )
    (problem,) = registry.load(str(tmp_path / "own.lean")).problems
    assert problem.name == "own.todo"
    assert problem.before.endswith("/-- Said. -/\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "found none"),
        ("{", ":1: expected one JSON object"),
        ("[" * 100_000, "expected a JSON list"),
        (f'{{"statement": {"9" * 5000}}}', ":1: expected one JSON object"),
        ("[1]", ":1: expected an object"),
        ('{"name": "a"}', "formal_statement"),
    ],
)
def test_a_file_that_holds_no_problems_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_problems(path, System.LEAN, "")


def test_what_is_no_dataset_or_split_is_named() -> None:
    with pytest.raises(UsageError, match="minif2f-core"):
        registry.load("minif3f")
    shared("minif2f-core")
    with pytest.raises(UsageError, match="test, valid"):
        registry.load("minif2f-core", "train", SHARED)


@pytest.mark.lean
def test_lean_core_is_the_embedded_lean_s_whatever_else_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, find = [], toolchain.find

    def native_first(kind: toolchain.Kind = "auto", **_: object) -> toolchain.Toolchain:
        asked.append(kind)
        return find("embedded")

    monkeypatch.setattr(toolchain, "find", native_first)
    lean_core.library()
    assert asked == ["embedded"]
