"""Strategies: given a statement and what was tried on it, what to try next.

A strategy keeps no state: what it proposes follows from the statement and the tries so far, so a search that
was killed goes on from the tries in its store. The driver is `stp.search.prove`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from stp.models.base import Generator
from stp.models.prompts import PromptFormat
from stp.types import CheckResult, Statement

#: Each strategy's name, and whether it needs a model.
STRATEGIES = {"sample": True, "portfolio": False, "repair": True, "tree": True}


@dataclass(frozen=True, slots=True)
class Draft:
    """A proof to try, and what the model wrote for it."""

    proof: str
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Tried:
    """A proof that was tried, and what the checker said; `number` counts the statement's tries from 1."""

    number: int
    proof: str
    result: CheckResult


@dataclass(slots=True)
class Task:
    """A statement being worked on, and how often; one that looks gets its tries in `tried`, in order."""

    statement: Statement
    tries: int = 0
    tried: list[Tried] = field(default_factory=list)


class Strategy(Protocol):
    """What proposes proofs."""

    @property
    def looks(self) -> bool:
        """Does it look at what was tried?"""
        ...

    def propose(self, tasks: Sequence[Task], most: int) -> list[list[Draft]]:
        """For each task, in their order, up to `most` drafts; none at all: it has nothing left to try.

        All tasks have the same number of tries. What comes depends on the task alone, not on those
        beside it, and never on the clock.
        """
        ...


@dataclass(frozen=True, slots=True)
class Sampling:
    """Whole proofs that a model writes."""

    generator: Generator
    style: PromptFormat
    temperature: float
    max_tokens: int
    seed: int
    looks: bool = False

    def propose(self, tasks: Sequence[Task], most: int) -> list[list[Draft]]:
        """See `Strategy.propose`; a prompt that the model has no room for gets nothing."""
        prompts = [self.style.prover(task.statement.text, task.statement.system) for task in tasks]
        return [
            # An unfinished text is cut anywhere: it counts as an empty proof.
            [Draft(sample.text.strip() if sample.finished else "", sample.tokens) for sample in samples]
            for samples in self.generator.generate(
                prompts,
                n=most,
                temperature=self.temperature,
                max_tokens=self.max_tokens,
                seed=stream(self.seed, tasks[0].tries),
            )
        ]


class Chain:
    """One strategy after the other: the next begins where the one before has nothing left for a statement."""

    def __init__(self, strategies: Sequence[Strategy]) -> None:
        self.strategies = strategies
        self.looks = any(strategy.looks for strategy in strategies)

    def propose(self, tasks: Sequence[Task], most: int) -> list[list[Draft]]:
        """See `Strategy.propose`."""
        found: list[list[Draft]] = [[] for _ in tasks]
        for strategy in self.strategies:
            left = [index for index, drafts in enumerate(found) if not drafts]
            if left:
                for index, drafts in zip(left, strategy.propose([tasks[i] for i in left], most), strict=True):
                    found[index] = drafts
        return found


def stream(seed: int, tries: int) -> int:
    """The seed of one call of the generator: more samples of a prompt need another one."""
    return int(hashlib.sha256(f"{seed}/prove/{tries}".encode()).hexdigest()[:8], 16)


def unlike(proofs: Iterable[str], tried: Iterable[Tried]) -> list[str]:
    """The proofs that were not tried, without repeats."""
    known = {one.proof for one in tried}
    return [proof for proof in dict.fromkeys(proofs) if proof not in known]
