"""Whole-proof sampling against the checker: the engine of self-play's attempts and of every evaluation.

Generation and checking overlap: while the model writes proofs of the next statements, the workers check
those of the last. What was written is committed before it is checked, what was checked as it comes, so a
kill costs the batch in flight; a proof sampled many times is checked once and counted with multiplicity.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue

from tqdm import tqdm

from stp.models.base import Generator, Sample
from stp.models.prompts import PromptFormat
from stp.search.strategy import written
from stp.settings import ModelSettings, VerifySettings
from stp.store.rows import AttemptStage
from stp.store.store import Store
from stp.types import CheckResult, Job, Statement
from stp.verify.pool import Checkers

#: Samples asked for at once, for each one that the generator writes at a time: the longest hold it up.
_SAMPLES_A_SLOT = 4
#: Batches whose samples may wait for their checks before generation does.
_BATCHES_AHEAD = 4


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
        return Job(
            id, statement.header, statement.text, proof, statement.system, statement.origin,
            self.verify.limits, premises,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Draws:
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
    draws: Draws,
) -> None:
    """Samples proofs of the statements and checks them; goes on where a killed call stopped.

    Afterwards every statement has its attempts of this round and stage in the store, all checked.
    """
    done = store.attempted(round, stage)
    todo = [statement for statement in statements if statement.key not in done]
    at_once = _SAMPLES_A_SLOT * prover.model.batch_size * max(1, prover.model.replicas)
    chunk = max(1, at_once // draws.samples)
    pending = _Pending(store, prover)
    pending.submit(round, stage)
    with tqdm(total=len(todo) * draws.samples, desc=f"round {round} {stage}", unit="proof") as bar:
        tokens = 0
        for first in range(0, len(todo), chunk):
            batch = todo[first : first + chunk]
            sampled = prover.generator.generate(
                [prover.style.prover(statement) for statement in batch],
                n=draws.samples,
                temperature=draws.temperature,
                max_tokens=prover.model.max_proof_tokens,
                seed=draws.seed,
            )
            store.add_attempts(round, stage, _rows(prover.style, batch, sampled, draws.samples))
            pending.submit(round, stage)
            pending.collect()
            # Where checking is slower, generation waits for it.
            while pending.open > _BATCHES_AHEAD * at_once:
                pending.collect(block=True)
            tokens += sum(sample.tokens for samples in sampled for sample in samples)
            bar.update(len(batch) * draws.samples)
            elapsed = bar.format_dict["elapsed"]
            bar.set_postfix({"tokens/s": _whole(tokens / max(elapsed, 1e-3)), "checked": pending.checked})
        bar.set_description(f"round {round} {stage}: last checks")
        while pending.open:
            pending.collect(block=True)
            bar.set_postfix({"to check": pending.open, "checked": pending.checked})


def _whole(rate: float) -> int:
    """A rate without decimals, for a progress bar."""
    return int(rate + 0.5)


def _rows(
    style: PromptFormat, statements: Iterable[Statement], sampled: list[list[Sample]], samples: int
) -> list[tuple[str, str, int, int]]:
    """(statement key, proof, count, tokens)."""
    rows = []
    for statement, texts in zip(statements, sampled, strict=True):
        rows += [
            (statement.key, written(style, sample, statement.text), 1, sample.tokens) for sample in texts
        ]
        if missing := samples - len(texts):  # a prompt that does not fit gets no samples
            rows.append((statement.key, "", missing, 0))
    return rows


class _Pending:
    """Checks under way. Only the thread that owns the store touches it."""

    def __init__(self, store: Store, prover: Prover) -> None:
        self.store, self.prover = store, prover
        self.done: SimpleQueue[tuple[str, Future[CheckResult]]] = SimpleQueue()
        self.submitted: set[str] = set()
        self.checked = 0

    @property
    def open(self) -> int:
        """Checks that were submitted and not collected."""
        return len(self.submitted) - self.checked

    def submit(self, round: int, stage: AttemptStage) -> None:
        for key, statement, text in self.store.unchecked(round, stage):
            if key not in self.submitted:
                self.submitted.add(key)
                job = self.prover.job(statement, text, id=key, premises=stage != "evaluate")
                future = self.prover.pool.submit(job)
                future.add_done_callback(partial(self._put, key))

    def collect(self, *, block: bool = False) -> None:
        """Stores what is checked; with `block` at least one."""
        found = [self.done.get()] if block else []
        while not self.done.empty():
            found.append(self.done.get())
        self.store.add_checks([(key, future.result()) for key, future in found])
        self.checked += len(found)

    def _put(self, key: str, future: Future[CheckResult]) -> None:
        self.done.put((key, future))
