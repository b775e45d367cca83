"""Prove or disprove: a statement of the dataset that is false leaves the pool, its negation proved."""

from __future__ import annotations

from dataclasses import replace

from tqdm import tqdm

from stp.settings import Settings
from stp.store.rows import proof_key
from stp.store.store import Store
from stp.syntax.dialect import DIALECTS
from stp.types import Job, Source
from stp.verify.pool import Checkers


def disprove(store: Store, pool: Checkers, settings: Settings) -> dict[str, int]:
    """Tries small values of each statement of the pool; keeps the negations that hold, with their proofs.

    A negation may speak of natural numbers where the statement speaks of any type: it contradicts it all
    the same, and statements that differ in nothing else have one negation.
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
    results = tqdm(pool.check(jobs), total=len(jobs), desc="disprove", unit="statement")
    found = {result.id: result for result in results if result.proved}
    alike: dict[str, list[Job]] = {}
    for job in jobs:
        if job.id in found:
            alike.setdefault(negations[job.id].key, []).append(job)
    with store.atomic():
        for key, same in alike.items():
            job, parents = same[0], tuple(job.id for job in same)
            store.add_statements([replace(negations[job.id], parents=parents)], 0, None)
            store.add_attempts(0, "seed", [(key, job.proof, 1, 0)])
            store.add_checks([(proof_key(key, job.proof), found[job.id])])
    return {"disproved": len(found)}


def disproved(store: Store) -> set[str]:
    """Keys of the statements that are known to be false."""
    return {key for s in store.statements(source=Source.NEGATION) for key in s.parents}
