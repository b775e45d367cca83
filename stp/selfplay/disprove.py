"""Prove or disprove: a statement of the dataset that is false leaves the pool, its negation proved."""

from __future__ import annotations

from dataclasses import replace

from tqdm import tqdm

from stp.settings import Settings
from stp.store.store import Store
from stp.syntax.dialect import DIALECTS
from stp.types import Job, Source
from stp.verify.pool import Checkers


def disprove(store: Store, pool: Checkers, settings: Settings) -> dict[str, int]:
    """Tries small values of each statement of the pool; keeps the negations that hold, with their proofs.

    A negation may speak of natural numbers where the statement speaks of any type: it contradicts it all
    the same.
    """
    limits = replace(settings.verify.limits, heartbeats=settings.gates.heartbeats)
    negations, jobs = {}, []
    for s in store.statements(source=Source.DATASET, split="train"):
        dialect = DIALECTS[s.system]
        if (refutation := dialect.refutation(s.text)) is None:
            continue
        text, proof = refutation
        negations[s.key] = dialect.make_statement(
            text, s.header, Source.NEGATION, f"negation_of_{s.name}", parents=(s.key,)
        )
        jobs.append(Job(s.key, s.header, negations[s.key].text, proof, s.system, limits=limits))
    proofs = {job.id: job.proof for job in jobs}
    results = tqdm(pool.check(jobs), total=len(jobs), desc="disprove", unit="statement")
    found = {result.id: result for result in results if result.proved}
    with store.atomic():
        store.add_statements((negations[key] for key in sorted(found)), 0, None)
        store.add_attempts(0, "seed", [(negations[key].key, proofs[key], 1, 0) for key in sorted(found)])
        checks = {negations[key].key: replace(found[key], id="") for key in found}
        store.add_checks([
            (proof, checks[statement.key])
            for proof, statement, _ in store.unchecked(0, "seed")
            if statement.key in checks
        ])  # fmt: skip
    return {"disproved": len(found)}


def disproved(store: Store) -> set[str]:
    """Keys of the statements that are known to be false."""
    return {key for s in store.statements(source=Source.NEGATION) for key in s.parents}
