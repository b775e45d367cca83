"""Step 3 and more: what a conjecture must pass before K samples are spent on it.

In this order, each sampled text gets the first outcome that fits: it does not parse, it repeats a
statement of the run, it does not elaborate, small values refute it, a cheap tactic proves it, there are
enough others. Nothing is stored before all are judged; the checks come from the result cache when a killed
stage runs again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from random import Random

from tqdm import tqdm

from stp.models.prompts import statement_of
from stp.settings import Settings
from stp.store.rows import Conjecture, Outcome
from stp.store.store import Store
from stp.syntax.lean import cut_conjecture, make_statement
from stp.syntax.refute import refutation
from stp.types import CheckResult, Job, Limits, Source, Statement, Verdict
from stp.verify.pool import Pool


def gate(store: Store, pool: Pool, round: int, settings: Settings, wanted: int, seed: int) -> dict[str, int]:
    """Judges the round's conjectures, keeps at most `wanted` of them, and counts the outcomes.

    Outcomes and kept statements are written in one transaction, which the caller may widen.
    """
    rows = store.conjectures(round, Outcome.SAMPLED)
    judged, statements = _read(store, rows)
    kept = {key: s for key, (s, _) in statements.items()}
    for outcome, judge in _JUDGES:
        failing = judge(pool, kept, settings)
        judged += [replace(statements[key][1], outcome=outcome) for key in sorted(failing)]
        kept = {key: s for key, s in kept.items() if key not in failing}
    order = sorted(kept)
    Random(seed).shuffle(order)
    judged += [replace(statements[key][1], outcome=Outcome.SURPLUS) for key in order[wanted:]]
    chosen = [kept[key] for key in sorted(order[:wanted])]
    with store.atomic():
        store.add_statements(chosen, round, "train")
        store.set_outcomes([
            *judged,
            *(replace(statements[s.key][1], outcome=Outcome.KEPT, statement=s.key) for s in chosen),
        ])  # fmt: skip
    return dict(Counter(row.outcome.value for row in store.conjectures(round)))


def _read(
    store: Store, rows: list[Conjecture]
) -> tuple[list[Conjecture], dict[str, tuple[Statement, Conjecture]]]:
    """Those that do not parse or repeat something, and the others by key; the first of equals stands."""
    judged: list[Conjecture] = []
    found: list[tuple[Statement, Conjecture]] = []
    for row in rows:
        seed = store.statement(row.seed)
        signature = cut_conjecture(row.text)
        if signature is None or seed is None:
            judged.append(replace(row, outcome=Outcome.UNPARSED))
            continue
        name = f"conjecture_{row.round}_{row.input}_{row.sample}"
        statement = make_statement(
            statement_of(signature, name), seed.header, Source.CONJECTURE, parents=(row.seed,)
        )
        found.append((statement, row))
    known = store.known_keys([statement.key for statement, _ in found])
    fresh: dict[str, tuple[Statement, Conjecture]] = {}
    for statement, row in found:
        if statement.key in known or statement.key in fresh:
            judged.append(replace(row, outcome=Outcome.DUPLICATE))
        else:
            fresh[statement.key] = (statement, row)
    return judged, fresh


def _uncompiled(pool: Pool, statements: dict[str, Statement], settings: Settings) -> set[str]:
    """Keys of those that Lean does not elaborate: a hole for a proof must be all that is missing."""
    jobs = [Job(key, s.header, s.text, "by sorry") for key, s in statements.items()]
    good = {r.id for r in _check(pool, jobs, settings, "compile") if r.verdict is Verdict.INCOMPLETE}
    return statements.keys() - good


def _refuted(pool: Pool, statements: dict[str, Statement], settings: Settings) -> set[str]:
    """Keys of those that fail for small values of their variables: no prover should spend samples on them."""
    jobs = [Job(key, s.header, *refutation(s.text)) for key, s in statements.items()]
    return {result.id for result in _check(pool, jobs, settings, "refuted?") if result.proved}


def _trivial(pool: Pool, statements: dict[str, Statement], settings: Settings) -> set[str]:
    """Keys of those that one of the cheap tactics proves under the small budget."""
    jobs = [
        Job(key, s.header, s.text, f"by {tactic}")
        for key, s in statements.items()
        for tactic in settings.gates.trivial_tactics
    ]
    return {result.id for result in _check(pool, jobs, settings, "trivial?") if result.proved}


def _check(pool: Pool, jobs: list[Job], settings: Settings, what: str) -> Iterable[CheckResult]:
    """The results of jobs under the gates' small budget."""
    limits = Limits(settings.verify.wall_s, settings.gates.heartbeats, settings.verify.memory_mb)
    limited = (replace(job, limits=limits) for job in jobs)
    results: Iterable[CheckResult] = tqdm(
        pool.check(limited), total=len(jobs), desc=f"gate: {what}", unit="check"
    )
    return results


#: In this order: each judges what those before it let through.
_JUDGES = ((Outcome.UNCOMPILED, _uncompiled), (Outcome.REFUTED, _refuted), (Outcome.TRIVIAL, _trivial))
