"""Round 0: the statements of the run and the seed corpus."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from random import Random
from typing import Any

from tqdm import tqdm

from stp.datasets import lean_core, pool_file
from stp.datasets.corpora import Corpus, corpora, of_few
from stp.datasets.decontaminate import Copy, held_out
from stp.datasets.seeds import Seed
from stp.errors import UsageError
from stp.settings import DataSettings, Settings
from stp.store.store import Store
from stp.types import CheckResult, Job, Premise, Statement, Verdict
from stp.verify.pool import Checkers

#: Library parts that carry proofs of tactics and logic itself: no lemma to conjecture from.
MACHINERY = (
    "Init.Omega", "Init.Grind", "Init.Core", "Init.Prelude", "Init.SimpLemmas", "Init.PropLemmas",
    "Init.Classical", "Init.ByCases", "Init.WF", "Init.Ext", "Init.Meta", "Init.Simproc", "Init.Data.Bool",
    *lean_core.DECISION_PROCEDURES,
)  # fmt: skip
#: The same of Isabelle's theories.
_LOGIC = frozenset(
    """Pure HOL Meson Metis ATP SAT SMT Argo Code_Generator Code_Evaluation Fun_Def Num Numeral_Simprocs
       Semiring_Normalization Groebner_Basis Presburger Set_Interval_Simprocs Simpdata""".split()  # noqa: SIM905
)
#: Outside those parts, what `omega` and `grind` cite for any goal of arithmetic.
_CITED_ANYWHERE = frozenset(
    """Int.add_one_le_of_lt Int.lt_or_gt_of_ne Int.natCast_add Int.natCast_nonneg Int.sub_eq_zero_of_eq
       Int.sub_nonneg_of_le Nat.le_eq Nat.le_of_not_lt Nat.lt_or_gt_of_ne Nat.not_le_eq Nat.succ_eq_add_one
       """.split()  # noqa: SIM905
)


def lemmas(premises: Iterable[Premise]) -> list[Premise]:
    """The premises that say something of the subject, not of logic or of a tactic."""
    return [
        p
        for p in premises
        if p.statement
        and not p.module.startswith(MACHINERY)
        and p.module not in _LOGIC
        and p.name not in _CITED_ANYWHERE
        and not p.name.startswith("Lean.")
        and not p.name.rpartition(".")[2].startswith("inst")
    ]


def own_seeds(corpus: Corpus, pool: Callable[[], Checkers], settings: Settings) -> list[Seed]:
    """The published proofs of a corpus that the run's prover accepts, of as many statements as the settings
    say; the pool starts where there are any."""
    of = {f"{s.key} {proof}": (s, proof) for s, proof in corpus.claims()}
    if not of:
        return []
    jobs = [
        Job(name, s.header, s.text, proof, s.system, s.origin, settings.verify.limits, premises=True)
        for name, (s, proof) in of.items()
    ]
    checked = tqdm(pool().check(jobs), total=len(jobs), desc="published proofs", unit="proof")
    found = sorted((result for result in checked if result.proved), key=lambda result: result.id)
    if not found:
        print(f"{corpus.name}: none of its {len(jobs)} published proofs is accepted", file=sys.stderr)
    accepted = (Seed(*of[result.id], result.heartbeats, result.premises) for result in found)
    return of_few(accepted, settings.data.seed_statements)


def fill(store: Store, settings: Settings, pool: Callable[[], Checkers]) -> dict[str, Any]:
    """Puts statements and seed proofs into the store, copies of held-out ones left out; counts what the run
    starts from.

    Raises:
        UsageError: no such dataset, or nothing in it to prove.
    """
    found: list[Seed] = []
    seed_copies: dict[str, Copy] = {}
    against = held_out(settings.data.dataset)
    for corpus in corpora(settings.data):
        own = own_seeds(corpus, pool, settings)
        kept, copies = against.clean_proofs(own) if own else corpus.seeds()
        found += kept
        seed_copies |= copies
    proved = {seed.statement.key: seed.statement for seed in found}
    unproved, pool_copies = draw(settings.data, settings.seed, proved)
    tests = draw_tests(settings.data, settings.seed)
    with store.atomic():
        store.set_meta("decontaminated", {
            "against": against.sizes, "absent": against.absent,
            "seeds": _by_reason(seed_copies), "pool": _by_reason(pool_copies),
        })  # fmt: skip
        store.add_statements(tests, 0, "test")
        store.add_statements(unproved, 0, "train")
        store.add_statements(proved.values(), 0, None)
        store.add_attempts(0, "seed", [(seed.statement.key, seed.proof, 1, 0) for seed in found])
        by_proof = {(seed.statement.key, seed.proof): seed for seed in found}
        store.add_checks([
            (key, _check(by_proof[statement.key, text])) 
            for key, statement, text in store.unchecked(0, "seed")
        ])  # fmt: skip
    return {
        "pool": len(unproved),
        "held_out": len(tests),
        "seed_statements": len(proved),
        "seeds": len(found),
    }


def draw(
    data: DataSettings, seed: int, proved: Collection[str] = ()
) -> tuple[list[Statement], dict[str, Copy]]:
    """The statements to conquer, as many of each corpus as the settings say, none of the keys `proved` among
    them, and the copies of held-out ones that would have been.

    Raises:
        UsageError: no such dataset, or nothing in it to prove.
    """
    wanted = set(pool_file.read(Path(data.pool))) if data.pool else None
    pool: list[Statement] = []
    left_out: dict[str, Copy] = {}
    for corpus in corpora(data):
        unproved, copies = corpus.unproved(data.benchmarks)
        unproved = [s for s in unproved if s.key not in proved]
        if wanted is not None:
            unproved = [s for s in unproved if s.key in wanted]
            copies = {key: copy for key, copy in copies.items() if key in wanted}
        rng = Random(f"{seed}/data")
        pool += rng.sample(unproved, min(data.statements or len(unproved), len(unproved)))
        left_out |= copies
        if wanted is not None:
            wanted -= {s.key for s in unproved} | copies.keys()
    if wanted:
        raise UsageError(
            f"data.pool: {data.pool}: {len(wanted)} keys are of no statement of "
            f"{', '.join((data.dataset, *data.benchmarks))} without a seed proof, {min(wanted)!r} among "
            "them: name its benchmark in data.benchmarks, or make the pool again"
        )
    if not pool:
        raise UsageError(
            f"{'data.pool' if data.pool else 'data.dataset'}: {data.pool or data.dataset} has no statement "
            "without a seed proof that is no copy of a held-out one: nothing to prove"
        )
    return sorted(pool, key=lambda s: s.key), left_out


def draw_tests(data: DataSettings, seed: int) -> list[Statement]:
    """The held-out statements that the run is evaluated on."""
    drawn: list[Statement] = []
    for corpus in corpora(data):
        tests = corpus.sides()[1]
        size = min(data.held_out or len(tests), len(tests))
        drawn += Random(f"{seed}/held-out").sample(tests, size)
    return sorted(drawn, key=lambda s: s.key)


def _by_reason(copies: dict[str, Copy]) -> dict[str, int]:
    same = sum(copy.same_key for copy in copies.values())
    return {"by_key": same, "by_ngrams": len(copies) - same}


def _check(seed: Seed) -> CheckResult:
    return CheckResult("", Verdict.PROVED, heartbeats=seed.heartbeats, premises=seed.premises)
