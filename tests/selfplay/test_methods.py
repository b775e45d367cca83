"""Every method is the same round by other settings; what goes wrong in one leaves a sound store."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stp.datasets import lean_core
from stp.datasets.decontaminate import held_out
from stp.errors import MachineryError, UsageError
from stp.models.base import Sample
from stp.models.prompts import Prompt, prompt_format, signature_of
from stp.models.tiny import make_tiny
from stp.search.sample import Prover
from stp.selfplay.disprove import disprove, disproved
from stp.selfplay.gates import gate
from stp.selfplay.learn import Readers, choose_examples, copy_model
from stp.selfplay.round import Play
from stp.selfplay.salvage import complete, lacked, salvage, unfinished
from stp.selfplay.seed_model import seed_data, seed_model
from stp.selfplay.seeds import fill
from stp.settings import Settings, TinySettings, load
from stp.store.rows import Conjecture, Outcome, Tally, proof_key
from stp.store.store import Store
from stp.syntax.lean import make_statement
from stp.types import CheckResult, Source, Statement, Verdict
from stp.verify.pool import Pool
from tests.theorems import theorem

pytestmark = [pytest.mark.lean, pytest.mark.timeout(300)]

SMALL = [
    "data.statements=8", "data.held_out=2", "conjecture.inputs=20", "conjecture.samples_total=60",
    "conjecture.keep=5", "attempt.samples=4", "evaluate.samples=1", "verify.wall_s=60",
]  # fmt: skip

PlayRound = Callable[[str, list[str]], Play]


@pytest.fixture
def play_round(tmp_path: Path, lean_pool: Pool) -> PlayRound:
    """Plays rounds 0 and 1 of a preset on the session's checker."""

    def play(config: str, overrides: list[str]) -> Play:
        settings = load(config, [*SMALL, *overrides])
        (tmp_path / "models").mkdir()
        found = Play(Store(tmp_path / "stp.sqlite"), tmp_path, settings, lean_pool)
        found.round(0, {"seeds": found.fill, "train": found.seed_model, "evaluate": found.evaluate})
        found.round(1, found.stages())
        return found

    return play


def stages(play: Play, number: int) -> list[str]:
    return [m.name for m in play.store.stages() if m.round == number and m.finished_at]


def test_expert_iteration_attempts_the_unproved_and_learns_all_their_proofs(play_round: PlayRound) -> None:
    play = play_round("expert-iteration", [])
    assert stages(play, 1) == ["attempt", "select", "train", "evaluate"]
    rates = play.store.pooled_rates(1, 1)
    assert len(rates) == 8
    proofs = {p.key for p in play.store.correct_proofs(1, 1) if p.count}
    assert len(play.store.prover_texts(1)) == len(proofs) > 0
    assert play.store.conjectures(1) == []
    play.round(2, {"attempt": play.attempt})
    assert set(play.store.tallies(2, "attempt")) == {key for key, t in rates.items() if not t.proved}


def test_parallel_sampling_never_learns_and_never_repeats_itself(play_round: PlayRound) -> None:
    play = play_round("parallel-sampling", [])
    play.round(2, play.stages())
    assert stages(play, 1) == stages(play, 2) == ["attempt", "evaluate"]
    assert [path.name for path in (play.folder / "models").iterdir()] == ["round-0"]
    texts = [{text for _, _, text in _attempts(play, number)} for number in (1, 2)]
    assert texts[0] != texts[1]
    held_out = [[e.proved for e in play.store.evaluations(r) if e.dataset == "lean-core"] for r in (0, 1, 2)]
    assert held_out[0] == held_out[1] == held_out[2]


def _attempts(play: Play, number: int) -> list[tuple[int, str, str]]:
    rows = play.store._rows(
        "SELECT a.round, a.statement, p.text FROM attempts a JOIN proofs p ON p.key = a.proof"
        " WHERE a.round = ? AND stage = 'attempt'",
        number,
    )
    return [(row[0], row[1], row[2]) for row in rows]


