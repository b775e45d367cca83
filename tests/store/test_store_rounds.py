"""Statements, conjectures, stages, examples, evaluations, and when two runs are equal."""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from store_values import attempt, conjecture, statement

from stp.store.rows import (
    ConjecturerExample,
    ConjecturerText,
    Evaluation,
    Outcome,
    ProverExample,
    ProverText,
    proof_key,
)
from stp.store.store import Store
from stp.types import Source


@pytest.fixture
def store() -> Store:
    return _run()


def _run() -> Store:
    """A store in which `a` was proved in round 1."""
    store = Store()
    store.add_statements([statement("b"), statement("a")], round=0, split="train")
    attempt(store, 1, "a", proved=1, rejected=3)
    return store


def test_the_first_statement_of_a_key_stays(store: Store) -> None:
    other = replace(statement("a"), text="theorem other : 1 = 1", parents=("b",), origin="Nat.le")
    assert store.add_statements([other, statement("c")], round=1) == 1
    assert store.statement("a") == statement("a")
    assert store.statement("nowhere") is None
    assert store.known_keys(["a", "c", "x"]) == {"a", "c"}


def test_a_statement_comes_back_as_it_went_in(store: Store) -> None:
    whole = replace(statement("λ"), header="open Nat", parents=("a", "b"), origin="Nat.le_refl")
    store.add_statements([whole], round=3)
    assert store.statement("λ") == whole


def test_statements_are_found_by_source_split_and_round(store: Store) -> None:
    store.add_statements([statement("t")], round=0, split="test")
    store.add_statements([statement("c", Source.CONJECTURE)], round=2)
    assert [s.key for s in store.statements()] == ["a", "b", "c", "t"]
    assert [s.key for s in store.statements(source=Source.DATASET, split="train")] == ["a", "b"]
    assert [s.key for s in store.statements(round=2)] == ["c"]


def test_conjectures_resume_where_they_stopped(store: Store) -> None:
    first = conjecture(1, 0, 0)
    second = conjecture(1, 0, 1, lemma="Nat.le_refl")
    assert store.add_conjectures([first]) == 1
    assert store.add_conjectures([replace(first, text="sampled again"), second]) == 1
    assert store.conjectures(1) == [first, second]


def test_outcomes_move_conjectures_through_the_funnel(store: Store) -> None:
    sampled = [conjecture(2, 0, sample) for sample in range(13)]
    store.add_conjectures(sampled)
    store.add_statements([statement(key, Source.CONJECTURE) for key in "kl"], round=2)
    outcomes = [*Outcome, Outcome.KEPT]
    gated = [replace(c, outcome=outcome) for c, outcome in zip(sampled, outcomes, strict=True)]
    gated[-2:] = [replace(c, statement=key) for c, key in zip(gated[-2:], "kl", strict=True)]
    store.set_outcomes(gated)
    attempt(store, 2, "k", proved=1, rejected=3)
    attempt(store, 2, "l", rejected=4)
    assert store.conjectures(2, Outcome.KEPT) == gated[-2:]
    (row,) = store.view("rounds_summary")
    assert row == {
        "round": 2, "sampled": 13, "parsed": 11, "new": 9, "compiled": 7,
        "not_refuted": 5, "not_trivial": 4, "kept": 2, "proved": 1,
    }  # fmt: skip


def test_an_outcome_needs_its_conjecture_and_kept_its_statement(store: Store) -> None:
    store.add_conjectures([conjecture(1, 0, 0)])
    known, unknown = conjecture(1, 0, 0), conjecture(1, 0, 1)
    with pytest.raises(KeyError, match="1 of 2"):
        store.set_outcomes([replace(c, outcome=Outcome.TRIVIAL) for c in (known, unknown)])
    assert store.conjectures(1) == [known]
    with pytest.raises(sqlite3.IntegrityError):
        store.set_outcomes([replace(known, outcome=Outcome.KEPT)])


def test_a_stage_is_finished_once_and_for_all(store: Store) -> None:
    assert store.stage(1, "attempt") is None
    assert store.begin_stage(1, "attempt")
    assert store.begin_stage(1, "attempt")
    store.finish_stage(1, "attempt", {"proofs": 3})
    assert not store.begin_stage(1, "attempt")
    assert store.begin_stage(1, "train")
    first, second = store.stages()
    assert (first.name, first.stats, second.name, second.finished_at) == (
        "attempt",
        {"proofs": 3},
        "train",
        None,
    )
    with pytest.raises(KeyError, match="not running"):
        store.finish_stage(1, "attempt", {})


def test_an_end_mark_falls_with_the_batch_that_it_belongs_to(store: Store) -> None:
    store.begin_stage(1, "attempt")
    with suppress(ZeroDivisionError), store.atomic():
        store.add_attempts(1, "attempt", [("b", "by simp", 1, 0)])
        store.finish_stage(1, "attempt", {})
        raise ZeroDivisionError
    assert store.attempted(1, "attempt") == {"a"}
    assert store.begin_stage(1, "attempt")


