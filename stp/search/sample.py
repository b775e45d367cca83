"""Whole-proof sampling against the checker: the engine of self-play's attempts and of every evaluation.

Generation and checking overlap: while the model writes proofs of the next statements, the workers check
those of the last. What was written is committed before it is checked, what was checked as it comes, so a
kill costs the batch in flight; a proof sampled many times is checked once and counted with multiplicity.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass

from tqdm import tqdm

from stp.models.base import Generator, Sample
from stp.models.prompts import PromptFormat
from stp.settings import ModelSettings, VerifySettings
from stp.store.rows import AttemptStage
from stp.store.store import Store
from stp.types import CheckResult, Job, Limits, Statement
from stp.verify.pool import Checkers

_SAMPLES_A_BATCH = 512
#: Samples that may wait for their checks before generation does.
_SAMPLES_AHEAD = 16 * _SAMPLES_A_BATCH


@dataclass(frozen=True, slots=True)
class Prover:
    """What proves: a model that writes, the format it is asked in, workers that check."""

    generator: Generator
    style: PromptFormat
    pool: Checkers
    model: ModelSettings
    verify: VerifySettings

    def job(self, statement: Statement, proof: str, *, id: str, premises: bool = False) -> Job:
        """The check of one proof within the run's limits."""
        verify = self.verify
        limits = Limits(verify.wall_s, verify.heartbeats, verify.memory_mb)
        return Job(
            id, statement.header, statement.text, proof, statement.system, statement.origin, limits, premises
        )


@dataclass(frozen=True, slots=True)
class Budget:
    """Samples for each statement, and how they are drawn."""

    samples: int
    temperature: float
    seed: int


def attempt(
    store: Store,
    prover: Prover,
    round: int,
    stage: AttemptStage,
    statements: Sequence[Statement],
    budget: Budget,
) -> None:
    """Samples proofs of the statements and checks them; goes on where a killed call stopped.

    Afterwards every statement has its attempts of this round and stage in the store, all checked.
    """
    done = store.attempted(round, stage)
    todo = [statement for statement in statements if statement.key not in done]
    chunk = max(1, _SAMPLES_A_BATCH // budget.samples)
    pending = _Pending(store, prover)
    pending.submit(round, stage)
    with tqdm(total=len(todo) * budget.samples, desc=f"round {round} {stage}", unit="proof") as bar:
        tokens = 0
        for first in range(0, len(todo), chunk):
            batch = todo[first : first + chunk]
            sampled = prover.generator.generate(
                [prover.style.prover(s.text, s.system) for s in batch],
                n=budget.samples,
                temperature=budget.temperature,
                max_tokens=prover.model.max_proof_tokens,
                seed=budget.seed,
            )
            store.add_attempts(round, stage, _rows(batch, sampled, budget.samples))
            pending.submit(round, stage)
            pending.collect()
            while len(pending.futures) > _SAMPLES_AHEAD:  # checking is slower: generation waits for it
                pending.collect(block=True)
            tokens += sum(sample.tokens for samples in sampled for sample in samples)
            bar.update(len(batch) * budget.samples)
            elapsed = bar.format_dict["elapsed"]
            bar.set_postfix({"tokens/s": _whole(tokens / max(elapsed, 1e-3)), "checked": pending.checked})
        bar.set_description(f"round {round} {stage}: last checks")
        while pending.futures:
            pending.collect(block=True)
            bar.set_postfix({"to check": len(pending.futures), "checked": pending.checked})


def _whole(rate: float) -> int:
    """A rate without decimals, for a progress bar."""
    return int(rate + 0.5)


def _rows(
    statements: Iterable[Statement], sampled: list[list[Sample]], samples: int
) -> list[tuple[str, str, int, int]]:
    """(statement key, text, count, tokens); an unfinished text counts as an empty proof, cut as it is
    anywhere."""
    rows = []
    for statement, texts in zip(statements, sampled, strict=True):
        rows += [
            (statement.key, sample.text.strip() if sample.finished else "", 1, sample.tokens)
            for sample in texts
        ]
        if missing := samples - len(texts):  # a prompt that does not fit gets no samples
            rows.append((statement.key, "", missing, 0))
    return rows


class _Pending:
    """Checks under way. Only the thread that owns the store touches it."""

    def __init__(self, store: Store, prover: Prover) -> None:
        self.store, self.prover = store, prover
        self.futures: dict[Future[CheckResult], str] = {}
        self.submitted: set[str] = set()
        self.checked = 0

    def submit(self, round: int, stage: AttemptStage) -> None:
        for key, statement, text in self.store.unchecked(round, stage):
            if key not in self.submitted:
                self.submitted.add(key)
                job = self.prover.job(statement, text, id=key, premises=stage != "evaluate")
                self.futures[self.prover.pool.submit(job)] = key

    def collect(self, *, block: bool = False) -> None:
        done, _ = wait(self.futures, timeout=None if block else 0, return_when=FIRST_COMPLETED)
        self.store.add_checks([(self.futures.pop(future), future.result()) for future in done])
        self.checked += len(done)