def test_conjectures_towards_unproved_statements_are_guarded(play_round: PlayRound) -> None:
    play = play_round("sgs", [])
    pool = {s.key: s for s in play.store.statements(source=Source.DATASET, split="train")}
    rows = play.store.conjectures(1)
    assert {row.seed for row in rows} == pool.keys()
    assert {(row.seed_proof, row.lemma_name) for row in rows} == {(None, None)}
    for text in play.store.conjecturer_texts(1):
        assert text.seed_proof is None
    for row in play.store.conjectures(1, Outcome.KEPT):
        statement = play.store.statement(row.statement or "")
        assert statement
        assert "∨" not in statement.text
        assert len(signature_of(statement.text)) <= 1.5 * len(signature_of(pool[row.seed].text))


@pytest.mark.slow
def test_adaptive_k_spends_less_on_easy_conjectures_alone(play_round: PlayRound) -> None:
    play = play_round("tiny", ["attempt.samples=8", "attempt.probe_samples=3", "conjecture.keep=10"])
    probed = play.store.tallies(1, "probe")
    conjectures = {s.key for s in play.store.statements(source=Source.CONJECTURE)}
    assert probed.keys() == conjectures
    spent = {key: tally.attempts for key, tally in play.store.pooled_rates(1, 1).items()}
    for key in conjectures:
        assert spent[key] == (3 if probed[key].proved > 2 else 8)
    assert {spent[key] for key in spent.keys() - conjectures} == {8}


@pytest.mark.slow
def test_a_refresh_trains_from_the_seed_model_on_hard_proofs_and_rehearses(play_round: PlayRound) -> None:
    play = play_round(
        "expert-iteration", ["refresh.every=1", "refresh.seed_examples=10", "attempt.samples=8"]
    )
    mark = play.store.stage(1, "train")
    assert mark
    easy = {key for key, tally in play.store.pooled_rates(1, 1).items() if tally.pass_rate > 0.25}
    assert not easy & {text.statement.key for text in play.store.prover_texts(1)}
    assert mark.stats["examples"] == 10 + len(play.store.prover_texts(1))
    play.round(1, {"refresh": play.refresh})
    assert (play.folder / "models" / "final-1" / "model.safetensors").is_file()


def test_a_model_that_writes_garbage_costs_a_round_and_nothing_else(
    play_round: PlayRound, tmp_path: Path
) -> None:
    make_tiny(tmp_path / "noise", ["theorem t : 1 = 1"], TinySettings(hidden=64, layers=2), seed=0)
    play = play_round("tiny", [f"model.base={tmp_path / 'noise'}", "evaluate.samples=1"])
    assert stages(play, 1) == ["conjecture", "gate", "attempt", "select", "train", "evaluate"]
    outcomes = Counter(row.outcome for row in play.store.conjectures(1))
    assert outcomes.keys() <= {Outcome.UNPARSED, Outcome.UNCOMPILED}
    assert not any(tally.proved for tally in play.store.pooled_rates(1, 1).values())
    assert (play.model_dir(1) / "model.safetensors").read_bytes() == (
        play.model_dir(0) / "model.safetensors"
    ).read_bytes()


def test_a_loss_that_is_no_number_stops_the_stage_and_keeps_the_last_model(
    play_round: PlayRound, tmp_path: Path
) -> None:
    diverging = ["train.learning_rate=1e30", "train.batch_size=1", "attempt.samples=16"]
    with pytest.raises(MachineryError, match="loss") as caught:
        play_round("expert-iteration", diverging)
    assert "\n" not in str(caught.value)
    assert [path.name for path in (tmp_path / "models").iterdir() if ".work" not in path.name] == ["round-0"]
    with pytest.raises(KeyError, match="not running"), Store(tmp_path / "other.sqlite") as store:
        store.finish_stage(1, "train", {})


