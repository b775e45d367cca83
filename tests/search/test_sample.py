"""Generation and checking at once: told by what has happened when, never by a clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from stp.models.base import Sample
from stp.models.prompts import Prompt, prompt_format
from stp.search import sample
from stp.search.sample import Draws, Prover, attempt
from stp.settings import ModelSettings, VerifySettings
from stp.store.store import Store
from stp.types import CheckResult, Job, Verdict
from stp.verify.pool import Pool
from tests.theorems import theorem

STATEMENTS = [theorem(f"theorem t : {i} = {i}") for i in range(12)]
#: A slot and four samples a statement: each batch is one statement's.
MODEL = ModelSettings(batch_size=1)
DRAWS = Draws(samples=4, temperature=1.0, seed=0)


@dataclass
class Host:
    """Proves everything, one batch after the other, after `wait`."""

    wait: Callable[[], object] = lambda: None
    checked: int = 0
    entered: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)
    turn: threading.Lock = field(default_factory=threading.Lock)

    def check(self, jobs: Sequence[Job]) -> list[CheckResult]:
        with self.turn:
            self.entered.set()
            self.wait()
            self.checked += len(jobs)
            self.left.set()
            return [CheckResult(job.id, Verdict.PROVED) for job in jobs]

    def close(self) -> None: ...


@dataclass
class Writer:
    """Writes four different texts a prompt; `before` is called with how many prompts it had."""

    before: Callable[[int], object]
    prompts: int = 0

    def generate(self, prompts: Sequence[Prompt], **_: Any) -> list[list[Sample]]:
        self.before(self.prompts)
        self.prompts += len(prompts)
        return [[Sample(f"by simp {i}", 3, True) for i in range(4)] for _ in prompts]


def play(writer: Writer, host: Host) -> None:
    with Store() as store, Pool([lambda: host], "digest", None) as pool:
        store.add_statements(STATEMENTS, 0, "train")
        prover = Prover(writer, prompt_format("tiny"), pool, MODEL, VerifySettings())  # type: ignore[arg-type]
        attempt(store, prover, 1, "attempt", STATEMENTS, DRAWS)
        assert store.verdicts(1) == {Verdict.PROVED: 4 * len(STATEMENTS)}


def test_the_first_proofs_are_checked_while_the_next_are_written() -> None:
    writing = threading.Event()

    def while_writing() -> None:
        assert writing.wait(30), "nothing more is written before a check ends"

    host = Host(while_writing)

    def before(written: int) -> None:
        if written == 1:
            assert host.entered.wait(30), "a check has begun before the second batch is written"
            writing.set()
            assert host.left.wait(30), "and ends meanwhile"

    play(Writer(before), host)


@pytest.mark.parametrize("ahead", [1, 3])
def test_writing_waits_for_slow_checks(monkeypatch: pytest.MonkeyPatch, ahead: int) -> None:
    monkeypatch.setattr(sample, "_BATCHES_AHEAD", ahead)
    host = Host(lambda: time.sleep(0.005))
    waiting: list[int] = []
    play(Writer(lambda written: waiting.append(4 * written - host.checked)), host)
    assert 0 < max(waiting) <= 4 * ahead
