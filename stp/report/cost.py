"""What a run needs: GPUs, checkers, hours and gigabytes, from rates that were measured.

Sampling and checking go on at the same time, training after both, so a round lasts
max(sampling, checking) + training. Sampling and training share the GPUs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from stp.report.table import laid_out
from stp.settings import Settings
from stp.store.store import Store

#: STP's published run (arXiv 2502.00212 v4): 48 rounds.
PUBLISHED_PROOFS, PUBLISHED_TOKENS, PUBLISHED_ROUNDS = 241e6, 51.3e9, 48


@dataclass(frozen=True, slots=True)
class Rates:
    """What one device does."""

    tokens_per_s: float
    """Sampled, of one GPU (or of the machine, where it has none)."""
    checks_per_s: float
    """Of one checker."""
    training_tokens_per_s: float
    """Of one GPU."""
    training_frac: float = 0.05
    """Tokens trained on over tokens sampled."""
    distinct_frac: float = 0.8
    """Proofs that differ from every other of their statement: only those are checked."""
    tokens_per_proof: float = PUBLISHED_TOKENS / PUBLISHED_PROOFS
    bytes_per_proof: float = 500.0
    """In the store, its statement and check included (`stp bench scale`)."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What is sampled, checked and kept."""

    name: str
    proofs: float
    tokens: float
    rounds: float


@dataclass(frozen=True, slots=True)
class Cost:
    """What a workload needs on so many GPUs and checkers."""

    workload: Workload
    gpus: int
    workers: int
    sampling_h: float
    checking_h: float
    training_h: float
    store_gb: float
    models_gb: float

    @property
    def hours(self) -> float:
        return max(self.sampling_h, self.checking_h) + self.training_h

    @property
    def bottleneck(self) -> str:
        stages = {"sampling": self.sampling_h, "checking": self.checking_h, "training": self.training_h}
        return max(stages, key=lambda name: stages[name])


def workloads(settings: Settings, rates: Rates, statements: int = 0) -> list[Workload]:
    """STP's published run, one round of it, and one round of these settings, where it is known how many
    statements that is: `statements` where they take all."""
    published = Workload("STP's published run", PUBLISHED_PROOFS, PUBLISHED_TOKENS, PUBLISHED_ROUNDS)
    statements = settings.data.statements or statements
    conjectures = settings.conjecture.keep if settings.conjecture.mode != "off" else 0
    proofs = settings.attempt.samples * (statements + min(conjectures, statements))
    sampled = settings.conjecture.samples_total if conjectures else 0
    own = Workload("one round of these settings", proofs, (proofs + sampled) * rates.tokens_per_proof, 1)
    parts = [replace(published, name="one round of it", proofs=PUBLISHED_PROOFS / PUBLISHED_ROUNDS,
                     tokens=PUBLISHED_TOKENS / PUBLISHED_ROUNDS, rounds=1)]  # fmt: skip
    return [published, *parts, *([own] if statements else [])]


def cost(workload: Workload, rates: Rates, gpus: int, workers: int, model_gb: float) -> Cost:
    """The need of a workload; `workers` 0: as many checkers as keep up with the sampling."""
    sampling_s = workload.tokens / rates.tokens_per_s / gpus
    checks = workload.proofs * rates.distinct_frac
    keeping_up = workers or max(1, ceil(checks / rates.checks_per_s / max(sampling_s, 1e-9)))
    return Cost(
        workload,
        gpus,
        keeping_up,
        sampling_s / 3600,
        checks / rates.checks_per_s / keeping_up / 3600,
        workload.tokens * rates.training_frac / rates.training_tokens_per_s / gpus / 3600,
        workload.proofs * rates.bytes_per_proof / 1e9,
        model_gb * (1 + workload.rounds),
    )


def measured(store: Store, rates: Rates) -> Rates:
    """The rates with what a run shows in their place: its own tokens and checks.

    Tokens a second are those of the attempts' wall clock, in which checking has its share too.
    """
    began = [mark for mark in store.stages() if mark.round]
    marks = [mark for mark in began if mark.finished_at]
    generated, verifier_s = sum(store.generated_tokens().values()), sum(store.verifier_s().values())
    sampling_s = sum(mark.elapsed_s for mark in began if mark.name in ("conjecture", "attempt"))
    trained = sum(mark.stats.get("tokens", 0) for mark in marks if mark.name == "train")
    training_s = sum(mark.elapsed_s for mark in marks if mark.name == "train")
    proofs, distinct, attempt_tokens = store.volume()
    return replace(
        rates,
        tokens_per_s=generated / sampling_s if generated and sampling_s else rates.tokens_per_s,
        checks_per_s=distinct / verifier_s if distinct and verifier_s else rates.checks_per_s,
        training_tokens_per_s=trained / training_s if trained else rates.training_tokens_per_s,
        training_frac=trained / generated if trained and generated else rates.training_frac,
        distinct_frac=distinct / proofs if proofs else rates.distinct_frac,
        tokens_per_proof=attempt_tokens / proofs if proofs else rates.tokens_per_proof,
    )


def table(costs: list[Cost]) -> str:
    """A row a need, a column a workload, and the bottleneck of each."""
    rows: list[list[str]] = [
        ["", *(c.workload.name for c in costs)],
        ["proofs", *(_big(c.workload.proofs) for c in costs)],
        ["tokens", *(_big(c.workload.tokens) for c in costs)],
        ["GPUs", *(str(c.gpus) for c in costs)],
        ["checkers", *(str(c.workers) for c in costs)],
        ["hours sampling", *(f"{c.sampling_h:.3g}" for c in costs)],
        ["hours checking", *(f"{c.checking_h:.3g}" for c in costs)],
        ["hours training", *(f"{c.training_h:.3g}" for c in costs)],
        ["hours in all", *(f"{c.hours:.3g}" for c in costs)],
        ["GPU hours", *(f"{c.hours * c.gpus:.3g}" for c in costs)],
        ["checker hours", *(f"{c.checking_h * c.workers:.3g}" for c in costs)],
        ["GB of store", *(f"{c.store_gb:.3g}" for c in costs)],
        ["GB of models", *(f"{c.models_gb:.3g}" for c in costs)],
        ["bottleneck", *(c.bottleneck for c in costs)],
    ]
    names = max(len(row[0]) for row in rows)
    return "\n".join(laid_out([[row[0].ljust(names), *row[1:]] for row in rows]))


def _big(number: float) -> str:
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f}"