class Always:
    """A model that writes one text whatever it is asked."""

    def __init__(self, text: str) -> None:
        self.text = text

    def generate(self, prompts: list[Prompt], *, n: int, **_: object) -> list[list[Sample]]:
        return [[Sample(self.text, 1, True)] * n for _ in prompts]

    def embed(self, texts: list[str]) -> NDArray[np.float32]:
        return np.ones((len(texts), 2), dtype=np.float32)

    def use(self, folder: Path) -> None: ...
    def release(self) -> None: ...
    def close(self) -> None: ...


def play_two_rounds(folder: Path, pool: Pool, config: str, text: str) -> Play:
    """Rounds 1 and 2 of two statements, by a model that writes that text."""
    settings = load(config, SMALL)
    (folder / "models").mkdir()
    copy_model(seed_model(settings.model), folder / "models" / "round-0")
    play = Play(Store(folder / "stp.sqlite"), folder, settings, pool)
    play._prover = Prover(Always(text), prompt_format("tiny"), pool, settings.model, settings.verify)
    texts = ("theorem p (a b : Nat) : a + b = b + a", "theorem q (a b : Nat) (h : a < b) : a + 1 ≤ b")
    with play.store.atomic():
        play.store.add_statements([theorem(t) for t in texts], 0, "train")
    for number in (1, 2):
        play.round(number, play.stages())
    return play


@pytest.mark.parametrize(
    ("config", "text", "of_several_steps"),
    [
        ("tiny", "by skip; omega", 2),
        ("sgs", "by omega", 0),
        ("expert-iteration", "by skip; omega", 2),
        ("parallel-sampling", "by omega", 0),
    ],
)
def test_a_pool_with_nothing_left_to_prove_ends_no_run(
    config: str, text: str, of_several_steps: int, tmp_path: Path, lean_pool: Pool
) -> None:
    play = play_two_rounds(tmp_path, lean_pool, config, text)
    assert set(play.store.first_proved().values()) == {1}
    assert all(mark.finished_at for mark in play.store.stages())
    assert {c.outcome for r in (1, 2) for c in play.store.conjectures(r)} <= {Outcome.UNPARSED}
    mark = play.store.stage(1, "evaluate")
    assert mark
    assert len(mark.stats["portfolio_proves"]) == of_several_steps


@pytest.mark.parametrize("text", ["", "\0", "∀" * 3000, ":= by sorry", "(n : Nat) : n = n := by rfl", "«"])
def test_whatever_a_model_writes_the_rounds_go_on(text: str, tmp_path: Path, lean_pool: Pool) -> None:
    play = play_two_rounds(tmp_path, lean_pool, "sgs", text)
    assert all(mark.finished_at for mark in play.store.stages())
    assert play.store.first_proved() == {}
    assert play.store.prover_texts(1) == play.store.conjecturer_texts(1) == []


def test_without_a_barely_provable_conjecture_there_is_nothing_to_learn_from_it() -> None:
    """Read by no model: nothing is left to embed."""
    with Store() as store:
        store.set_meta("band_high", 0.25)
        _conjectured(store, {"c": "(a b : Nat) (h : a * (b * b) = 0) : a = 0 ∨ b = 0"})
        (row,) = store.conjectures(1)
        statement = make_statement(f"theorem c {row.text}", "", Source.CONJECTURE)
        store.add_statements([statement], 1, "train")
        store.set_outcomes([replace(row, outcome=Outcome.KEPT, statement=statement.key)])
        store.add_attempts(1, "attempt", [(statement.key, "by grind", 16, 0)])
        store.add_checks([(proof_key(statement.key, "by grind"), CheckResult("", Verdict.PROVED))])
        found = choose_examples(store, Readers(lambda _: Always("")), 1, load("tiny"), 0)
        assert found == {"barely_provable": 0, "conjecturer_examples": 0, "prover_examples": 0}


