"""Holes of a user's own file: filled in their place, with the file's context, and no false one accepted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stp.cli import app
from stp.prove import FileProver
from stp.search.holes import HoleReport, Searcher, written
from stp.search.portfolio import Portfolio
from stp.search.prove import Budget
from stp.search.strategy import Draft, Strategy, Task
from stp.settings import VerifySettings
from stp.syntax.lean_file import FileTheorem, Hole, theorems
from stp.types import Limits
from stp.verify.pool import Pool, open_pool

FILE = """\
namespace Shop
/-- Three for each. -/
def price (n : Nat) : Nat := 3 * n
variable (a b : Nat)

/-- A sorry in a comment is no hole. -/
theorem price_add : price (a + b) = price a + price b := by
  sorry

theorem price_zero : price 0 = 0 := sorry

theorem both (h : a = b) : price a = price b ∧ b = a := by
  constructor
  · sorry
  · exact (sorry)

theorem wrong : price 1 = 4 := by sorry

theorem rests : price 1 = 4 ∧ True := ⟨wrong, sorry⟩
end Shop

def later : Nat := sorry
"""


def fill(pool: Pool, text: str, strategy: Strategy | None = None) -> tuple[str, list[HoleReport]]:
    reports = []
    searcher = Searcher(pool, strategy or Portfolio(), Budget(24), Limits(heartbeats=20_000))
    for now, report in searcher.fill(text):
        text = now
        reports.append(report)
    return text, reports


@pytest.mark.lean
def test_holes_are_filled_where_they_stand_and_a_false_one_stays(lean_pool: Pool) -> None:
    after, reports = fill(lean_pool, FILE)
    assert [(report.theorem, report.line, report.state) for report in reports] == [
        ("Shop.price_add", 8, "proved"), ("Shop.price_zero", 10, "proved"), ("Shop.both", 14, "filled"),
        ("Shop.both", 15, "proved"), ("Shop.wrong", 17, "open"), ("Shop.rests", 19, "filled"),
    ]  # fmt: skip
    assert "theorem wrong : price 1 = 4 := by sorry" in after
    assert "def later : Nat := sorry" in after
    assert "/-- A sorry in a comment is no hole. -/" in after
    assert [len(theorem.holes) for theorem in theorems(after)] == [0, 0, 0, 1, 0]


ODD = """\
macro "four" : term => `(4)
mutual
theorem even_zero : 0 % 2 = 0 := sorry
theorem odd_one : 1 % 2 = 1 := rfl
end
theorem either : 1 = 1 := by first | sorry | rfl
theorem last : 2 + 2 = four := by sorry
"""


@pytest.mark.lean
def test_holes_that_cannot_be_filled_keep_no_other_from_it(trusting_pool: Pool) -> None:
    """And the file may have macros: it is the user's own."""
    _, reports = fill(trusting_pool, ODD)
    assert [(report.state, report.reason) for report in reports] == [
        ("open", "in a mutual block, which is checked only as a whole"),
        ("open", "Lean shows no goal there"),
        ("proved", ""),
    ]


@pytest.fixture
def trusting_pool() -> Iterator[Pool]:
    with open_pool(VerifySettings(pool="local", workers=1, toolchain="embedded")) as pool:
        yield pool


class Smuggler:
    """Writes what is no proof: a hole, and a proof with commands behind it."""

    looks = False

    def propose(self, tasks: list[Task], most: int) -> list[list[Draft]]:  # type: ignore[override]
        texts = [
            "by sorry",
            "by exact sorryAx _ false",
            "rfl\n\ntheorem more : True := trivial",
            "by admit",
            "rfl",
        ]
        return [[Draft(text) for text in texts[task.tries : task.tries + most]] for task in tasks]


@pytest.mark.lean
def test_nothing_but_a_proof_fills_a_hole(lean_pool: Pool) -> None:
    after, (report,) = fill(lean_pool, "theorem t : 2 + 2 = 4 := sorry\n", Smuggler())  # type: ignore[arg-type]
    assert (after, report.state) == ("theorem t : 2 + 2 = 4 := rfl\n", "proved")


FIVE = "⟨fun _ _ => 5⟩"


class Swindler:
    """Fills the first hole with a proof and a command on its line that changes what stands below."""

    looks = False

    def __init__(self, first: str) -> None:
        self.first = first

    def propose(self, tasks: list[Task], most: int) -> list[list[Draft]]:  # type: ignore[override]
        texts = [self.first, "trivial", "rfl"]
        return [[Draft(text) for text in texts[task.tries : task.tries + most]] for task in tasks]


@pytest.mark.lean
@pytest.mark.parametrize("trusting", [False, True])
def test_no_proof_changes_what_stands_below_it(
    lean_pool: Pool, monkeypatch: pytest.MonkeyPatch, trusting: bool
) -> None:
    """It is refused for its words; were it not, a later statement would be held to the file as given."""
    if trusting:
        monkeypatch.setattr("stp.search.holes.holds_command", lambda proof: False)
    text = "theorem a : True := sorry\ntheorem b : 2 + 2 = 5 := sorry\n"
    after, reports = fill(lean_pool, text, Swindler(f"trivial instance : HAdd Nat Nat Nat := {FIVE}"))  # type: ignore[arg-type]
    assert [report.state for report in reports] == ["proved", "open"]
    assert (FIVE in after) == trusting


class Costly:
    """Each draft costs 5 tokens, and none is a proof."""

    looks = False

    def propose(self, tasks: list[Task], most: int) -> list[list[Draft]]:  # type: ignore[override]
        return [[Draft(f"by skip -- {task.tries + n}", 5) for n in range(most)] for task in tasks]


@pytest.mark.lean
def test_tokens_and_seconds_are_for_all_holes_together(lean_pool: Pool) -> None:
    text = "theorem a : 2 + 2 = 4 := sorry\ntheorem b : 2 + 2 = 4 := sorry\n"
    for budget in (Budget(4, tokens=20), Budget(4, seconds=1e-9)):
        searcher = Searcher(lean_pool, Costly(), budget, Limits(heartbeats=20_000))  # type: ignore[arg-type]
        first, second = [report for _, report in searcher.fill(text)]
        assert first.tokens == (20 if budget.tokens else 0)
        assert (second.tries, second.tokens) == (0, 0)
        assert second.reason == "nothing is left of --tokens or --seconds"


@pytest.mark.lean
def test_a_file_that_does_not_compile_says_where(lean_pool: Pool) -> None:
    _, (report,) = fill(lean_pool, "def f : Nat := true + 1 1\ntheorem t : f = f := by sorry\n")
    assert report.state == "broken"
    assert report.reason.startswith("1:")


@pytest.mark.parametrize(
    ("text", "proof", "place", "result"),
    [
        ("theorem t : A := sorry", "by simp", "term", "by simp"),
        ("theorem t : A := f sorry", "by simp", "term", "(by simp)"),
        ("theorem t : A := sorry", "by\n  intro x\n  simp", "term", "by\n  intro x\n  simp"),
        ("theorem t : A := by sorry", "by simp", "tactic", "simp"),
        ("theorem t : A := by\n  sorry", "by\n  intro x\n  simp", "tactic", "intro x\n  simp"),
        ("theorem t : A := by\n  · sorry", "by\n  a\n  b", "tactic", "a\n    b"),
        ("theorem t : A := by\n  sorry", "h", "tactic", "exact (h)"),
        ("theorem t : A := by (sorry)", "by a <;> b", "tactic", "(a <;> b)"),
    ],
)  # fmt: skip
def test_a_proof_is_written_to_fit_its_place(text: str, proof: str, place: str, result: str) -> None:
    at = text.index("sorry")
    assert written(text, Hole(at, at + 5), proof, place) == result  # type: ignore[arg-type]


def test_what_is_no_lean_file_is_one_line(tmp_path: Path) -> None:
    for name, said in (("A.v", "Isabelle"), ("missing.lean", "readable file")):
        done = CliRunner().invoke(app, ["prove", str(tmp_path / name)])
        assert done.exit_code != 0
        assert said in str(done.exception)
    none = tmp_path / "none.lean"
    none.write_text("theorem t : 1 = 1 := rfl\n")
    done = CliRunner().invoke(app, ["prove", str(none)])
    assert (done.exit_code, done.stdout) == (0, f"{none}: no theorem with a hole\n")
    mathlib = tmp_path / "mathlib.lean"
    mathlib.write_text("import Mathlib\ntheorem t : 1 = 1 := sorry\n")
    done = CliRunner().invoke(app, ["prove", str(mathlib), "--set", "verify.toolchain=embedded"])
    assert "imports Mathlib, which the embedded Lean lacks" in str(done.exception)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["A.lean", "--split", "test"], "--split goes with --dataset, found it with FILE"),
        (["A.lean", "--all"], "--all goes with --dataset"),
        (["A.lean", "--out", "out"], "--out goes with --dataset"),
        (["--dataset", "minif2f-core", "--watch"], "--watch goes with FILE, found it with --dataset"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["prove", *arguments])
    assert said in str(done.exception)


@pytest.mark.lean
def test_a_hole_that_is_filled_is_kept_whatever_comes_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lean_pool: Pool
) -> None:
    path = tmp_path / "own.lean"
    path.write_text("theorem a : 2 + 2 = 4 := sorry\ntheorem b : 2 + 3 = 5 := sorry\n")
    hole = Searcher._hole

    def stopped(self: Searcher, text: str, theorem: FileTheorem, *rest: Any) -> tuple[str, HoleReport]:
        if theorem.full_name == "b":
            raise KeyboardInterrupt
        return hole(self, text, theorem, *rest)

    monkeypatch.setattr(Searcher, "_hole", stopped)
    monkeypatch.setattr(FileProver, "_open", lambda _: lean_pool)
    done = CliRunner().invoke(app, ["prove", str(path), "--strategy", "portfolio"])
    assert done.exit_code == 130
    assert ":1: proved" in done.stdout
    assert "2 + 2 = 4 := by" in (tmp_path / "own.proved.lean").read_text()


def test_a_watched_file_is_read_again_when_it_is_saved(tmp_path: Path) -> None:
    path = tmp_path / "own.lean"
    path.write_text("theorem t : 1 = 1 := /- half written\n")
    command = [sys.executable, "-u", "-m", "stp", "prove", str(path), "--watch"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job's is ignored
    ) as running:  # fmt: skip
        try:
            assert running.stdout is not None
            assert running.stderr is not None
            assert "comment" in running.stderr.readline()
            assert running.stderr.readline().startswith("watching")
            path.write_text("theorem t : 1 = 1 := rfl\n")
            for _ in range(2):
                assert running.stdout.readline() == f"{path}: no theorem with a hole\n"
                assert running.stderr.readline().startswith("watching")
                os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))
            running.send_signal(signal.SIGINT)
            assert running.wait(timeout=20) == 130
        finally:
            running.kill()
