"""Repair and tree search: what they read out of real failures, and proofs that need two steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from stp.errors import ModelServerError
from stp.models.base import Sample
from stp.models.prompts import Prompt, prompt_format
from stp.prove import job_of
from stp.search.portfolio import Portfolio, closing
from stp.search.prove import Budget, Search, Target
from stp.search.repair import Repair, mend
from stp.search.strategy import Draft, Sampling, Strategy, Task, Tried, Turns
from stp.search.tactics import block, leaves_goals, lines_of, parts_of, steps_for
from stp.search.tree import Tree, nodes_of
from stp.settings import load
from stp.store.store import Store
from stp.syntax.goals import goal_of
from stp.types import CheckResult, Verdict
from stp.verify.pool import Pool
from tests.theorems import theorem

SETTINGS = load("tiny", ["verify.heartbeats=20000"])


class Writer:
    """A model that always writes the same; `logprobs` of the texts, where it gives them."""

    def __init__(self, *texts: str, logprobs: Sequence[float] = ()) -> None:
        self.texts, self.logprobs = texts, logprobs

    def generate(
        self, prompts: Sequence[Prompt], *, n: int, temperature: float, max_tokens: int, seed: int
    ) -> list[list[Sample]]:
        logprobs = [(value,) for value in self.logprobs] or [()] * n
        samples = [Sample(text, 3, True, given) for text, given in zip(self.texts, logprobs, strict=False)]
        return [samples[:n] for _ in prompts]

    def embed(self, texts: Sequence[str]) -> np.ndarray:  # type: ignore[type-arg]
        raise NotImplementedError


def sampling(*texts: str) -> Sampling:
    return Sampling(Writer(*texts), prompt_format("tiny"), 1.0, 32, 0)


def failed(*proofs: str) -> list[Tried]:
    return [Tried(at, proof, CheckResult("", Verdict.REJECTED)) for at, proof in enumerate(proofs, 1)]


class Counting(Writer):
    """A model that writes another text for each seed, prompt and place, of 3 tokens, every other one cut
    short, and counts them."""

    tokens = 0

    def generate(
        self, prompts: Sequence[Prompt], *, n: int, temperature: float, max_tokens: int, seed: int
    ) -> list[list[Sample]]:
        self.tokens += 3 * n * len(prompts)
        return [
            [Sample(f"by exact h {seed} {at} {prompt.text!r}", 3, at % 2 == 0) for at in range(n)]
            for prompt in prompts
        ]


def played(strategy: Strategy, tries: int) -> list[Draft]:
    """What a strategy tries on a statement, each time in vain, in the driver's visits."""
    task, drafts = Task(theorem("theorem t (n : Nat) : n = n + 0")), list[Draft]()
    while task.tries < tries:
        [found] = strategy.propose([task], min(max(4, task.tries), tries - task.tries))
        if not found:
            break
        drafts += found
        task = Task(task.statement, len(drafts), failed(*(draft.proof for draft in drafts)))
    return drafts


@pytest.mark.parametrize("order", [1, -1])
def test_no_fixed_proof_is_tried_twice_where_the_model_writes_nothing(order: int) -> None:
    portfolio, lost = Portfolio(), Sampling(None, prompt_format("tiny"), 1.0, 32, 0)
    found = [draft.proof for draft in played(Turns(*[portfolio, lost][::order]), 64)]
    assert found == [draft.proof for draft in played(portfolio, 64)]
    assert len({*found}) == len(found) > 16


def test_two_strategies_of_one_model_get_samples_of_their_own() -> None:
    model = Sampling(Counting(), prompt_format("tiny"), 1.0, 32, 0)
    written = [draft.proof for draft in played(Turns(model, Repair(model)), 64) if draft.proof]
    assert len({*written}) == len(written) >= 32


@pytest.mark.parametrize("strategy", [Repair, Tree])
def test_all_that_the_model_writes_is_counted(strategy: type[Repair] | type[Tree]) -> None:
    model = Counting()
    drafts = played(strategy(Sampling(model, prompt_format("tiny"), 1.0, 32, 0)), 24)
    assert sum(draft.tokens for draft in drafts) == model.tokens > 0


def search(pool: Pool, text: str, strategy: Strategy, tries: int) -> list[str]:
    """Proofs that a search found."""
    target = theorem(text)
    with Store() as store:
        job = job_of(target, SETTINGS)
        Search(store, pool, strategy, [Target(target, job)], Budget(tries)).run()
        return [row.proof for row in store.tries("evaluate") if row.verdict is Verdict.PROVED]