#: `a.gcd b ≠ 0` where `b ≠ 0`, which `lean-core` holds out, mirrored: another key, the same n-grams.
HELD_OUT = "{a b : Int} (ha : a ≠ 0) : a.gcd b ≠ 0"


def test_a_run_begins_without_copies_of_what_is_held_out() -> None:
    with Store() as store:
        counts = fill(store, load("tiny", ["data.statements=0"]), lambda: pytest.fail("nothing to check"))
        texts = {signature_of(s.text) for s in store.statements()}
        assert HELD_OUT not in texts
        found = store.meta("decontaminated")
        assert counts["pool"] == len(store.statements(split="train"))
        index = held_out().index
        tests = {s.key for s in lean_core.load("test")}
        assert index.copies(s for s in store.statements() if s.key not in tests) == {}
    assert found["against"]["lean-core"] == 729
    assert found["seeds"]["by_ngrams"] >= 10
    assert found["pool"]["by_ngrams"] >= 50


def test_a_seed_model_s_data_have_no_copies_of_what_is_held_out() -> None:
    targets = {example.target for example in seed_data(load("tiny"))}
    assert len(targets) > 1000
    assert HELD_OUT not in targets
    assert not targets & {signature_of(s.text) for s in lean_core.load("test")}
    copies = held_out().clean(lean_core.load("train"))[1]
    assert not targets & {signature_of(s.text) for s in lean_core.load("train") if s.key in copies}


def test_a_run_does_not_go_on_without_a_benchmark_that_it_began_with(lean_pool: Pool) -> None:
    with Store() as store:
        store.set_meta("decontaminated", {"against": {"lean-core": 729, "minif3f": 244}})
        _conjectured(store, CONJECTURES)
        with pytest.raises(UsageError, match=r"minif3f.*STP_DATA_DIR"):
            gate(store, lean_pool, 1, load("tiny"), 10, 0)
        assert {row.outcome for row in store.conjectures(1)} == {Outcome.SAMPLED}


def _settings(**gates: object) -> Settings:
    settings = load("tiny")
    return settings.model_copy(update={"gates": settings.gates.model_copy(update=gates)})


def _conjectured(store: Store, texts: dict[str, str]) -> list[str]:
    """Puts conjectures into round 1, all made from one seed; their names in order."""
    seed = theorem("theorem seed (a b : Nat) : a + b = b + a")
    store.add_statements([seed], 0, "train")
    store.add_attempts(0, "seed", [(seed.key, "by omega", 1, 0)])
    store.add_checks([(proof_key(seed.key, "by omega"), CheckResult("", Verdict.PROVED))])
    rows = [
        Conjecture(1, 0, i, seed.key, proof_key(seed.key, "by omega"), None, None, text)
        for i, text in enumerate(texts.values())
    ]
    store.add_conjectures(rows)
    return list(texts)


CONJECTURES = {
    "contaminated": HELD_OUT,
    "vacuous": "(n : Nat) (h : n < 0) : n * n = 7 * n",
    "refuted": "(a b : Nat) : a - b = b - a",
    "trivial": "(a b : Nat) (h : a < b) : a + 1 ≤ b",
    "known": "(a b c : Nat) : a * (b + c) = a * b + a * c",
    "bloated": "(a : Nat) : a = 0 ∨ a = 1 ∨ 0 < a * a",
    "kept": "(a b : Nat) (h : a * (b * b) = 0) : a = 0 ∨ b = 0",
}


def test_each_gate_stops_what_it_is_for(lean_pool: Pool) -> None:
    settings = _settings(
        vacuous_tactics=("omega",), trivial_tactics=("omega",), library_tactics=("exact?",), disjunctions=1,
        heartbeats=60_000,
    )  # fmt: skip
    with Store() as store:
        names = _conjectured(store, CONJECTURES)
        counts = gate(store, lean_pool, 1, settings, 10, 0)
        found = {name: row.outcome.value for name, row in zip(names, store.conjectures(1), strict=True)}
    assert found == {name: name for name in names}
    assert counts["checks"] > 0
    assert math.isfinite(counts["verifier_s"])


