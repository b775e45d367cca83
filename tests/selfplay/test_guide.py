"""Guide, memory and balance: what moves weights and temperature beyond the pass rate."""

from __future__ import annotations

from contextlib import closing, nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stp.errors import UsageError
from stp.models import backend
from stp.models.backend import open_generator
from stp.models.base import Sample
from stp.models.prompts import Prompt, prompt_format
from stp.selfplay.balance import balance_score, next_temperature
from stp.selfplay.guide import guide_scores, judged_scores, nearest, novelty
from stp.selfplay.learn import Readers, _weights
from stp.selfplay.reweight import unit
from stp.selfplay.round import Play, selfplay
from stp.selfplay.seed_model import seed_model
from stp.selfplay.select import Attempted
from stp.settings import ModelSettings, load
from stp.store.rows import Conjecture, Outcome, proof_key
from stp.store.store import Store
from stp.syntax import isabelle
from stp.syntax.lean import make_statement
from stp.types import CheckResult, Source, Verdict
from tests.theorems import theorem


def test_the_guide_prefers_the_relevant_the_short_and_the_lonely() -> None:
    vectors = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.1], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    seeds = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    scores = guide_scores(np.array([10, 10, 10, 10]), np.array([10, 10, 10, 10]), vectors, seeds)
    assert scores.mean() == pytest.approx(1)
    assert scores[0] > scores[1]  # another is near to the second
    assert scores[3] == 0  # nothing to do with what it was made from
    longer = guide_scores(np.array([20, 10, 10, 10]), np.array([10, 10, 10, 10]), vectors, seeds)
    assert longer[0] < scores[0]


def test_a_set_that_scores_nothing_keeps_its_weights() -> None:
    assert guide_scores(
        np.array([1]), np.array([1]), np.array([[1.0, 0]]), np.array([[0, 1.0]])
    ).tolist() == [1]
    assert guide_scores(*(np.zeros(0, int),) * 2, *(np.zeros((0, 2)),) * 2).tolist() == []


def test_memory_halves_nothing_new_and_drops_what_repeats() -> None:
    conjectures, earlier = np.array([[1.0, 0], [0, 1.0], [1.0, 1.0]]), np.array([[2.0, 0]])
    assert novelty(conjectures, earlier) == pytest.approx([0, 1, 1 - 0.5**0.5], abs=1e-6)
    assert novelty(conjectures, np.zeros((0, 2))).tolist() == [1, 1, 1]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**16), st.integers(1, 700))
def test_nearest_is_the_same_in_blocks(seed: int, count: int) -> None:
    vectors = unit(np.random.default_rng(seed).normal(size=(count, 3)))
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, 0)
    expected = similarity.max(axis=1).clip(0, 1) if count > 1 else np.zeros(1)
    np.testing.assert_allclose(nearest(vectors, vectors, same=True), expected, atol=1e-6)


def test_balance_rewards_many_and_different_correct_proofs() -> None:
    assert balance_score([], 4) == 0
    assert balance_score([(4, 4)], 4) == 1
    assert balance_score([(8, 1)], 4) < balance_score([(8, 4)], 4) < balance_score([(4, 4)], 4)
    assert balance_score([(4, 4), (0, 0)], 4) == 0.5


def test_the_temperature_climbs_goes_on_and_turns_back() -> None:
    assert next_temperature([], 1.0, 0.1) == 1.0
    assert next_temperature([(1.0, 0.2)], 1.0, 0.1) == 1.1
    assert next_temperature([(1.0, 0.2), (1.1, 0.3)], 1.0, 0.1) == 1.2
    assert next_temperature([(1.0, 0.2), (1.1, 0.1)], 1.0, 0.1) == 1.0
    assert next_temperature([(1.1, 0.2), (1.0, 0.3)], 1.0, 0.1) == 0.9
    at_the_top = [(1.9, 0.1), (2.0, 0.3)]
    assert next_temperature([*at_the_top, (2.0, 0.4)], 1.0, 0.1) == 2.0
    assert next_temperature([*at_the_top, (2.0, 0.2)], 1.0, 0.1) == 1.9


@given(st.lists(st.tuples(st.floats(0.4, 2.0), st.floats(0, 1)), min_size=1, max_size=9), st.floats(0.01, 1))
def test_the_temperature_stays_in_its_range(history: list[tuple[float, float]], step: float) -> None:
    assert 0.4 <= next_temperature(history, 1.0, step) <= 2.0


class Scripted:
    """A judge that gives the answers it was made with."""

    def __init__(self, answers: list[list[str]]) -> None:
        self.answers, self.asked = answers, list[Prompt]()

    def generate(self, prompts: list[Prompt], *, n: int, **_: object) -> list[list[Sample]]:
        self.asked += prompts
        return [[Sample(text, 1, True) for text in texts[:n]] for texts in self.answers]

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        return np.ones((len(texts), 2), dtype=np.float32)


SEED = theorem("theorem t (n : Nat) : n = n")
PAIRS = [(SEED, f"theorem c (n : Nat) : n = n + {i}") for i in range(4)]


def test_a_judge_s_mean_score_is_the_weight_and_a_word_without_one_says_nothing() -> None:
    judge = Scripted([["8", "Score: 6/10", "I like it"], ["2", "0"], ["-3", "1.5", "11", ""], []])
    scores, judged = judged_scores(judge, prompt_format("stp"), PAIRS, 0)  # type: ignore[arg-type]
    assert judged == 2
    assert scores.tolist() == [7 / 4, 1 / 4, 1, 1]
    assert all(text in judge.asked[2].text for text in (SEED.text, PAIRS[2][1]))


