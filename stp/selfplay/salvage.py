"""What failed proofs left open, as conjectures: steps towards the statement that they were to prove."""

from __future__ import annotations

from stp.search.sample import Prover
from stp.store.rows import Conjecture
from stp.store.store import Store
from stp.syntax.goal import goal_signature
from stp.types import Verdict

#: The input of all salvaged conjectures: no prompt asked for them.
INPUT = -1


def salvage(store: Store, prover: Prover, round: int, most: int) -> int:
    """Adds up to `most` open goals of the last round's failed proofs of unproved statements to the round's
    conjectures, one a proof, the proofs that were sampled most often first; returns how many.

    The checks were made before: they come from the result cache, with their goals.
    """
    failed = store.failed_proofs(round - 1, 4 * most)
    jobs = [prover.job(s, text, id=key, premises=True) for key, s, text in failed]
    results = {result.id: result for result in prover.pool.check(jobs)}
    found: dict[str, str] = {}
    for key, statement, _ in failed:
        goals = results[key].goals if results[key].verdict is not Verdict.PROVED else ()
        for signature in filter(None, (goal_signature(goal.text) for goal in goals[:1])):
            found.setdefault(signature, statement.key)
    rows = [
        Conjecture(round, INPUT, at, target, None, None, None, signature)
        for at, (signature, target) in enumerate([*found.items()][:most])
    ]
    return store.add_conjectures(rows)
