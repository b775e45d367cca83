"""Step 3 and more: what a conjecture must pass before K samples are spent on it.

In this order, each sampled text gets the first outcome that fits: it does not parse, it repeats a
statement of the run, it is a copy of something held out, it is bloated, it does not elaborate, its
hypotheses contradict each other, small values refute it, a cheap tactic proves it, the library has it, there
are enough others. `GateSettings` has a switch for each but the first three and that it must elaborate.
Nothing is stored before all are judged; the checks come from the result cache when a killed stage runs again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from random import Random

from tqdm import tqdm

from stp.datasets.corpora import corpora
from stp.datasets.decontaminate import held_out
from stp.errors import UsageError
from stp.models.prompts import signature_of
from stp.search.premises import premises_for
from stp.settings import GateSettings, Settings
from stp.store.rows import Conjecture, Outcome
from stp.store.store import Store
from stp.syntax.dialect import DIALECTS
from stp.syntax.lean import named
from stp.types import CheckResult, Job, Source, Statement
from stp.verify.pool import Checkers


def gate(
    store: Store, pool: Checkers, round: int, settings: Settings, wanted: int, seed: int
) -> dict[str, float]:
    """Judges the round's conjectures, keeps at most `wanted` of them, and counts the outcomes.

    `checks` and `verifier_s` of the result are what that took of the checkers. Outcomes and kept statements
    are written in one transaction.
    """
    rows = store.conjectures(round, Outcome.SAMPLED)
    judged, statements = _read(store, rows, settings)
    kept = {key: s for key, (s, _) in statements.items()}
    checker = _Checker(pool, settings)
    for outcome, judge in _JUDGES:
        failing = judge(checker, kept, settings.gates)
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
    counts = Counter(row.outcome.value for row in store.conjectures(round))
    return {**counts, "checks": checker.checks, "verifier_s": checker.verifier_s}


def _read(
    store: Store, rows: list[Conjecture], settings: Settings
) -> tuple[list[Conjecture], dict[str, tuple[Statement, Conjecture]]]:
    """Those that do not parse, repeat something, copy something held out or are bloated, and the others by
    key; the first of equals stands."""
    began = store.meta("decontaminated") or {"against": {}}
    if lost := began["against"].keys() - held_out(settings.data.dataset).sizes.keys():
        raise UsageError(
            f"the run began by leaving out copies of {', '.join(sorted(lost))}, which this machine does not "
            "have: name their folder with STP_DATA_DIR, or fetch them again (stp data list)"
        )
    judged: list[Conjecture] = []
    found: list[tuple[Statement, Conjecture]] = []
    for row in rows:
        seed = store.statement(row.seed)
        dialect = DIALECTS[seed.system] if seed else None
        signature = dialect.cut_conjecture(row.text) if dialect else None
        if signature is None or seed is None or dialect is None:
            judged.append(replace(row, outcome=Outcome.UNPARSED))
            continue
        name = f"conjecture_{row.round}_{'' if row.is_goal else f'{row.input}_'}{row.sample}"
        statement = dialect.make_statement(
            named(name, signature), seed.header, Source.CONJECTURE, parents=(row.seed,),
            origin=seed.origin if row.is_goal else None,  # what gives a statement away gives its goals away
        )  # fmt: skip
        found.append((statement, row))
    tests = {s.key for corpus in corpora(settings.data) for s in corpus.sides()[1]}
    known = store.known_keys([statement.key for statement, _ in found]) | tests
    index = held_out(settings.data.dataset).index
    fresh: dict[str, tuple[Statement, Conjecture]] = {}
    for statement, row in found:
        if statement.key in known or statement.key in fresh:
            judged.append(replace(row, outcome=Outcome.DUPLICATE))
        elif index.copy(statement):
            judged.append(replace(row, outcome=Outcome.CONTAMINATED))
        elif _bloated(statement, store.statement(row.seed), settings.gates):
            judged.append(replace(row, outcome=Outcome.BLOATED))
        else:
            fresh[statement.key] = (statement, row)
    return judged, fresh


def _bloated(statement: Statement, seed: Statement | None, settings: GateSettings) -> bool:
    """Whether the guards against disjunctions and length hold it back: both are cheap ways to be hard."""
    if 0 <= settings.disjunctions < DIALECTS[statement.system].disjunctions(statement.text):
        return True
    longest = settings.length_ratio * len(signature_of(seed.text)) if seed else 0.0
    return 0 < longest < len(signature_of(statement.text))


class _Checker:
    """Checks under the gates' small budget, and what they took."""

    def __init__(self, pool: Checkers, settings: Settings) -> None:
        self.pool, self.checks, self.verifier_s = pool, 0, 0.0
        self.limits = replace(settings.verify.limits, heartbeats=settings.gates.heartbeats)

    def __call__(self, jobs: list[Job], what: str) -> Iterator[CheckResult]:
        limited = (replace(job, limits=self.limits) for job in jobs)
        for result in tqdm(self.pool.check(limited), total=len(jobs), desc=f"gate: {what}", unit="check"):
            self.checks += 1
            self.verifier_s += result.elapsed_s
            yield result

    def proved(self, jobs: list[Job], what: str) -> set[str]:
        """Ids of the jobs with a proof; several jobs may share an id."""
        return {result.id for result in self(jobs, what) if result.proved}