def test_the_time_of_a_stage_adds_up_over_restarts(tmp_path: Path) -> None:
    began = time.monotonic()
    for _ in range(2):
        with Store(tmp_path / "stp.sqlite") as store:
            store.begin_stage(1, "attempt")
            time.sleep(0.05)
            store.set_meta("a commit", 1)
    time.sleep(0.2)
    with Store(tmp_path / "stp.sqlite") as store:
        store.begin_stage(1, "attempt")
        time.sleep(0.05)
        store.finish_stage(1, "attempt", {})
        mark = store.stage(1, "attempt")
    assert mark is not None
    assert 0.15 <= mark.elapsed_s <= time.monotonic() - began - 0.2


def test_examples_come_back_with_what_their_texts_are_made_of(store: Store) -> None:
    kept = conjecture(1, 4, 2, lemma="Nat.le_refl")
    store.add_conjectures([kept])
    store.add_statements([statement("k", Source.CONJECTURE)], round=1)
    key = proof_key("a", "by proved")
    examples = [ConjecturerExample("k", 4, 2, 0.5), ProverExample("a", key, 0.25)]
    assert store.add_examples(1, examples) == 2
    assert store.add_examples(1, [replace(example, weight=9.0) for example in examples]) == 0
    assert store.prover_texts(1) == [ProverText(statement("a"), "by proved", 0.25)]
    assert store.conjecturer_texts(1) == [
        ConjecturerText(
            *(statement("a"), "by proved", "Nat.le_refl"),
            statement("k", Source.CONJECTURE),
            0.5,
        )
    ]
    assert store.prover_texts(2) == []


def test_an_example_must_name_a_conjecture_that_exists(store: Store) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        store.add_examples(1, [ConjecturerExample("a", 7, 7, 1.0)])


def test_evaluations_are_kept_by_round(store: Store) -> None:
    rows = [Evaluation(round, "lean-core", key, 8, 3, 100) for round in (1, 2) for key in "ab"]
    assert store.add_evaluations(reversed(rows)) == 4
    assert store.add_evaluations([replace(rows[0], proved=0)]) == 0
    assert store.evaluations() == rows
    assert store.evaluations(2) == rows[2:]


def test_meta_keeps_plain_values(store: Store) -> None:
    assert store.meta("settings") is None
    store.set_meta("settings", {"seed": 0})
    store.set_meta("settings", {"seed": 1, "names": ["a"]})
    assert store.meta("settings") == {"seed": 1, "names": ["a"]}


def test_runs_that_did_the_same_are_equal_whatever_the_order_and_the_time(store: Store) -> None:
    other = Store()
    other.begin_stage(1, "attempt")
    store.begin_stage(1, "attempt")
    other.set_meta("commit", "abc")
    for key in "ab":
        other.add_statements([statement(key)], round=0, split="train")
    attempt(other, 1, "a", rejected=3, proved=1)
    other._rows("UPDATE checks SET toolchain = 'other', reason = 'other', elapsed_ms = 7")
    other._rows("UPDATE rounds SET started_at = 'earlier', elapsed_s = 7")
    assert other.differences(store) == []
    assert other.digest() == store.digest()


@pytest.mark.parametrize(
    ("change", "table"),
    [
        ("UPDATE statements SET text = 'x' WHERE key = 'b'", "statements"),
        ("UPDATE proofs SET text = 'x' WHERE text = 'by proved'", "proofs"),
        ("UPDATE attempts SET count = count + 1 WHERE count = 1", "attempts"),
        ("UPDATE checks SET verdict = 'rejected' WHERE verdict = 'proved'", "checks"),
        ("UPDATE conjectures SET outcome = 'trivial'", "conjectures"),
        ("UPDATE examples SET weight = 0.5000000001", "examples"),
        ("UPDATE evaluations SET proved = 2", "evaluations"),
        ("UPDATE rounds SET finished_at = NULL", "rounds"),
    ],
)
def test_one_changed_value_makes_two_runs_differ(change: str, table: str) -> None:
    first, second = _run(), _run()
    for store in (first, second):
        store.add_conjectures([conjecture(1, 0, 0)])
        store.add_examples(1, [ProverExample("a", proof_key("a", "by proved"), 0.5)])
        store.add_evaluations([Evaluation(1, "lean-core", "a", 8, 3, 100)])
        store.begin_stage(1, "attempt")
        store.finish_stage(1, "attempt", {})
    assert first.digest() == second.digest()
    second._rows(change)
    assert first.digest() != second.digest()
    here, there = first.differences(second)
    assert here.startswith(f"{table}: 1 rows only here: ")
    assert there.startswith(f"{table}: 1 rows only there: ")
