"""Round 0: the statements of the run and the seed corpus."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

from stp.datasets import lean_core, pool_file, registry, seeds
from stp.datasets.decontaminate import OPEN_SPLITS, Copy, held_out
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


def fill(store: Store, settings: Settings) -> dict[str, Any]:
    """Puts statements and seed proofs into the store, copies of held-out ones left out; counts what the run
    starts from."""
    everything = seeds.load()
    corpus, seed_copies = held_out().clean_seeds(everything)
    proved = {seed.statement.key: seed.statement for seed in corpus}
    pool, pool_copies = draw(settings.data, settings.seed, {seed.statement.key for seed in everything})
    tests = draw_tests(settings.data, settings.seed)
    with store.atomic():
        store.set_meta("decontaminated", {
            "against": held_out().sizes, "absent": held_out().absent,
            "seeds": _by_reason(seed_copies), "pool": _by_reason(pool_copies),
        })  # fmt: skip
        store.add_statements(tests, 0, "test")
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
        "held_out": len(tests),
        "seed_statements": len(proved),
        "seeds": len(corpus),
    }


def open_statements(data: DataSettings, proved: set[str]) -> tuple[list[Statement], dict[str, Copy]]:
    """The statements that a pool may have: training ones without a seed proof, those of the open sides of
    `data.benchmarks`, and no copies of held-out ones; those are given too, by key.

    Raises:
        UsageError: no such dataset or benchmark, or it is not here.
    """
    found = {s.key: s for s in registry.sides(data.dataset)[0]}
    for name in data.benchmarks:
        if name not in registry.entries():
            known = ", ".join(registry.entries())
            raise UsageError(f"data.benchmarks: expected some of {known}, found {name!r}")
        for problem in registry.load(name).problems:
            if problem.statement and problem.split in OPEN_SPLITS:
                found.setdefault(problem.statement.key, problem.statement)
    return held_out().clean(s for key, s in found.items() if key not in proved)


def draw(data: DataSettings, seed: int, proved: set[str]) -> tuple[list[Statement], dict[str, Copy]]:
    """The statements to conquer, and the copies of held-out ones that would have been among them.

    Raises:
        UsageError: no such dataset, or nothing in it to prove.
    """
    unproved, copies = open_statements(data, proved)
    if data.pool:
        wanted = set(pool_file.read(Path(data.pool)))
        copies = {key: copy for key, copy in copies.items() if key in wanted}
        if missing := wanted - {s.key for s in unproved} - copies.keys():
            raise UsageError(
                f"data.pool: {data.pool}: {len(missing)} of {len(wanted)} keys are of no statement of "
                f"{', '.join((data.dataset, *data.benchmarks))} without a seed proof, {min(missing)!r} among "
                "them: name its benchmark in data.benchmarks, or make the pool again"
            )
        unproved = [s for s in unproved if s.key in wanted]
    if not unproved:
        raise UsageError(
            f"{'data.pool' if data.pool else 'data.dataset'}: {data.pool or data.dataset} has no statement "
            "without a seed proof that is no copy of a held-out one: nothing to prove"
        )
    rng = Random(f"{seed}/data")
    size = min(data.statements or len(unproved), len(unproved))
    return sorted(rng.sample(unproved, size), key=lambda s: s.key), copies


def draw_tests(data: DataSettings, seed: int) -> list[Statement]:
    """The held-out statements that the run is evaluated on."""
    tests = registry.sides(data.dataset)[1]
    size = min(data.held_out or len(tests), len(tests))
    return sorted(Random(f"{seed}/held-out").sample(tests, size), key=lambda s: s.key)


def _by_reason(copies: dict[str, Copy]) -> dict[str, int]:
    same = sum(copy.same_key for copy in copies.values())
    return {"by_key": same, "by_ngrams": len(copies) - same}


def _check(seed: Seed) -> CheckResult:
    return CheckResult("", Verdict.PROVED, heartbeats=seed.heartbeats, premises=seed.premises)
