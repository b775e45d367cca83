"""Multiplicity, resumption and rates."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_values import attempt, check, statement

from stp.store.rows import Tally, proof_key
from stp.store.store import Store
from stp.types import VOID, CheckResult, Premise, Source, Verdict

_ROWS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from(["", "by simp", " by simp\n", "rfl"]),
        st.integers(1, 9),
        st.integers(0, 99),
    )
)


@pytest.fixture
def store() -> Store:
    store = Store()
    store.add_statements([statement(key) for key in "abc"], round=0, split="train")
    return store


def _filled() -> Store:
    store = Store()
    store.add_statements([statement(key) for key in "abc"], round=0)
    return store


@given(_ROWS)
def test_equal_proofs_are_stored_once_with_their_count(rows: list[tuple[str, str, int, int]]) -> None:
    expected: Counter[tuple[str, str]] = Counter()
    tokens: Counter[str] = Counter()
    for key, text, count, spent in rows:
        expected[key, text.strip()] += count
        tokens[key] += spent
    with _filled() as store:
        assert store.add_attempts(1, "attempt", rows) == expected.total()
        stored = store._rows(
            "SELECT p.statement, p.text, a.count FROM attempts a JOIN proofs p ON p.key = a.proof"
        )
        assert {(key, text): count for key, text, count in stored} == dict(expected)
        assert store.attempted(1, "attempt") == {key for key, _ in expected}
        assert store.tokens(1, "attempt") == dict(tokens)


@given(_ROWS, _ROWS)
def test_a_batch_written_twice_changes_nothing(
    first: list[tuple[str, str, int, int]], second: list[tuple[str, str, int, int]]
) -> None:
    done = {key for key, *_ in first}
    with _filled() as once, _filled() as again:
        once.add_attempts(1, "attempt", first)
        once.add_attempts(1, "attempt", [row for row in second if row[0] not in done])
        again.add_attempts(1, "attempt", first)
        assert again.add_attempts(1, "attempt", first) == 0
        again.add_attempts(1, "attempt", second)
        assert again.digest() == once.digest()


def test_rounds_and_stages_do_not_share_attempts(store: Store) -> None:
    rows = [("a", "by simp", 3, 30)]
    assert store.add_attempts(1, "attempt", rows) == 3
    assert store.add_attempts(2, "attempt", rows) == 3
    assert store.add_attempts(1, "evaluate", rows) == 3
    assert store._rows("SELECT COUNT(*) FROM proofs") == [(1,)]
    assert store.attempted(2, "evaluate") == set()


def test_a_proof_is_unchecked_until_it_has_its_one_check(store: Store) -> None:
    store.add_attempts(1, "attempt", [("b", "by simp", 2, 0), ("a", "", 1, 0), ("a", "rfl", 1, 0)])
    waiting = list(store.unchecked(1, "attempt"))
    assert sorted((s.key, text) for _, s, text in waiting) == [("a", ""), ("a", "rfl"), ("b", "by simp")]
    assert [s.key for _, s, _ in waiting] == ["a", "a", "b"]
    key = proof_key("a", "rfl")
    assert store.add_checks([(key, check(Verdict.PROVED))]) == 1
    assert store.add_checks([(key, check(Verdict.REJECTED))]) == 0
    assert store.verdicts(1) == {Verdict.PROVED: 1}
    assert key not in {proof for proof, _, _ in store.unchecked(1, "attempt")}


def test_what_a_check_said_of_the_machine_alone_does_not_stand(store: Store) -> None:
    store.add_attempts(1, "attempt", [("a", text, 1, 0) for text in ("rfl", "by simp", "by omega")])
    crashed, late, slow = (proof_key("a", text) for text in ("rfl", "by simp", "by omega"))
    for verdict, key in ((Verdict.CRASHED, crashed), (Verdict.TIMED_OUT, late)):
        assert store.add_checks([(key, check(verdict))]) == 1
        assert store.add_checks([(key, check(Verdict.PROVED))]) == 1
    assert store.add_checks([(slow, replace(check(Verdict.TIMED_OUT), heartbeats=9))]) == 1
    assert store.add_checks([(slow, check(Verdict.PROVED))]) == 0
    assert store.verdicts(1) == {Verdict.PROVED: 2, Verdict.TIMED_OUT: 1}


def test_checks_added_while_reading_neither_skip_nor_repeat(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stp.store.proofs._PAGE_ROWS", 4)
    store.add_attempts(1, "attempt", [(key, f"by {n}", 1, 0) for key in "abc" for n in range(5)])
    seen = []
    for key, _, _ in store.unchecked(1, "attempt"):
        seen.append(key)
        if len(seen) % 3:
            store.add_checks([(key, check(Verdict.REJECTED))])
    assert len(seen) == len(set(seen)) == 15


def test_a_check_keeps_what_later_rounds_need(store: Store) -> None:
    store.add_attempts(1, "attempt", [("a", "by simp", 4, 0)])
    premise = Premise("Nat.le_refl", "Init.Prelude", "n ≤ n")
    times = {"queue": 900.0, "statement": 1.0, "proof": 2.5, "kernel": 0.5}
    result = CheckResult(
        "x", Verdict.PROVED, premises=(premise,), heartbeats=7, times_ms=times, axioms=("propext",)
    )
    store.add_checks([(proof_key("a", "by simp"), result)])
    (proof,) = store.correct_proofs(1, 1)
    assert (proof.statement, proof.text, proof.count, proof.heartbeats) == ("a", "by simp", 4, 7)
    assert proof.premises == (premise,)
    assert store._rows("SELECT elapsed_ms, axioms FROM checks") == [(4.0, '["propext"]')]


def test_a_pass_rate_counts_repeats_and_leaves_out_what_says_nothing(store: Store) -> None:
    attempt(store, 1, "a", proved=1, rejected=2, timed_out=1, crashed=5, out_of_memory=7)
    attempt(store, 1, "b", crashed=3)
    store.add_attempts(1, "attempt", [("c", "by unchecked", 9, 0)])
    assert store.pooled_rates(1, 1) == {"a": Tally(attempts=4, proved=1)}
    (row,) = store.view("pass_rates")
    assert row == {
        "key": "a", "statement": statement("a").text, "source": "dataset",
        "round": 1, "attempts": 4, "proved": 1, "pass_rate": 0.25,
    }  # fmt: skip


def test_the_view_leaves_out_the_verdicts_that_types_calls_void(store: Store) -> None:
    for verdict in Verdict:
        key = f"for {verdict}"
        store.add_statements([statement(key)], round=0)
        attempt(store, 1, key, **{verdict.value: 1})
    assert set(store.pooled_rates(1, 1)) == {f"for {v}" for v in set(Verdict) - VOID}


def test_rates_pool_and_compare_over_the_rounds_asked_for(store: Store) -> None:
    attempt(store, 1, "a", proved=3, rejected=1)
    attempt(store, 2, "a", rejected=4)
    attempt(store, 3, "a", proved=1, rejected=1)
    assert store.pooled_rates(2, 3) == {"a": Tally(6, 1)}
    assert store.best_rates(1, 3) == {"a": 0.75}
    assert store.best_rates(2, 3) == {"a": 0.5}
    assert store.pooled_rates(4, 9) == {}


def test_rates_and_proofs_never_mix_in_the_benchmark(store: Store) -> None:
    store.add_statements([statement("held")], round=0, split="test")
    attempt(store, 1, "held", proved=1)
    store.add_attempts(1, "evaluate", [("a", "by evaluated", 2, 0), ("held", "by proved", 3, 0)])
    store.add_checks([(proof_key("a", "by evaluated"), check(Verdict.PROVED))])
    assert store.pooled_rates(0, 9) == {}
    assert store.correct_proofs(0, 9) == []
    assert store.tallies(1, "evaluate") == {"a": Tally(2, 2), "held": Tally(3, 3)}


def test_a_seed_proof_is_correct_without_having_been_sampled(store: Store) -> None:
    store.add_attempts(0, "seed", [("a", "by proved", 1, 0)])
    attempt(store, 2, "b", proved=2, rejected=3)
    store.add_checks([(proof_key("a", "by proved"), check(Verdict.PROVED))])
    assert [(p.statement, p.count) for p in store.correct_proofs(0, 2)] == [("a", 0), ("b", 2)]
    assert store.pooled_rates(0, 2) == {"b": Tally(5, 2)}


def test_a_proof_of_several_rounds_is_one_proof(store: Store) -> None:
    for round in (1, 2, 3):
        attempt(store, round, "a", proved=round)
    (proof,) = store.correct_proofs(2, 3)
    assert proof.count == 5


def test_a_crash_of_one_round_is_asked_again_in_another_that_samples_the_proof(store: Store) -> None:
    store.add_attempts(1, "attempt", [("a", "by simp", 16, 1), ("a", "by omega", 16, 1)])
    verdicts = {"by simp": Verdict.CRASHED, "by omega": Verdict.REJECTED}
    waiting = [*store.unchecked(1, "attempt")]
    store.add_checks((key, CheckResult("", verdicts[text])) for key, _, text in waiting)
    store.add_attempts(2, "attempt", [("a", "by simp", 16, 1), ("a", "by omega", 16, 1)])
    assert [text for _, _, text in store.unchecked(2, "attempt")] == ["by simp"]


def test_barely_provable_are_conjectures_within_the_band(store: Store) -> None:
    store.add_statements([statement(key, Source.CONJECTURE) for key in "uvwx"], round=1)
    attempt(store, 1, "a", proved=1, rejected=3)
    attempt(store, 1, "u", proved=1, rejected=3)
    attempt(store, 1, "v", proved=2, rejected=3)
    attempt(store, 1, "w", rejected=4)
    assert store.view("barely_provable") == []
    store.set_meta("band_high", 0.25)
    attempt(store, 2, "w", proved=1, rejected=3)  # a goal tried again: no conjecture of round 2
    assert [(row["key"], row["pass_rate"]) for row in store.view("barely_provable")] == [("u", 0.25)]
