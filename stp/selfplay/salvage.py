"""What failed proofs left open: steps towards the statement that they were to prove.

The goals become conjectures of the next round, and the goals of their failed proofs those of the round after.
Where a proof's goals are all proved by then, the proof is tried again with theirs in it. A goal that is all
that some proof lacks is attempted again in later rounds, as the dataset's unproved statements are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice, zip_longest
from typing import Any

from stp.search.premises import premises_for
from stp.search.sample import Prover
from stp.search.tactics import completed, forgiving, leaves_goals
from stp.settings import GateSettings
from stp.store.rows import NO_INPUT, Conjecture, Outcome, proof_key
from stp.store.store import Store
from stp.syntax.goals import Goal, goals_in
from stp.syntax.lean import cut_conjecture, statement_key
from stp.types import Source, Statement, System

#: Completed proofs of a statement that are tried in a round, at most.
_COMPLETIONS = 8


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A failed proof, and all that it left open."""

    statement: Statement
    proof: str
    goals: list[Goal]


def unfinished(store: Store, prover: Prover, first: int, last: int) -> tuple[list[Unfinished], float]:
    """Failed Lean proofs of these rounds whose only fault are open goals, not their own statement among them,
    of statements that are unproved so far: of the dataset, and goals that were left open before. A proof that
    failed at its end counts as its `forgiving` form.

    A proof of each statement in turn; of one, those with the fewest goals come first, then those sampled most
    often. Also the seconds that checkers took for the forgiving forms; what was checked before comes from the
    result cache, with its goals.
    """
    failed = [(s, text) for s, text in store.failed_proofs(first, last) if s.system is System.LEAN]
    sampled = {(s.key, text): s for s, text in failed}
    relaxed = {(s.key, other): s for s, text in failed if (other := forgiving(text))}
    texts = sampled | relaxed
    jobs = [prover.job(s, text, id=proof_key(key, text), premises=True) for (key, text), s in texts.items()]
    results = {result.id: result for result in prover.pool.check(jobs)}
    found: dict[str, list[Unfinished]] = defaultdict(list)
    for (key, text), statement in texts.items():
        result = results[proof_key(key, text)]
        if leaves_goals(result) and len(result.goals) == 1:
            goals = goals_in(result.goals[0].text)
            if goals and all(goal.whole and _key(goal.signature) != key for goal in goals):
                found[key].append(Unfinished(statement, text, goals))
    for proofs in found.values():
        proofs.sort(key=lambda one: len(one.goals))
    turns = zip_longest(*(found[key] for key in sorted(found)))
    spent = sum(results[proof_key(*text)].elapsed_s for text in relaxed.keys() - sampled.keys())
    return [one for turn in turns for one in turn if one], spent


def salvage(store: Store, prover: Prover, round: int, most: int) -> dict[str, float]:
    """Adds up to `most` goals that the last round's failed proofs left open, and that were not judged before,
    to the round's conjectures: how many, and the checkers' seconds for it."""
    judged = store.goals(round - 1, {*Outcome} - {Outcome.SURPLUS})
    found: dict[str, str] = {}
    left, spent = unfinished(store, prover, round - 1, round - 1)
    for one in left:
        for goal in one.goals:
            if goal.signature not in judged:
                found.setdefault(goal.signature, one.statement.key)
    rows = [
        Conjecture(round, NO_INPUT, at, target, None, None, None, signature)
        for at, (signature, target) in enumerate([*found.items()][:most])
    ]
    store.add_conjectures(rows)
    return {"salvaged": len(rows), "verifier_s": spent}


def lacked(store: Store, round: int, most: int) -> list[Statement]:
    """Goals of earlier rounds to attempt again, up to `most` together with the round's own: each is all that
    some failed proof lacks, those attempted least first. Those that are statements of the dataset are
    attempted anyway."""
    if not (mark := store.stage(round - 1, "complete")):
        return []
    room = max(0, most - sum(row.is_goal for row in store.conjectures(round, Outcome.KEPT)))
    rates = store.pooled_rates(1, round - 1)
    least = sorted(rates.keys() & mark.stats.get("lacked", ()), key=lambda key: (rates[key].attempts, key))
    goals = (s for key in least if (s := store.statement(key)) and s.source is Source.CONJECTURE)
    return [*islice(goals, room)]


def complete(store: Store, prover: Prover, round: int, gates: GateSettings) -> dict[str, Any]:
    """Tries the failed proofs of all earlier rounds again, each goal that they left open closed by a proof of
    it: the shortest found so far, or a tactic of the gate that called it trivial. Goals are completed
    as statements are, and may then complete others. What was tried counts as attempts of this round, which
    cost no tokens. Also the keys of the goals that proofs still lack."""
    trivial = store.goals(round, [Outcome.TRIVIAL])
    left, _ = unfinished(store, prover, 1, round - 1)
    premises = premises_for(one.statement for one in left) if gates.trivial_premises else None
    before = store.tries("complete")
    tried = {proof_key(one.statement, one.proof) for one in before}
    taken = Counter(one.statement for one in before if one.number == round)

    @cache
    def any_of_them(goal: Goal, origin: str | None) -> str:
        near = premises.tactic(goal.signature, gates.trivial_premises, origin) if premises else ""
        return f"by first | {' | '.join(filter(None, [*gates.trivial_tactics, near]))}"

    def proof_of(goal: Goal, origin: str | None, shortest: dict[str, str]) -> str:
        if goal.signature in trivial:
            return any_of_them(goal, origin)
        return shortest.get(_key(goal.signature), "")

    def untried(shortest: dict[str, str]) -> Iterator[tuple[Statement, str]]:
        for one in left:
            closings = [(goal, proof_of(goal, one.statement.origin, shortest)) for goal in one.goals]
            text, key = completed(one.proof, closings), one.statement.key
            if not text or key in shortest or taken[key] >= _COMPLETIONS:
                continue
            if (proof := proof_key(key, text)) not in tried:
                tried.add(proof)
                taken[key] += 1
                yield one.statement, text

    while new := [*untried(shortest := store.shortest_proofs(0, round))]:
        jobs = [prover.job(s, text, id=proof_key(s.key, text), premises=True) for s, text in new]
        results = [*prover.pool.check(jobs)]
        with store.atomic():
            store.add_completions(round, [(s.key, text) for s, text in new])
            store.add_checks((result.id, result) for result in results)
    tallies = store.tallies(round, "complete").values()
    return {
        "tried": sum(t.attempts for t in tallies),
        "completed": sum(t.proved > 0 for t in tallies),
        "lacked": _lacked(left, trivial, {*shortest}),
    }


def _lacked(left: list[Unfinished], trivial: set[str], proved: set[str]) -> list[str]:
    """Keys of the goals that are each all that a failed proof lacks, be it of an unproved statement of the
    dataset or of a goal found so."""
    lacks: dict[str, set[str]] = defaultdict(set)
    for one in left:
        keys = {_key(goal.signature) for goal in one.goals if goal.signature not in trivial} - proved
        if len(keys) == 1:
            lacks[one.statement.key] |= keys
    wanted = [one.statement.key for one in left if one.statement.source is Source.DATASET]
    found: set[str] = set()
    while wanted:
        if (key := wanted.pop()) not in proved:
            wanted += lacks[key] - found
            found |= lacks[key]
    return sorted(found)


def _key(goal: str) -> str:
    """Of the conjecture that a goal's signature became; empty where it is none."""
    signature = cut_conjecture(goal)
    return statement_key(signature) if signature else ""