@pytest.mark.parametrize(
    ("proof", "steps"),
    [
        ("by simp", ["simp"]),
        ("by\n  intro x\n  simp", ["intro x", "simp"]),
        ("by\n  cases x with\n  | inl h => simp\n  | inr h =>\n    simp", None),
        ("by intro x <;> simp", ["intro x <;> simp"]),
        ("fun x => x", []),
        ("bypass", []),
        ("by", []),
    ],
)
def test_a_proof_is_cut_into_steps(proof: str, steps: list[str] | None) -> None:
    found = lines_of(proof)
    assert steps is None or found == steps
    if found:
        assert lines_of(block(found)) == found


def test_a_step_is_cut_at_its_own_joints_only() -> None:
    assert parts_of("cases x <;> (simp <;> omega) <;> grind") == ["cases x", "(simp <;> omega)", "grind"]


def test_steps_fit_the_goal() -> None:
    steps = [*steps_for(goal_of("theorem t (n : Nat) (h : ∃ k, n = 2 * k) (o : n = 1 ∨ n = 2) : n < 3"))]
    assert {"rcases h with ⟨_, _⟩", "cases o", "induction n"} <= set(steps)


def test_the_portfolio_suggests_residues_and_values() -> None:
    proofs = closing(theorem("theorem t (n : Nat) (h : n ≤ 3) : n ^ 2 % 4 = 0 ∨ n ^ 2 % 4 = 1"))
    assert any("n = 0 ∨ n = 1 ∨ n = 2 ∨ n = 3 := by omega" in proof for proof in proofs)
    assert any("n % 4 = 0 ∨" in proof for proof in proofs)
    assert len(set(proofs)) == len(proofs)


def test_a_failure_without_steps_is_not_mended() -> None:
    assert [*mend(Tried(1, "rfl", CheckResult("", Verdict.REJECTED)))] == []


@pytest.mark.lean
def test_open_goals_make_a_node_and_an_error_makes_none(lean_pool: Pool) -> None:
    target = theorem("theorem t (p q : Prop) (hp : p) (hq : q) : p ∧ q")
    task = Task(target)
    for number, proof in enumerate(["by\n  constructor", "by\n  omega", "by\n  exact hp"], 1):
        task.tried.append(Tried(number, proof, lean_pool.submit(job_of(target, SETTINGS)(proof)).result()))
    assert [leaves_goals(one.result) for one in task.tried] == [True, False, False]
    nodes = nodes_of(task)
    assert [node.steps for node in nodes] == [(), ("constructor",)]
    assert [goal.target for goal in nodes[1].goals] == ["p", "q"]


@pytest.mark.lean
def test_the_tree_finds_a_proof_of_several_steps(lean_pool: Pool) -> None:
    text = (
        "theorem t (f : Nat → Nat) (h : ∃ k, f k = 0) (g : ∀ n, f n ≠ 0 ∨ n = 7) : f 7 = 0 ∧ ∃ m, m = f 7 + 1"
    )
    assert search(lean_pool, text, Tree(sampling()), 32)


def test_a_model_whose_server_is_lost_is_not_asked_again_and_the_rest_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Lost(Writer):
        def generate(self, *_: object, **__: object) -> list[list[Sample]]:
            raise ModelServerError("nobody there")

    task = Task(theorem("theorem t (a b : Nat) (h : a < b) : a + 1 ≤ b"), tries=8)
    task.tried = failed(*closing(task.statement)[:8])
    for strategy, goes_on in ((Tree, True), (Repair, False), (lambda sampling: sampling, False)):
        model = Sampling(Lost(), prompt_format("tiny"), 1.0, 32, 0)
        turns = Turns(Portfolio(), strategy(model))
        for _ in range(2):
            [drafts] = turns.propose([task], 8)
            assert [draft.proof for draft in drafts[:4]] == closing(task.statement)[8:12]
            assert (len(drafts) == 8) == goes_on
        assert model.lost == "nobody there"
        assert capsys.readouterr().err.count("goes on without the model") == 1


