"""A round of STP's own size on made-up numbers: what of this code would hold a large run back.

Vectors, proofs and verdicts are random; the store, the selection and the re-weighting are the real ones.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from tqdm import tqdm

from stp.selfplay.reweight import reweight
from stp.selfplay.select import Attempted, KnownProof, conjecturer_set, prover_set
from stp.settings import SelectSettings
from stp.store.rows import proof_key
from stp.store.store import Store
from stp.types import CheckResult, Source, Statement, System, Verdict

_CONJECTURES, _UNPROVED, _DIMENSIONS = 75_000, 89_000, 1_024
_ATTEMPTS, _SAMPLES, _A_BATCH, _STATEMENTS_A_ROUND = 10_000_000, 16, 32, 62_500
#: Of 16 samples of a statement so many are different texts, as in runs of the tiny model.
_DISTINCT = 10


def measure(attempts: int = _ATTEMPTS) -> dict[str, Any]:
    """Selection of 75,000 conjectures, re-weighting against 89,000 statements, a store of 10 M attempts."""
    return {"selection": selection(), "reweight": reweighting(), "store": store(attempts), **_memory()}


def selection(conjectures: int = _CONJECTURES) -> dict[str, float]:
    """Steps 6 and 8 on so many outcomes."""
    rng = Random(0)
    outcomes = []
    for i in range(conjectures):
        proved = rng.randint(0, _SAMPLES)
        proofs = tuple(
            KnownProof(f"by simp [{i}, {k}]", 1000 * k, frozenset({f"l{i % 999}"})) for k in range(proved)
        )
        outcomes.append(
            Attempted(f"{i:08x}", _SAMPLES, proved, f"theorem t : {i} = {i}", f"l{i % 999}", proofs)
        )
    began = time.monotonic()
    kept, examples = conjecturer_set(outcomes, SelectSettings()), prover_set(outcomes, SelectSettings())
    return {"seconds": time.monotonic() - began, "conjecturer": len(kept), "prover": len(examples)}


def reweighting(
    conjectures: int = _CONJECTURES, unproved: int = _UNPROVED, dimensions: int = _DIMENSIONS
) -> dict[str, float]:
    """Step 7 on random vectors."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((conjectures, dimensions), dtype=np.float32)
    targets = rng.standard_normal((unproved, dimensions), dtype=np.float32)
    began = time.monotonic()
    weights = reweight(vectors, targets, cap=3, seed=0)
    return {"seconds": time.monotonic() - began, "used": int((weights > 0).sum()), **_memory()}


def store(attempts: int) -> dict[str, float]:
    """Ingest in batches as the round makes them, then what the round and the report ask of so many."""
    with TemporaryDirectory() as folder, Store(Path(folder) / "stp.sqlite") as run:
        add_s, check_s, checks = _fill(run, attempts)
        asked: dict[str, Callable[[], object]] = {
            "pooled_rates_s": lambda: run.pooled_rates(1, 999),
            "best_rates_s": lambda: run.best_rates(1, 999),
            "correct_proofs_of_a_round_s": lambda: run.correct_proofs(1, 1),
            "dataset_proofs_s": lambda: run.correct_proofs(0, 999, conjectures=False),
            "generated_tokens_s": run.generated_tokens,
            "barely_provable_s": lambda: run.view("barely_provable"),
        }
        times = {}
        for name, ask in asked.items():
            began = time.monotonic()
            ask()
            times[name] = time.monotonic() - began
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
    return {
        "attempts": attempts, "attempts_per_s": attempts / add_s, "checks_per_s": checks / check_s,
        "both_attempts_per_s": attempts / (add_s + check_s), "bytes_per_attempt": size / attempts, **times,
    }  # fmt: skip


def _fill(run: Store, attempts: int) -> tuple[float, float, int]:
    """Seconds of adding attempts and of adding checks, and how many checks."""
    add_s = check_s = 0.0
    checks = 0
    run.set_meta("band_high", 0.25)
    with tqdm(total=attempts, desc="store", unit="attempt", unit_scale=True) as bar:
        for first in range(0, attempts // _SAMPLES, _A_BATCH):
            round = 1 + first // _STATEMENTS_A_ROUND
            keys = [
                f"{hash((i, 7)) & 0xFFFFFFFFFFFFFFFF:016x}{i:08x}" for i in range(first, first + _A_BATCH)
            ]
            run.add_statements((_statement(key) for key in keys), round, "train")
            rows = [(key, f"by simp [lemma_{key}_{k % _DISTINCT}] <;> omega", 1, 20)
                    for key in keys for k in range(_SAMPLES)]  # fmt: skip
            began = time.monotonic()
            run.add_attempts(round, "attempt", rows)
            add_s += time.monotonic() - began
            results = [
                (proof_key(key, text), CheckResult("", Verdict.PROVED if k % 4 == 0 else Verdict.REJECTED))
                for k, (key, text) in enumerate(dict.fromkeys(row[:2] for row in rows))
            ]
            began = time.monotonic()
            run.add_checks(results)
            check_s += time.monotonic() - began
            checks += len(results)
            bar.update(len(rows))
    return add_s, check_s, checks


def _statement(key: str) -> Statement:
    text = f"theorem t_{key[:8]} (n : Nat) : n + 0 = n"
    return Statement(System.LEAN, "", f"t_{key[:8]}", text, key, Source.CONJECTURE)


def _memory() -> dict[str, float]:
    return {"peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}
