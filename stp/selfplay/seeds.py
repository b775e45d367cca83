"""Round 0: the statements of the run and the seed corpus."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from random import Random

from stp.datasets import lean_core, pool_file, registry, seeds
from stp.datasets.seeds import Seed
from stp.errors import UsageError
from stp.settings import DataSettings, Settings
from stp.store.store import Store
from stp.types import CheckResult, Premise, Statement, Verdict

#: Library parts that carry proofs of tactics and logic itself: no lemma to conjecture from.
MACHINERY = (
    "Init.Omega", "Init.Grind", "Init.Core", "Init.Prelude", "Init.SimpLemmas", "Init.PropLemmas",
    "Init.Classical", "Init.ByCases", "Init.WF", "Init.Ext", "Init.Meta", "Init.Simproc", "Init.Data.Bool",
    *lean_core.DECISION_PROCEDURES,
)  # fmt: skip
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
        and p.name not in _CITED_ANYWHERE
        and not p.name.startswith("Lean.")
        and not p.name.rpartition(".")[2].startswith("inst")
    ]


def fill(store: Store, settings: Settings) -> dict[str, int]:
    """Puts statements and seed proofs into the store; counts what the run starts from."""
    corpus = seeds.load()
    proved = {seed.statement.key: seed.statement for seed in corpus}
    pool, held_out = draw(settings.data, settings.seed, set(proved))
    with store.atomic():
        store.add_statements(held_out, 0, "test")
        store.add_statements(pool, 0, "train")
        store.add_statements(proved.values(), 0, None)
        store.add_attempts(0, "seed", [(seed.statement.key, seed.proof, 1, 0) for seed in corpus])
        by_proof = {(seed.statement.key, seed.proof): seed for seed in corpus}
        store.add_checks([
            (key, _check(by_proof[statement.key, text])) 
            for key, statement, text in store.unchecked(0, "seed")
        ])  # fmt: skip
    return {
        "pool": len(pool),
        "held_out": len(held_out),
        "seed_statements": len(proved),
        "seeds": len(corpus),
    }


def draw(data: DataSettings, seed: int, proved: set[str]) -> tuple[list[Statement], list[Statement]]:
    """The statements to conquer (training side, without a seed proof) and the held-out ones.

    Raises:
        UsageError: no such dataset, or nothing in it to prove.
    """
    train, held_out = registry.sides(data.dataset)
    unproved = [s for s in train if s.key not in proved]
    if data.pool:
        wanted = set(pool_file.read(Path(data.pool)))
        if missing := wanted - {s.key for s in unproved}:
            raise UsageError(
                f"data.pool: {data.pool}: {len(missing)} of {len(wanted)} keys are of no statement of "
                f"{data.dataset} without a seed proof, {min(missing)!r} among them: make the pool again"
            )
        unproved = [s for s in unproved if s.key in wanted]
    if not unproved:
        raise UsageError(
            f"data.dataset: {data.dataset} has no statement without a seed proof: nothing to prove"
        )
    rng = Random(f"{seed}/data")
    pool = sorted(rng.sample(unproved, min(data.statements or len(unproved), len(unproved))), key=_key)
    return pool, sorted(rng.sample(held_out, min(data.held_out or len(held_out), len(held_out))), key=_key)


def _check(seed: Seed) -> CheckResult:
    return CheckResult("", Verdict.PROVED, heartbeats=seed.heartbeats, premises=seed.premises)


def _key(statement: Statement) -> str:
    return statement.key