def _uncompiled(check: _Checker, statements: dict[str, Statement], _: GateSettings) -> set[str]:
    """Keys of those that do not elaborate: a hole for a proof must be all that is missing."""
    dialects = {key: DIALECTS[s.system] for key, s in statements.items()}
    jobs = [_job(s, s.text, dialects[key].hole) for key, s in statements.items()]
    found = check(jobs, "compile")
    return statements.keys() - {r.id for r in found if r.verdict is dialects[r.id].elaborates}


def _vacuous(check: _Checker, statements: dict[str, Statement], settings: GateSettings) -> set[str]:
    """Keys of those whose hypotheses give `False`: whatever they conclude says nothing."""
    jobs = [
        _job(s, absurd, f"by {tactic}")
        for s in statements.values()
        if (absurd := DIALECTS[s.system].contradiction(s.text))
        for tactic in settings.vacuous_tactics
    ]
    return check.proved(jobs, "vacuous?")


def _refuted(check: _Checker, statements: dict[str, Statement], settings: GateSettings) -> set[str]:
    """Keys of those that fail for small values of their variables: no prover should spend samples on them."""
    if not settings.refute:
        return set()
    jobs = [
        _job(s, *refutation)
        for s in statements.values()
        if (refutation := DIALECTS[s.system].refutation(s.text))
    ]
    return check.proved(jobs, "refuted?")


def _trivial(check: _Checker, statements: dict[str, Statement], settings: GateSettings) -> set[str]:
    """Keys of those that one of the cheap tactics proves."""
    jobs = _tries(statements, settings.trivial_tactics)
    if settings.trivial_premises and (premises := premises_for(statements.values())):
        proofs = {key: premises.proof(s, settings.trivial_premises) for key, s in statements.items()}
        jobs += [_job(s, s.text, proofs[key]) for key, s in statements.items() if proofs[key]]
    return check.proved(jobs, "trivial?")


def _known(check: _Checker, statements: dict[str, Statement], settings: GateSettings) -> set[str]:
    """Keys of those that a search of the library proves."""
    return check.proved(_tries(statements, settings.library_tactics), "in the library?")


def _tries(statements: dict[str, Statement], tactics: Iterable[str]) -> list[Job]:
    return [_job(s, s.text, f"by {tactic}") for s in statements.values() for tactic in tactics]


def _job(s: Statement, text: str, proof: str) -> Job:
    """A check of a text made from a statement, by the statement's system and behind its header."""
    return Job(s.key, s.header, text, proof, s.system, s.origin)


#: In this order: each judges what those before it let through.
_JUDGES = (
    (Outcome.UNCOMPILED, _uncompiled),
    (Outcome.VACUOUS, _vacuous),
    (Outcome.REFUTED, _refuted),
    (Outcome.TRIVIAL, _trivial),
    (Outcome.KNOWN, _known),
)
