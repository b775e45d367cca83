"""Round 0: the statements of the run and the seed corpus."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random

from stp.datasets import lean_core, pool_file
from stp.datasets.corpora import Corpus, corpora
from stp.datasets.seeds import Seed
from stp.errors import UsageError
from stp.settings import DataSettings, Settings
from stp.store.store import Store
from stp.types import CheckResult, Premise, Statement, Verdict
from stp.verify.pool import find_prover

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


def fill(store: Store, settings: Settings) -> dict[str, int]:
    """Puts statements and seed proofs into the store; counts what the run starts from.

    Raises:
        UsageError: no such dataset, or nothing in it to prove.
        ToolchainError: see `require_provers`.
    """
    require_provers(settings)
    chosen = corpora(settings.data.dataset)
    found = [seed for corpus in chosen for seed in corpus.seeds()]
    proved = {seed.statement.key: seed.statement for seed in found}
    pool, held_out = draw(chosen, settings.data, settings.seed)
    with store.atomic():
        store.add_statements(held_out, 0, "test")
        store.add_statements(pool, 0, "train")
        store.add_statements(proved.values(), 0, None)
        store.add_attempts(0, "seed", [(seed.statement.key, seed.proof, 1, 0) for seed in found])
        by_proof = {(seed.statement.key, seed.proof): seed for seed in found}
        store.add_checks([
            (key, _check(by_proof[statement.key, text])) 
            for key, statement, text in store.unchecked(0, "seed")
        ])  # fmt: skip
    return {
        "pool": len(pool),
        "held_out": len(held_out),
        "seed_statements": len(proved),
        "seeds": len(found),
    }


def require_provers(settings: Settings) -> None:
    """Looks for the provers of the run's systems, before anything is trained or sampled.

    Raises:
        UsageError: no such dataset.
        ToolchainError: a prover is absent; says what to do.
    """
    for corpus in corpora(settings.data.dataset):
        find_prover(settings.verify.model_copy(update={"system": corpus.system}))


def draw(chosen: Sequence[Corpus], data: DataSettings, seed: int) -> tuple[list[Statement], list[Statement]]:
    """The statements to conquer (training side, without a seed proof) and the held-out ones, as many of each
    corpus as the settings say.

    Raises:
        UsageError: nothing to prove.
    """
    wanted = set(pool_file.read(Path(data.pool))) if data.pool else None
    pool: list[Statement] = []
    held_out: list[Statement] = []
    for corpus in chosen:
        unproved = [s for s in corpus.unproved() if wanted is None or s.key in wanted]
        if wanted is not None:
            wanted -= {s.key for s in unproved}
        elif not unproved:
            raise UsageError(
                f"data.dataset: {corpus.name} has no statement without a seed proof: nothing to prove"
            )
        rng = Random(f"{seed}/data")
        pool += rng.sample(unproved, min(data.statements or len(unproved), len(unproved)))
        others = corpus.statements("test")
        held_out += rng.sample(others, min(data.held_out or len(others), len(others)))
    if wanted:
        raise UsageError(
            f"data.pool: {data.pool}: {len(wanted)} keys are of no statement of {data.dataset} without a "
            f"seed proof, {min(wanted)!r} among them: make the pool again"
        )
    return sorted(pool, key=_key), sorted(held_out, key=_key)


def _check(seed: Seed) -> CheckResult:
    return CheckResult("", Verdict.PROVED, heartbeats=seed.heartbeats, premises=seed.premises)


def _key(statement: Statement) -> str:
    return statement.key