def test_a_switched_off_gate_lets_pass(lean_pool: Pool) -> None:
    settings = _settings(refute=False, trivial_tactics=())
    with Store() as store:
        names = _conjectured(store, CONJECTURES)
        gate(store, lean_pool, 1, settings, 10, 0)
        assert [row.outcome for row in store.conjectures(1)] == [Outcome.CONTAMINATED] + [Outcome.KEPT] * 6
        assert len(names) == 7


def test_a_run_names_all_that_checked_its_proofs() -> None:
    with Store() as store:
        play = Play(store, Path(), load("tiny"))
        for digest in ("old", "old", "new", "new"):
            play._note_checkers(digest)
        assert store.meta("toolchain") == "old, new"


def test_a_false_statement_leaves_the_pool_with_its_negation_proved(lean_pool: Pool) -> None:
    true = theorem("theorem true (a b : Nat) : a + b = b + a")
    false = theorem("theorem false {α : Type} (l : List α) : l.length = 0")
    alike = theorem("theorem alike (l : List Nat) : l.length = 0")
    with Store() as store:
        store.add_statements([true, false, alike], 0, "train")
        assert disprove(store, lean_pool, load("tiny")) == {"disproved": 2}
        assert disproved(store) == {false.key, alike.key}
        (proof,) = store.correct_proofs(0, 0)
        negation = store.statement(proof.statement)
        assert negation
        assert (negation.source, {*negation.parents}) == (Source.NEGATION, {false.key, alike.key})
        assert Play(store, Path(), load("tiny")).to_prove() == [true.key]
        assert disprove(store, lean_pool, load("tiny")) == {"disproved": 2}
        assert len(store.statements(source=Source.NEGATION)) == 1


def completions(play: Play, round: int) -> tuple[int, int]:
    stats = complete(play.store, play.prover(1), round, play.settings.gates)
    return stats["tried"], stats["completed"]


def test_a_failed_proof_is_completed_by_proofs_of_the_goals_that_it_left_open(play_round: PlayRound) -> None:
    play = play_round("expert-iteration", ["data.statements=1"])
    store, prover = play.store, play.prover(1)
    square_of_sum = "(a + b) * (a + b) = a * a + 2 * a * b + b * b"
    text = f"theorem all : ∀ a b : Nat, {square_of_sum} ∧ b + a = a + b ∧ a.gcd a = a"
    target = make_statement(text, "", Source.DATASET, origin="Nat.gcd_self")
    store.add_statements([target], 0, "train")
    split = "by intros; refine ⟨?_, ?_, ?_⟩"
    failed = [split, f"{split}; skip", f"{split}; foo"]
    store.add_attempts(1, "attempt", [(target.key, proof, 1, 0) for proof in failed])
    rejected = CheckResult("", Verdict.REJECTED)
    store.add_checks([(proof_key(target.key, proof), rejected) for proof in failed])
    left, _ = unfinished(store, prover, 1, 1)
    assert {u.proof for u in left if u.statement == target} == {*failed[:2]}

    assert salvage(store, prover, 2, 100)["salvaged"] == 3
    assert salvage(store, prover, 2, 100)["salvaged"] == 3  # again: nothing new
    assert len(store.conjectures(2)) == 3
    assert {(row.seed, row.seed_proof) for row in store.conjectures(2)} == {(target.key, None)}
    gate(store, play.pool, 2, play.settings, 5, 0)
    (trivial,) = store.conjectures(2, Outcome.TRIVIAL)
    assert trivial.text == "(a_1 b_1 : Nat) : b_1 + a_1 = a_1 + b_1"
    goals = {s.text.partition(" (")[2]: s for s in store.statements(source=Source.CONJECTURE)}
    # The library theorem that gives the statement away proves no goal of it either.
    gcd, square = (goals[key] for key in sorted(goals, key=len))
    assert gcd.text.endswith(": a_1.gcd a_1 = a_1")
    assert (gcd.origin, square.origin) == ("Nat.gcd_self", "Nat.gcd_self")
    assert completions(play, 2) == (0, 0)

    proofs = {square.key: "by grind", gcd.key: "by exact Nat.gcd_eq_left (Nat.dvd_refl _)"}
    store.add_attempts(2, "attempt", [(key, proof, 1, 5) for key, proof in proofs.items()])
    proved = CheckResult("", Verdict.PROVED)
    store.add_checks([(proof_key(key, proof), proved) for key, proof in proofs.items()])
    spent = store.generated_tokens()
    assert completions(play, 2) == (2, 1)
    assert store.pooled_rates(2, 2)[target.key] == Tally(2, 2)
    assert store.first_proved()[target.key] == 2
    assert store.generated_tokens() == spent
    found = [proof.text for proof in store.correct_proofs(2, 2) if proof.statement == target.key]
    assert [text.count("next a_1 b_1 =>") for text in found] == [3, 3]
    choose_examples(store, Readers(lambda _: prover.generator), 2, play.settings, 0)
    taught = {example.statement.key for example in store.prover_texts(2)}
    assert proofs.keys() <= taught
    assert target.key not in taught  # a completed proof is no text that the model could have written
    assert completions(play, 2) == (2, 1)  # again: nothing new
    assert store.pooled_rates(2, 2)[target.key] == Tally(2, 2)


