"""Selection: each rule of steps 1, 4, 6 and 8, and that order never matters."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import ceil, exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stp.selfplay.learn import first_replayed, is_refresh
from stp.selfplay.select import (
    Attempted,
    KnownProof,
    SeedProof,
    attempt_targets,
    conjecturer_set,
    prover_set,
    refresh_set,
    seed_inputs,
    target_inputs,
)
from stp.settings import AttemptSettings, ConjectureSettings, RefreshSettings, SelectSettings, load
from stp.store.rows import Tally

SELECT = SelectSettings()
NO_DROP = SelectSettings(elegancy_drop_frac=0, trivial_lemma_cap_frac=100)

keys = st.text("abcdef", min_size=1, max_size=3)
lemmas = st.sampled_from(["l1", "l2", "l3"])
proofs = st.builds(
    KnownProof, st.text("xyz", min_size=1, max_size=30), st.integers(0, 10**6), st.frozensets(lemmas)
)


@st.composite
def outcomes(draw: st.DrawFn) -> Attempted:
    attempts = draw(st.integers(1, 16))
    proved = draw(st.integers(0, attempts))
    found = tuple(draw(st.lists(proofs, min_size=1, max_size=4))) if proved else ()
    statement = draw(st.text("pq", min_size=1, max_size=20))
    return Attempted(draw(keys), attempts, proved, statement, draw(st.none() | lemmas), found)


seed_proofs = st.builds(
    SeedProof, keys, st.text("xyz", min_size=1, max_size=4), st.frozensets(lemmas), st.floats(0, 1)
)


def _outcome(key: str, proved: int = 1, lemma: str | None = "l1", **changes: object) -> Attempted:
    proof = KnownProof("by simp", 100, frozenset({"l1"}))
    return replace(Attempted(key, 8, proved, "theorem t : p", lemma, (proof,)), **changes)  # type: ignore[arg-type]


# -- step 6 ------------------------------------------------------------------------------------------


@given(st.lists(outcomes(), max_size=20), st.randoms())
def test_conjecturer_set_does_not_depend_on_order(found: list[Attempted], rng) -> None:  # type: ignore[no-untyped-def]
    found = list({(o.key, o.lemma): o for o in found}.values())
    expected = conjecturer_set(found, SELECT)
    rng.shuffle(found)
    assert conjecturer_set(found, SELECT) == expected


@given(st.lists(outcomes(), max_size=20))
def test_conjecturer_set_is_barely_provable_once_each_and_capped(found: list[Attempted]) -> None:
    kept = conjecturer_set(found, SelectSettings(elegancy_drop_frac=0))
    assert all(0 < outcome.pass_rate <= SELECT.band_high for outcome in kept)
    assert len({outcome.key for outcome in kept}) == len(kept)
    useful = [outcome for outcome in kept if outcome.lemma is not None]
    assert all(outcome.uses_lemma for outcome in useful)
    barely = {o.key for o in found if 0 < o.pass_rate <= SELECT.band_high}
    assert len(kept) - len(useful) <= ceil(SELECT.trivial_lemma_cap_frac * len(barely))
    assert bool(kept) == bool(barely)
    candidates = {o.key for o in found if 0 < o.pass_rate <= SELECT.band_high and o.uses_lemma}
    assert {outcome.key for outcome in useful} == candidates


@pytest.mark.parametrize(("proved", "kept"), [(0, 0), (1, 1), (2, 1), (3, 0), (8, 0)])
def test_the_band_excludes_zero_and_includes_its_top(proved: int, kept: int) -> None:
    proofs = () if proved == 0 else _outcome("a").proofs
    assert len(conjecturer_set([_outcome("a", proved, proofs=proofs)], SELECT)) == kept


def test_lemma_less_conjectures_become_trivial_examples_the_free_ones_first() -> None:
    useful = [_outcome(f"u{i}") for i in range(4)]
    ignored = [_outcome(f"a{i}", lemma="l2") for i in range(3)]
    free = [_outcome("z", lemma=None)]
    settings = SelectSettings(elegancy_drop_frac=0, trivial_lemma_cap_frac=0.25)
    kept = conjecturer_set([*ignored, *useful, *free], settings)
    assert [(o.key, o.lemma) for o in kept if not o.uses_lemma] == [("a0", None), ("z", None)]


def test_one_example_a_conjecture_the_one_whose_lemma_was_used() -> None:
    kept = conjecturer_set([_outcome("a", lemma=None), _outcome("a", lemma="l0"), _outcome("a")], NO_DROP)
    assert [outcome.lemma for outcome in kept] == ["l1"]


def test_the_least_elegant_fifth_goes() -> None:
    found = [
        _outcome(f"k{i}", proofs=(replace(_outcome("a").proofs[0], text="x" * (20 - i)),)) for i in range(10)
    ]
    kept = conjecturer_set(found, SELECT)
    assert [outcome.key for outcome in kept] == [f"k{i}" for i in range(8)]


def test_elegancy_is_of_the_shortest_proof() -> None:
    outcome = _outcome("a", statement="1234", proofs=(KnownProof("123456"), KnownProof("12")))
    assert outcome.elegancy == 0.5


# -- step 8 ------------------------------------------------------------------------------------------


@given(st.lists(outcomes(), max_size=20), st.randoms())
def test_prover_set_takes_each_proof_of_what_is_not_easy_once(found: list[Attempted], rng) -> None:  # type: ignore[no-untyped-def]
    examples = prover_set(found, SELECT)
    expected = set()
    for key in {outcome.key for outcome in found}:
        pooled = [outcome for outcome in found if outcome.key == key]
        if sum(o.proved for o in pooled) * 2 <= sum(o.attempts for o in pooled):
            expected |= {(key, proof.text) for outcome in pooled for proof in outcome.proofs}
    assert [(e.key, e.proof) for e in examples] == sorted(expected)
    rng.shuffle(found)
    assert prover_set(found, SELECT) == examples


@given(st.lists(outcomes(), max_size=10))
def test_the_weights_of_one_statement_sum_to_at_most_one(found: list[Attempted]) -> None:
    total: Counter[str] = Counter()
    for example in prover_set(found, SELECT):
        assert 0 < example.weight <= 1
        total[example.key] += example.weight  # type: ignore[assignment]
    assert all(weight <= 1 + 1e-9 for weight in total.values())


def test_a_weight_is_the_formula() -> None:
    found = (KnownProof("x" * 100, 120_500), KnownProof("y" * 50, 0), KnownProof("y" * 50, 7))
    first, second = prover_set([_outcome("a", 3, proofs=found)], SELECT)
    assert first.weight == pytest.approx(exp(-0.1) * exp(-0.02) / 2)
    assert second.weight == pytest.approx(exp(-0.05) / 2)


# -- step 1 ------------------------------------------------------------------------------------------


@given(st.lists(seed_proofs, max_size=30), st.integers(0, 5), st.integers(1, 20), st.randoms())
def test_seed_inputs_keep_their_rules(found: list[SeedProof], seed: int, inputs: int, rng) -> None:  # type: ignore[no-untyped-def]
    settings = ConjectureSettings(inputs=inputs, samples_total=3 * inputs, lemma_cap_frac=0.2)
    chosen = seed_inputs(found, settings, seed)
    assert len(chosen) <= inputs
    assert len({(one.key, one.lemma) for one in chosen}) == len(chosen)
    uses = Counter(one.lemma for one in chosen if one.lemma)
    assert all(count <= max(1, int(0.2 * inputs)) for count in uses.values())
    for one in chosen:
        source = [p for p in found if (p.key, p.proof) == (one.key, one.proof) and p.pass_rate > 0.35]
        assert any(one.lemma is None or one.lemma in p.premises for p in source)
        assert one.samples == max(1, min(3 * inputs // len(chosen), 8))
    rng.shuffle(found)
    assert seed_inputs(found, settings, seed) == chosen


def test_trivial_lemmas_come_at_their_rate_and_by_seed() -> None:
    found = [SeedProof(f"k{i}", "p", frozenset({f"l{i}"}), 0.9) for i in range(400)]
    settings = ConjectureSettings(inputs=10_000, trivial_lemma_frac=0.25)
    chosen = seed_inputs(found, settings, 0)
    assert sum(one.lemma is None for one in chosen) == pytest.approx(100, abs=30)
    assert sum(one.lemma is not None for one in chosen) == 400
    assert seed_inputs(found, settings, 1) != chosen


def test_another_proof_of_a_statement_gives_another_of_its_lemmas() -> None:
    found = [SeedProof("k", proof, frozenset({"l1", "l2"}), 0.9) for proof in ("p", "q")]
    for seed in range(10):
        chosen = seed_inputs(found, ConjectureSettings(trivial_lemma_frac=0), seed)
        assert {(one.proof, one.lemma) for one in chosen} in (
            {("p", "l1"), ("q", "l2")},
            {("p", "l2"), ("q", "l1")},
        )


def test_too_many_seeds_are_drawn_at_random() -> None:
    found = [SeedProof(f"k{i}", "p", frozenset({f"l{i}"}), 0.9) for i in range(100)]
    settings = ConjectureSettings(inputs=10, trivial_lemma_frac=0)
    assert len({one.key for seed in range(5) for one in seed_inputs(found, settings, seed)}) > 20


def test_a_popular_lemma_stops_at_its_cap() -> None:
    found = [SeedProof(f"k{i}", "p", frozenset({"add_comm"}), 0.9) for i in range(50)]
    settings = ConjectureSettings(inputs=100, lemma_cap_frac=0.1, trivial_lemma_frac=0)
    assert len(seed_inputs(found, settings, 0)) == 10


# -- step 4 ------------------------------------------------------------------------------------------

tallies = st.builds(lambda proved, more: Tally(proved + more, proved), st.integers(0, 8), st.integers(0, 8))


@given(st.dictionaries(keys, tallies | st.none(), max_size=30), st.integers(0, 5))
def test_the_unsolved_and_the_rarely_solved_are_always_tried(
    given: dict[str, Tally | None], seed: int
) -> None:
    found = {key: tally for key, tally in given.items() if tally and tally.attempts}
    hard = {key for key in given if key not in found or found[key].proved == 0 or found[key].pass_rate < 0.35}
    assert set(attempt_targets(given, found, AttemptSettings(solved_retry_frac=0), seed)) == hard
    assert attempt_targets(given, found, AttemptSettings(solved_retry_frac=1), seed) == sorted(given)
    some = AttemptSettings(solved_retry_frac=0.5)
    chosen = attempt_targets(given, found, some, seed)
    assert hard <= set(chosen)
    assert attempt_targets([*given][::-1], found, some, seed) == chosen
    alone = [key for one in given for key in attempt_targets([one], found, some, seed)]
    assert sorted(alone) == chosen


def test_easy_statements_are_tried_again_at_their_rate() -> None:
    found = {f"k{i}": Tally(8, 8) for i in range(2000)}
    chosen = attempt_targets(found, found, AttemptSettings(solved_retry_frac=0.05), 0)
    assert len(chosen) == pytest.approx(100, abs=40)
    assert attempt_targets(found, found, AttemptSettings(solved_retry_frac=0.05), 1) != chosen


# -- switches ----------------------------------------------------------------------------------------


def test_the_least_elegant_fifth_of_each_lemma_goes() -> None:
    def proof(lemma: str, chars: int) -> tuple[KnownProof, ...]:
        return (KnownProof("x" * chars, 0, frozenset({lemma})),)

    found = [_outcome(f"a{i}", lemma="l1", proofs=proof("l1", 10 + i)) for i in range(5)]
    found += [_outcome(f"b{i}", lemma="l2", proofs=proof("l2", 90 + i)) for i in range(5)]
    assert {o.key for o in found} - {o.key for o in conjecturer_set(found, SELECT)} == {"a0", "a1"}
    by_lemma = SelectSettings(elegancy_by="lemma")
    assert {o.key for o in found} - {o.key for o in conjecturer_set(found, by_lemma)} == {"a0", "b0"}


def test_at_most_so_many_proofs_of_a_statement_the_shortest() -> None:
    proofs = tuple(KnownProof("x" * n) for n in (5, 3, 9))
    kept = prover_set([_outcome("a", proofs=proofs)], SelectSettings(proofs_per_statement=2))
    assert [p.proof for p in kept] == ["xxx", "xxxxx"]
    assert kept[0].weight == pytest.approx(exp(-0.003) / 2)


def test_a_refresh_takes_the_hard_statements_of_all_rounds_by_length_alone() -> None:
    hard = [_outcome("a", 1), _outcome("a", 1, proofs=(KnownProof("other", 10**9),))]
    easy = _outcome("b", 3)
    kept = refresh_set([*hard, easy], RefreshSettings(), 0.001)
    assert [(p.key, p.proof) for p in kept] == [("a", "by simp"), ("a", "other")]
    assert kept[1].weight == pytest.approx(exp(-0.005))
    assert len(refresh_set(hard, RefreshSettings(proofs_per_statement=1), 0.001)) == 1


def test_replay_never_reaches_behind_a_refresh() -> None:
    settings = load("tiny", ["refresh.every=4", "select.replay_rounds=3"])
    assert [is_refresh(r, settings.refresh) for r in range(1, 9)] == [False, False, False, True] * 2
    assert [first_replayed(r, settings) for r in range(1, 9)] == [1, 1, 1, 2, 5, 5, 5, 6]
    everything = load("tiny", ["select.replay_rounds=0"])
    assert [first_replayed(r, everything) for r in (1, 9)] == [1, 1]


def test_targets_are_unproved_statements_each_once() -> None:
    settings = ConjectureSettings(inputs=3, samples_total=12)
    chosen = target_inputs(["d", "a", "c", "b"], settings, 0)
    assert len({one.key for one in chosen}) == 3
    assert {(one.proof, one.lemma, one.samples) for one in chosen} == {(None, None, 4)}
    assert target_inputs(["b", "a", "d", "c"], settings, 0) == chosen
    assert target_inputs([], settings, 0) == []


def test_without_lemmas_every_input_is_free() -> None:
    found = [SeedProof(f"k{i}", "p", frozenset({"l"}), 0.9) for i in range(9)]
    chosen = seed_inputs(found, ConjectureSettings(lemmas=False), 0)
    assert [one.lemma for one in chosen] == [None] * 9
