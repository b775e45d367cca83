"""`stp prove` on a benchmark: real checks, kills, resumption, reports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from stp.datasets import registry
from stp.errors import ModelServerError, UsageError
from stp.models import http
from stp.prove import Request, deny_early, job_of, prove, strategy_names
from stp.report.proofs import read_proofs, results_json, summary
from stp.report.proofs_page import published, render
from stp.search.portfolio import Portfolio, closing
from stp.search.prove import Budget, Search, Target, check_budget
from stp.search.strategy import Draft, Strategy, Task, Tried, Turns
from stp.settings import load
from stp.store.store import Store
from stp.types import CheckResult, Verdict
from stp.verify.pool import Pool

SETTINGS = load("tiny", ["verify.pool=local", "verify.workers=1"])
OWN = """\
{"name": "easy", "formal_statement": "theorem easy (a b : Nat) (h : a < b) : 2 * a + 1 < 2 * b := by"}
{"name": "later", "formal_statement": "theorem later (a b : Nat) (h : a = b) : b + 0 = a := by"}
{"name": "hard", "formal_statement": "theorem hard (a b n : Nat) : a ^ n + b ^ n ≠ 7 ^ (n + 3) := by"}
{"name": "false", "formal_statement": "theorem wrong (a : Nat) : a < a := by"}
{"name": "broken", "formal_statement": "theorem broken (a : Nat) : a + = a := by"}
{"name": "value", "formal_statement": "def value : Nat := by"}
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.jsonl"
    path.write_text(OWN)
    return path


def search(store: Store, pool: Pool, path: Path, strategy: Strategy, budget: Budget) -> Search:
    statements = [problem.statement for problem in registry.load(str(path)).problems if problem.statement]
    targets = [Target(statement, job_of(statement, SETTINGS)) for statement in statements]
    found = Search(store, pool, strategy, targets, budget)
    found.run()
    return found


def record(store: Store, path: Path, k: int, *, all_: bool = False, strategy: str = "sample"):  # type: ignore[no-untyped-def]
    values = {"k": k, "all": all_, "strategy": strategy, "split": None, "model": "none"}
    return read_proofs(store, registry.load(str(path)), values, {})


@pytest.mark.lean
def test_the_portfolio_proves_what_it_can_and_the_rest_is_told_apart(lean_pool: Pool, own: Path) -> None:
    with Store() as store:
        search(store, lean_pool, own, Portfolio(), Budget(8))
        found = record(store, own, 8, strategy="portfolio")
        states = {problem.name: problem.state for problem in found.problems}
        assert states == {
            "easy": "solved", "later": "solved", "hard": "unsolved", "false": "unsolved",
            "broken": "bad_statement", "value": "no_theorem",
        }  # fmt: skip
        solved = {problem.name: problem for problem in found.problems if problem.state == "solved"}
        assert all(problem.proof and problem.toolchain for problem in solved.values())
        assert {problem.solved_by for problem in solved.values()} == {"portfolio"}
        mixed = record(store, own, 8, strategy="portfolio+tree")
        assert {p.solved_by for p in mixed.problems if p.state == "solved"} == {"portfolio"}
        # A statement that does not elaborate is not tried again, one that is proved not beyond its visit.
        tries = {problem.name: problem.tries for problem in found.problems}
        assert tries["hard"] == tries["false"] == 8
        assert tries["broken"] == tries["easy"] == 1
        values = json.loads(results_json(found))
        assert (values["total"], values["solved"], values["bad_statements"]) == (6, 2, 1)
        assert [point["k"] for point in values["pass_at_k"]] == [*range(1, 9)]
        assert values["pass_at_k"][-1]["solved"] == 2
        assert "2 of 6 proved" in summary(found)
        page = render(found)
        assert "theorem easy" in page
        assert "<script" not in page


class Counted:
    """Proposes a fixed list, so that a test knows what each try is."""

    looks = False

    def __init__(self, proofs: list[str]) -> None:
        self.proofs = proofs
        self.asked: Counter[str] = Counter()

    def propose(self, tasks: list[Task], most: int) -> list[list[Draft]]:  # type: ignore[override]
        for task in tasks:
            self.asked[task.statement.name] += 1
        return [[Draft(proof, 3) for proof in self.proofs[t.tries : t.tries + most]] for t in tasks]