def test_goals_of_goals_complete_the_proof_that_they_all_come_from(play_round: PlayRound) -> None:
    """A tactic before one that fails leaves goals; so do the goals' failed proofs, a round later."""
    play = play_round("expert-iteration", ["data.statements=1"])
    store, prover, gates = play.store, play.prover(1), play.settings.gates
    rejected, proved = CheckResult("", Verdict.REJECTED), CheckResult("", Verdict.PROVED)

    def tried(round: int, statement: Statement, proof: str, result: CheckResult) -> None:
        store.add_attempts(round, "attempt", [(statement.key, proof, 1, 5)])
        store.add_checks([(proof_key(statement.key, proof), result)])

    def only_goal(round: int) -> Statement:
        assert salvage(store, prover, round, 100)["salvaged"] == 1
        assert gate(store, play.pool, round, play.settings, 5, 0)["kept"] == 1
        (goal,) = store.statements(source=Source.CONJECTURE, round=round)
        return goal

    text = "theorem all (x y : Nat) (f : Nat → Nat) (h : ∀ n, f (f n) = f n) : f 0 = f 0 → f (f (f x)) = f x"
    target = theorem(text)
    store.add_statements([target], 0, "train")
    tried(1, target, "by intro z <;> omega", rejected)
    first = only_goal(2)
    tried(2, first, "by revert h <;> omega", rejected)
    assert completions(play, 2) == (0, 0)
    second = only_goal(3)
    assert lacked(store, 3, 100) == []  # no stage has said so yet
    assert store.begin_stage(2, "complete")
    store.finish_stage(2, "complete", complete(store, prover, 2, gates))
    assert lacked(store, 3, 2) == [first]
    assert lacked(store, 3, 1) == []  # the round's own goal has the room
    assert second.parents == (first.key,)
    assert salvage(store, prover, 3, 100)["verifier_s"] >= 0
    tried(3, second, "by intro h; rw [h, h]", proved)
    assert completions(play, 3) == (2, 2)
    (whole,) = [proof.text for proof in store.correct_proofs(3, 3) if proof.statement == target.key]
    assert whole.count("next") == 2
    assert salvage(store, prover, 4, 100)["salvaged"] == 0  # all are judged