def test_the_tree_tries_the_likeliest_of_what_the_model_wrote_first() -> None:
    writer = Writer("by one", "by two", "by three", logprobs=(-3.0, -0.5, -9.0))
    tree = Tree(Sampling(writer, prompt_format("tiny"), 1.0, 32, 0))
    [drafts] = tree.propose([Task(theorem("theorem t (p : Prop) : p"))], 32)
    written = [draft.proof for draft in drafts if draft.tokens]
    assert written == [block(["two"]), block(["one"]), block(["three"])]


@pytest.mark.lean
def test_repair_keeps_what_held_and_closes_the_rest(lean_pool: Pool) -> None:
    text = "theorem t (a b : Nat) (h : a = b ∧ b < 3) : b < 4 ∧ a < 4"
    found = search(lean_pool, text, Repair(sampling("by constructor", "by nonsense")), 8)
    assert found
    assert found[0].startswith("by\n  constructor\n  all_goals")


@pytest.mark.lean
def test_a_file_that_a_chat_model_wrote_is_held_to_the_statement(lean_pool: Pool) -> None:
    text = "theorem t (a b : Nat) (h : a = b ∧ b < 3) : b < 4 ∧ a < 4"
    aux = "theorem aux (a : Nat) (h : a < 3) : a < 4 := by omega\n\n"
    good = f"{aux}{text} := ⟨aux b h.2, h.1 ▸ aux b h.2⟩"
    answers = [
        f"A plan.\n```lean4\nimport Init\n\n{code}\n```"
        for code in (
            f"{aux}theorem t (a b : Nat) (h : b < 3) : b < 4 := aux b h",
            f"axiom cheat : False\n\n{text} := cheat.elim",
            good,
            f"{text} := by\n  grind",
        )
    ]
    sampler = Sampling(Writer(*answers), prompt_format("chat"), 1.0, 32, 0)
    target = theorem(text)
    with Store() as store:
        targets = [Target(target, job_of(target, SETTINGS))]
        Search(store, lean_pool, sampler, targets, Budget(4, all_tries=True)).run()
        verdicts = {row.number: row.verdict for row in store.tries("evaluate")}
        proofs = {row.number: row.proof for row in store.tries("evaluate")}
    assert {number for number, verdict in verdicts.items() if verdict is Verdict.PROVED} == {3, 4}
    assert (proofs[3], proofs[4]) == (good, "by\n  grind")


def test_steps_follow_the_head_of_the_goal_and_what_it_mentions() -> None:
    goal = goal_of("theorem t (n b : ℕ) (f : ℕ → ℕ) (h : ∀ k, f k = k) (g : Nat.gcd n 40 = b) : ∃ m, f 7 < m")
    assert next(steps_for(goal)) == "exists n + 1"
    assert "have := h 7" in [*steps_for(goal)]
    assert next(steps_for(goal_of("theorem t (a b : Prop) : a ∧ b"))) == "constructor"
    bounded = [*steps_for(goal_of("theorem t (n : ℕ) (h : n ≤ 2) (g : Nat.lcm n 4 = 8) : n = 2"))]
    values, names = "n = 0 ∨ n = 1 ∨ n = 2", "rfl | rfl | rfl"
    assert f"all_goals (have : {values} := (by omega); rcases this with {names})" in bounded
    assert "have := Nat.gcd_mul_lcm n 4" in bounded


@pytest.mark.lean
def test_a_chat_model_is_shown_its_failure_and_what_lean_said(lean_pool: Pool) -> None:
    text = "theorem t (a b : Nat) (h : a = b) : a + 1 = b + 1"

    class Chat(Writer):
        """Mends what it is shown; on its own it has no idea."""

        asked: list[str]

        def generate(
            self, prompts: Sequence[Prompt], *, n: int, temperature: float, max_tokens: int, seed: int
        ) -> list[list[Sample]]:
            self.asked += [prompt.text for prompt in prompts]
            proofs = ["by simp [h]" if "This proof" in prompt.text else "by rfl" for prompt in prompts]
            return [[Sample(f"```lean4\n{text} := {proof}\n```", 9, True)] * n for proof in proofs]

    model = Chat()
    model.asked = []
    found = search(lean_pool, text, Repair(Sampling(model, prompt_format("chat"), 1.0, 32, 0)), 8)
    assert found == ["by simp [h]"]
    shown = next(asked for asked in model.asked if "This proof" in asked)
    assert f"{text} :=\nby rfl" in shown
    assert "1:" in shown.partition("What Lean says of it:")[2]
    assert "error" in shown
