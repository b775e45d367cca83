"""What failed proofs left open: steps towards the statement that they were to prove.

The goals become conjectures of the next round; where a proof's goals are all proved by then, the proof is
tried again with theirs in it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from stp.search.sample import Prover
from stp.search.tactics import completed, leaves_goals
from stp.settings import GateSettings
from stp.store.rows import NO_INPUT, Conjecture, Outcome, proof_key
from stp.store.store import Store
from stp.syntax.goals import Goal, goals_in
from stp.syntax.lean import cut_conjecture, statement_key
from stp.types import Job, Statement, System

#: Completed proofs of a statement that are tried in a round, at most.
_COMPLETIONS = 8


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A failed proof, and all that it left open."""

    statement: Statement
    proof: str
    goals: list[Goal]


def unfinished(store: Store, prover: Prover, round: int) -> Iterator[Unfinished]:
    """Failed Lean proofs of a round's unproved statements of the dataset whose only fault are open goals.

    A proof of each statement in turn; of one, those with the fewest goals come first, then those sampled most
    often. The checks were made before: they come from the result cache, with their goals.
    """
    failed = [row for row in store.failed_proofs(round) if row[1].system is System.LEAN]
    jobs = [prover.job(s, text, id=key, premises=True) for key, s, text in failed]
    results = {result.id: result for result in prover.pool.check(jobs)}
    found: dict[str, list[Unfinished]] = defaultdict(list)
    for key, statement, text in failed:
        result = results[key]
        if leaves_goals(result) and len(result.goals) == 1:
            goals = goals_in(result.goals[0].text)
            if goals and all(goal.whole for goal in goals):
                found[statement.key].append(Unfinished(statement, text, goals))
    for proofs in found.values():
        proofs.sort(key=lambda one: len(one.goals))
    for turn in zip_longest(*(found[key] for key in sorted(found))):
        yield from filter(None, turn)


def salvage(store: Store, prover: Prover, round: int, most: int) -> int:
    """Adds up to `most` goals that the last round's failed proofs left open to the round's conjectures;
    returns how many."""
    found: dict[str, str] = {}
    for one in unfinished(store, prover, round - 1):
        for goal in one.goals:
            found.setdefault(goal.signature, one.statement.key)
    rows = [
        Conjecture(round, NO_INPUT, at, target, None, None, None, signature)
        for at, (signature, target) in enumerate([*found.items()][:most])
    ]
    return store.add_conjectures(rows)


def complete(store: Store, prover: Prover, round: int, gates: GateSettings) -> dict[str, int]:
    """Tries the last round's failed proofs again, each goal that they left open closed by a proof of it: the
    shortest that was found so far, or a tactic of the gate that called it trivial. What was tried counts as
    attempts of this round, which cost no tokens."""
    shortest: dict[str, str] = {}
    for proof in store.correct_proofs(0, round):
        if len(proof.text) < len(shortest.get(proof.statement, proof.text + " ")):
            shortest[proof.statement] = proof.text
    trivial = {row.text for row in store.conjectures(round, Outcome.TRIVIAL) if row.is_goal}
    any_of_them = f"by first | {' | '.join(gates.trivial_tactics)}"
    taken: Counter[str] = Counter()
    rows: list[tuple[str, str, int, int]] = []
    jobs: list[Job] = []
    for one in unfinished(store, prover, round - 1):
        closings = [
            (goal, any_of_them if goal.signature in trivial else shortest.get(_key(goal.signature), ""))
            for goal in one.goals
        ]
        text = completed(one.proof, closings)
        key = one.statement.key
        if text is not None and taken[key] < _COMPLETIONS:
            taken[key] += 1
            rows.append((key, text, 1, 0))
            jobs.append(prover.job(one.statement, text, id=proof_key(key, text), premises=True))
    results = list(prover.pool.check(jobs))
    with store.atomic():
        store.add_attempts(round, "complete", rows)
        store.add_checks((result.id, result) for result in results)
    tallies = store.tallies(round, "complete").values()
    return {"tried": sum(t.attempts for t in tallies), "completed": sum(t.proved > 0 for t in tallies)}


def _key(goal: str) -> str:
    """Of the conjecture that a goal's signature became; empty where it is none."""
    signature = cut_conjecture(goal)
    return statement_key(signature) if signature else ""