def test_a_statement_may_be_completed_again_once_another_goal_is(lean_pool: Pool) -> None:
    """Of two drafts of one statement the first one's goal has a proof that does not fit, the second one's is
    itself completed only then."""
    settings = load("tiny", [])
    rejected, proved = CheckResult("", Verdict.REJECTED), CheckResult("", Verdict.PROVED)
    prover = Prover(None, prompt_format("tiny"), lean_pool, settings.model, settings.verify)  # type: ignore[arg-type]
    target = theorem("theorem all (p q r : Prop) : p → q → (q → r) → r")
    itself = theorem("theorem all (p q : Prop) : p → q → p")
    with Store() as store:
        store.add_statements([target, itself], 0, "train")

        def tried(round: int, statement: Statement, proof: str, result: CheckResult) -> None:
            store.add_attempts(round, "attempt", [(statement.key, proof, 1, 5)])
            store.add_checks([(proof_key(statement.key, proof), result)])

        def goals_of(round: int) -> list[Statement]:
            known = {s.key for s in store.statements(source=Source.CONJECTURE)}
            salvage(store, prover, round, 100)
            gate(store, lean_pool, round, load("tiny", ["gates.trivial_tactics=[]"]), 5, 0)
            return [s for s in store.statements(source=Source.CONJECTURE) if s.key not in known]

        tried(1, itself, "by skip", rejected)  # leaves itself open, which is no step
        tried(1, target, "by intro a", rejected)
        (wrong,) = goals_of(2)
        tried(2, target, "by intro a b", rejected)
        (first,) = goals_of(3)
        tried(3, first, "by intro f", rejected)
        (last,) = goals_of(4)
        tried(4, wrong, "by wrong", proved)
        tried(4, last, "by grind", proved)
        stats = complete(store, prover, 4, settings.gates)
        assert (stats["tried"], stats["completed"]) == (3, 2)
        assert complete(store, prover, 4, settings.gates) == stats  # a kill before the mark: nothing new
        assert {p.statement for p in store.correct_proofs(4, 4)} == {
            last.key,
            wrong.key,
            first.key,
            target.key,
        }


def test_salvage_is_a_part_of_the_round(play_round: PlayRound) -> None:
    play = play_round("tiny", ["conjecture.salvage=20"])
    assert stages(play, 1) == ["conjecture", "gate", "attempt", "complete", "select", "train", "evaluate"]


@pytest.mark.parametrize("given", [0, 16])
def test_goals_that_fall_with_the_nearest_theorems_complete_a_proof_where_these_are_given(
    lean_pool: Pool, given: int
) -> None:
    settings = _settings(trivial_premises=given)
    target = make_statement(
        "theorem all (l : List Nat) (m : Nat) : l.dropLast <+: l ∧ m = m", "", Source.DATASET
    )
    prover = Prover(None, prompt_format("tiny"), lean_pool, settings.model, settings.verify)  # type: ignore[arg-type]
    failed = "by constructor"
    with Store() as store:
        store.add_statements([target], 0, "train")
        store.add_attempts(1, "attempt", [(target.key, failed, 1, 5)])
        store.add_checks([(proof_key(target.key, failed), CheckResult("", Verdict.REJECTED))])
        assert salvage(store, prover, 2, 100)["salvaged"] == 2
        gate(store, lean_pool, 2, settings, 5, 0)
        outcomes = sorted(row.outcome.value for row in store.conjectures(2))
        stats = complete(store, prover, 2, settings.gates)
        proofs = [proof.text for proof in store.correct_proofs(2, 2)]
    if not given:
        assert outcomes == ["kept", "trivial"]
        assert (stats["completed"], proofs) == (0, [])
        return
    assert outcomes == ["trivial", "trivial"]
    assert stats["completed"] == 1
    assert len(proofs) == 1
    assert "dropLast" in proofs[0]