@pytest.mark.parametrize("format", ["stp", "tiny"])
def test_a_judge_is_asked_in_the_words_of_each_statement_s_system(format: str) -> None:
    other = isabelle.make_statement('theorem t: "rev (rev xs) = xs"', "", Source.DATASET)
    judge = Scripted([["1"], ["3"]])
    pairs = [PAIRS[0], (other, 'theorem c: "rev [x] = [x]"')]
    judged_scores(judge, prompt_format(format), pairs, 0)  # type: ignore[arg-type]
    in_lean, in_isabelle = (prompt.text for prompt in judge.asked)
    assert "Isabelle" not in in_lean
    assert "Lean" not in in_isabelle
    assert 'theorem c: "rev [x] = [x]"' in in_isabelle
    assert ("Isabelle/HOL" in in_isabelle) == ("Lean 4" in in_lean) == (format == "stp")


@pytest.mark.parametrize(
    ("data", "format", "said"),
    [
        ("isabelle-main", "chat", "no words for Isabelle"),
        ("lean-core", "kimina-prover", "no words for a judge"),
    ],
)
def test_a_judge_without_words_is_refused_before_anything_is_made(
    tmp_path: Path, data: str, format: str, said: str
) -> None:
    changed = ["judge.base=tiny", f"judge.prompt_format={format}", f"data.dataset={data}"]
    with pytest.raises(UsageError, match=said):
        selfplay(load("sgs", changed), tmp_path / "run", 1)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("answers", [[["0"]] * 4, [["none"]] * 4, [[]] * 4])
def test_a_judge_that_tells_nothing_apart_changes_nothing(answers: list[list[str]]) -> None:
    scores, _ = judged_scores(Scripted(answers), prompt_format("stp"), PAIRS, 0)  # type: ignore[arg-type]
    assert scores.tolist() == [1, 1, 1, 1]


def test_a_real_model_can_be_asked_to_judge() -> None:
    settings = ModelSettings(base="tiny")
    with closing(open_generator(settings, seed_model(settings))) as judge:
        scores, judged = judged_scores(judge, prompt_format("tiny"), PAIRS[:2], 0)
    assert scores.shape == (2,)
    assert 0 <= judged <= 2


def test_a_judge_takes_the_place_of_the_measured_guide() -> None:
    seed = theorem("theorem seed (n : Nat) : n = n")
    made = [make_statement(f"theorem c (n : Nat) : n = n + {i}", "", Source.CONJECTURE) for i in range(4)]
    kept = [Attempted(s.key, 8, 1, s.text, None, ()) for s in made]
    select = load("sgs", ["judge.base=tiny"]).select
    with Store() as store:
        store.add_statements([seed, *made], 1, "train")
        store.add_conjectures(
            Conjecture(1, 0, i, seed.key, None, None, None, "", Outcome.KEPT, s.key)
            for i, s in enumerate(made)
        )
        judge = Scripted([["1"], ["1"], ["4"], ["2"]])
        opened = nullcontext((judge, prompt_format("stp")))
        readers = Readers(lambda _: judge, lambda: opened)  # type: ignore[arg-type, return-value]
        weights, stats = _weights(store, readers, 1, kept, select, 0)
        assert (weights, stats) == ([0.5, 0.5, 2, 1], {"judged": 4})
        assert all(seed.text in prompt.text for prompt in judge.asked)
        measured, stats = _weights(store, Readers(lambda _: judge), 1, kept, select, 0)  # type: ignore[arg-type]
        assert (measured, stats) == ([1, 1, 1, 1], {})
        assert len(judge.asked) == 4


def test_memory_judge_and_round_s_model_are_loaded_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    read: list[str] = []

    class Alone(Scripted):
        """A model that wants all memory to itself."""

        def __init__(self, _: ModelSettings, folder: Path) -> None:
            super().__init__([["5"]])
            self.use(folder)

        def use(self, folder: Path) -> None:
            self.close()
            assert not loaded
            self.name = folder.name
            loaded.append(self.name)

        def close(self) -> None:
            if loaded == [vars(self).get("name")]:
                loaded.clear()

        def generate(self, prompts: list[Prompt], *, n: int, **_: object) -> list[list[Sample]]:
            read.append(self.name)
            return super().generate(prompts, n=n)

        def embed(self, texts: list[str]) -> NDArray[np.float32]:
            read.append(self.name)
            return super().embed(texts)

    monkeypatch.setattr(backend, "open_generator", Alone)
    seed = theorem("theorem seed (n : Nat) : n = n")
    made = [make_statement(f"theorem c (n : Nat) : n = n + {i}", "", Source.CONJECTURE) for i in (1, 2)]
    chosen = load("sgs", ["judge.base=tiny", "select.memory_rounds=1", "select.elegancy_drop_frac=0"])
    pool = SimpleNamespace(workers=1, close=lambda: None)
    play = Play(Store(tmp_path / "stp.sqlite"), tmp_path, chosen, pool)  # type: ignore[arg-type]
    play.store.set_meta("band_high", 0.25)
    play.store.add_statements([seed, *made], 0, "train")
    for number, s in enumerate(made, 1):
        play.store.add_conjectures(
            [Conjecture(number, 0, 0, seed.key, None, None, None, "", Outcome.KEPT, s.key)]
        )
        play.store.add_attempts(number, "attempt", [(s.key, "by grind", 1, 0), (s.key, "by rfl", 15, 0)])
        play.store.add_checks(
            (proof_key(s.key, text), CheckResult("", verdict))
            for text, verdict in (("by grind", Verdict.PROVED), ("by rfl", Verdict.REJECTED))
        )
        assert play.select(number)["conjecturer_examples"] == 1
        assert read == (["round-0", "tiny"] if number == 1 else ["round-1", "tiny", "round-0"])
        read.clear()
    play.close()
    assert not loaded