@pytest.mark.lean
def test_a_larger_budget_goes_on_and_checks_nothing_twice(lean_pool: Pool, own: Path, tmp_path: Path) -> None:
    proofs = ["by simp", "by nonsense", "by simp", "by omega", "by omega", "by rfl", "by rfl", "by omega"]
    path = tmp_path / "stp.sqlite"
    with Store(path) as store:
        search(store, lean_pool, own, Counted(proofs), Budget(4, all_tries=True))
    with Store(path) as store:
        again = Counted(proofs)
        search(store, lean_pool, own, again, Budget(8, all_tries=True))
        assert set(again.asked.values()) == {1}
        found = record(store, own, 8, all_=True)
        easy = next(problem for problem in found.problems if problem.name == "easy")
        assert (easy.tries, easy.tokens) == (8, 24)
        assert easy.correct == 3
        last = found.pass_at_k[-1]
        assert last.unbiased == pytest.approx(2 / 6)
        four = found.pass_at_k[3]
        assert four.blocks == 2
        digest = store.digest()
    with Store(path) as store:
        search(store, lean_pool, own, Counted(proofs), Budget(8, all_tries=True))
        assert store.digest() == digest


def test_budgets_are_kept(own: Path) -> None:
    for budget, option in (
        (Budget(0), "-k"),
        (Budget(1, tokens=0), "--tokens"),
        (Budget(1, seconds=-1.0), "--sec"),
    ):
        with pytest.raises(UsageError, match=option):
            check_budget(budget)


def test_two_strategies_take_turns_and_what_one_lacks_the_other_gets(own: Path) -> None:
    problem = registry.load(str(own)).problems[0]
    assert problem.statement is not None
    every = [*closing(problem.statement), *(f"by last {i}" for i in range(200))]
    count = len(every) - 200
    turns = Turns(Portfolio(), Counted(every[count:]))
    task, tried = Task(problem.statement), list[str]()
    while task.tries < 128:
        drafts = turns.propose([task], max(4, task.tries))[0]
        task.tries += len(drafts)
        tried += [draft.proof for draft in drafts]
        task.tried = [Tried(at, proof, CheckResult("", Verdict.REJECTED)) for at, proof in enumerate(tried)]
        assert task.tries > 8 or set(tried) <= set(every[:count]), "the first is alone at first"
    assert len(set(tried)) == len(tried), "nobody repeats what was its own turn"
    assert set(every[:count]) <= set(tried)
    assert {"by last 0", "by last 1"} <= set(tried[8:16])


