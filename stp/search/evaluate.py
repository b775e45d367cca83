"""Held-out evaluation: pass@k of a model, and of fixed tactics with as many checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tqdm import tqdm

from stp.search.portfolio import closing, fixed
from stp.search.premises import premises_for
from stp.search.sample import Draws, Prover, attempt
from stp.store.rows import Evaluation
from stp.store.store import Store
from stp.types import Statement


def evaluate(
    store: Store, prover: Prover, round: int, dataset: str, statements: Sequence[Statement], draws: Draws
) -> list[Evaluation]:
    """Samples, checks and counts; the rows are for the caller to store."""
    attempt(store, prover, round, "evaluate", statements, draws)
    tallies, tokens = store.tallies(round, "evaluate"), store.tokens(round, "evaluate")
    rows = []
    for statement in statements:
        tally = tallies.get(statement.key)
        attempts, proved = (tally.attempts, tally.proved) if tally else (0, 0)
        rows.append(Evaluation(round, dataset, statement.key, attempts, proved, tokens[statement.key]))
    return rows


def evaluate_fixed(
    prover: Prover, round: int, dataset: str, statements: Sequence[Statement], checks: int
) -> list[Evaluation]:
    """What the first `checks` of the system's fixed tactics prove, one try each."""
    tries = {s.key: fixed(s.system)[:checks] for s in statements}
    jobs = [prover.job(s, proof, id=s.key) for s in statements for proof in tries[s.key]]
    results = tqdm(prover.pool.check(jobs), total=len(jobs), desc="fixed tactics", unit="proof")
    proved = Counter(result.id for result in results if result.proved)
    return [
        Evaluation(round, f"{dataset}/fixed", s.key, len(tries[s.key]), proved[s.key], tokens=0)
        for s in statements
    ]


def proved_by_portfolio(prover: Prover, statements: Sequence[Statement]) -> set[str]:
    """Keys of the statements that the portfolio of proof search proves, the cheapest tactics first."""
    premises = premises_for(statements)
    tries = {s.key: closing(s, premises) for s in statements}
    proved: set[str] = set()
    for at in tqdm(range(max(map(len, tries.values()), default=0)), desc="portfolio", unit="tactic"):
        jobs = [
            prover.job(s, proof, id=s.key)
            for s in statements
            if s.key not in proved
            for proof in tries[s.key][at : at + 1]
        ]
        proved |= {result.id for result in prover.pool.check(jobs) if result.proved}
    return proved
