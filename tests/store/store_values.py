"""Small values that the tests of the store are made of."""

from __future__ import annotations

from stp.store.rows import Conjecture, proof_key
from stp.store.store import Store
from stp.types import CheckResult, Source, Statement, System, Verdict


def statement(key: str, source: Source = Source.DATASET) -> Statement:
    return Statement(System.LEAN, "", f"name_{key}", f"theorem name_{key} : {key} = {key}", key, source)


def check(verdict: Verdict, **fields: object) -> CheckResult:
    return CheckResult(id="job", verdict=verdict, **fields)  # type: ignore[arg-type]


def attempt(store: Store, round: int, key: str, **counts: int) -> None:
    """Attempts at one statement: `proved=2, rejected=1` is two proofs that hold and one that fails."""
    rows = [(key, f"by {verdict}", count, count) for verdict, count in counts.items()]
    store.add_attempts(round, "attempt", rows)
    store.add_checks((proof_key(key, text), check(Verdict(text[3:]))) for _, text, *_ in rows)


def conjecture(round: int, input: int, sample: int, seed: str = "a", lemma: str | None = None) -> Conjecture:
    """A conjecture sampled beside the proof `by proved` of its seed."""
    return Conjecture(
        round, input, sample, seed, proof_key(seed, "by proved"), lemma, lemma, "theorem t : 1 = 1"
    )