def test_strategies_and_benchmarks_that_cannot_be_are_denied_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="portfolio"):
        strategy_names("sample+magic")
    path = tmp_path / "mathlib.jsonl"
    path.write_text(
        '{"name": "a", "header": "import Mathlib\\n", "formal_statement": "theorem a : 1 = 1 := by"}'
    )
    embedded = load("tiny", ["verify.toolchain=embedded"])
    with pytest.raises(UsageError, match="imports Mathlib, which the embedded Lean lacks"):
        deny_early(registry.load(str(path)), embedded)
    request = Request(str(path), None, "portfolio+sample", Budget(1))
    with pytest.raises(UsageError, match=r"model\.base: no: expected tiny or a Hugging Face folder"):
        prove(load("tiny", ["model.base=no"]), request, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_published_results_name_where_they_were_found() -> None:
    for entry in registry.entries().values():
        if entry.published:
            title, rows = published(entry.published)
            assert title
            assert all(row.result and row.where and row.budget for row in rows)


def test_a_search_that_is_stopped_has_only_its_reports_left_to_write(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def stopped(_: Search) -> None:
        done.append("search")
        raise KeyboardInterrupt

    monkeypatch.setattr("stp.prove.open_pool", lambda *_, **__: nullcontext(SimpleNamespace(workers=1)))
    monkeypatch.setattr("stp.prove._copies", lambda *_: done.append("copies") or {})
    monkeypatch.setattr(Search, "run", stopped)
    with Store(tmp_path / "run/stp.sqlite") as store:
        store.set_meta("lost", "in a call before this one")
    with pytest.raises(KeyboardInterrupt):
        prove(SETTINGS, Request(str(own), None, "sample", Budget(4)), tmp_path / "run")
    assert done == ["copies", "search"]
    values = json.loads((tmp_path / "run/results.json").read_text())
    assert (values["total"], values["lost"]) == (6, "")


@pytest.mark.lean
def test_a_search_goes_on_without_a_model_whose_server_is_not_there(
    lean_pool: Pool, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("stp.prove.open_pool", lambda *_, **__: nullcontext(lean_pool))
    settings = load("chat", ["model.base=any", "model.url=http://127.0.0.1:9/v1"])
    request = Request(str(own), None, "portfolio+sample", Budget(4))
    record = prove(settings, request, tmp_path / "run")
    assert {problem.name for problem in record.problems if problem.state == "solved"} == {"easy", "later"}
    assert "no answer from http://127.0.0.1:9" in record.lost
    assert "not all was tried: no answer" in summary(record)
    assert json.loads((tmp_path / "run" / "results.json").read_text())["lost"] == record.lost
    with pytest.raises(ModelServerError, match="no answer"):
        prove(settings, replace(request, strategy="sample"), tmp_path / "other")


@pytest.mark.lean
def test_the_same_words_behind_another_definition_are_another_theorem(
    lean_pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stp.prove.open_pool", lambda *_, **__: nullcontext(lean_pool))
    folder = tmp_path / "own"
    folder.mkdir()
    for name, value in (("a", 0), ("b", 1)):
        text = f"def f (_ : Nat) : Nat := {value}\n\ntheorem t : f 1 = 0 := by\n  sorry\n"
        (folder / f"{name}.lean").write_text(text)
    request = Request(str(folder), None, "portfolio", Budget(4))

    def states() -> list[str]:
        return [problem.state for problem in prove(SETTINGS, request, tmp_path / "run").problems]

    assert states() == ["solved", "unsolved"]
    (folder / "a.lean").write_text((folder / "b.lean").read_text())
    assert states() == ["unsolved", "unsolved"], "what was proved was another theorem"


def test_a_row_that_is_no_theorem_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(OWN + '{"name": "odd", "formal_statement": "/- oops"}\n')
    *_, odd = registry.load(str(path)).problems
    assert odd.reason.startswith("not a theorem: ")
    path.write_text(OWN + '{"name": "half", "formal_statement": "theorem \\ud800 : True := by"}\n')
    with pytest.raises(UsageError, match=r"own\.jsonl:7: expected Unicode text, found half a character"):
        registry.load(str(path))


@pytest.mark.lean
@pytest.mark.slow
def test_a_killed_search_goes_on_with_the_same_command(own: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [
        sys.executable, "-m", "stp", "prove", "--dataset", str(own), "--strategy", "portfolio", "-k", "12",
        "--out", str(out), "--set", "verify.workers=1",
    ]  # fmt: skip
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not tries(out):
        time.sleep(0.2)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    before = tries(out)
    assert before
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    values = json.loads((out / "results.json").read_text())
    assert (values["total"], values["solved"]) == (6, 2)
    with Store(out / "stp.sqlite", read_only=True) as store:
        rows = store.tries("evaluate")
        assert before == rows[: len(before)] or {(r.statement, r.number, r.proof) for r in before} <= {
            (r.statement, r.number, r.proof) for r in rows
        }
        ends = {Verdict.PROVED, Verdict.BAD_STATEMENT}
        settled = {row.statement for row in rows if row.verdict in ends}
        # What settles a statement spares the tries behind it; every other try has its verdict.
        assert [row for row in rows if row.verdict is None and row.statement not in settled] == []
        counts = Counter((row.statement, row.number) for row in rows)
        assert set(counts.values()) == {1}
    refused = subprocess.run([*command, "--set", "seed=5"], capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert "began with seed 0" in refused.stderr


def tries(out: Path) -> list[object]:
    if not (out / "stp.sqlite").is_file():
        return []
    try:
        with Store(out / "stp.sqlite", read_only=True) as store:
            return list(store.tries("evaluate"))
    except Exception:
        return []
