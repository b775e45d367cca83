"""Strategies: given a statement and what was tried on it, what to try next.

A strategy keeps no state: what it proposes follows from the statement and the tries so far, so a search that
was killed goes on from the tries in its store. The driver is `stp.search.prove`.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from tqdm import tqdm

from stp.errors import ModelServerError
from stp.models.base import Generator, Sample
from stp.models.prompts import Prompt, PromptFormat
from stp.types import CheckResult, Statement

#: Each strategy's name, and whether it needs a model.
STRATEGIES = {"sample": True, "portfolio": False, "repair": True, "tree": True}
#: Tries that the first of two strategies has to itself.
_ALONE = 8


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
    """A statement being worked on, how often it was tried, and what was tried, in order."""

    statement: Statement
    tries: int = 0
    tried: list[Tried] = field(default_factory=list)


class Strategy(Protocol):
    """What proposes proofs."""

    @property
    def looks(self) -> bool:
        """Does it look at more of a try than its proof and verdict? Then a search that goes on asks for it
        again."""
        ...

    def propose(self, tasks: Sequence[Task], most: int) -> list[list[Draft]]:
        """For each task, in their order, up to `most` drafts; none at all: it has nothing left to try.

        All tasks have the same number of tries. What comes depends on the task alone, not on those
        beside it, and never on the clock.
        """
        ...


@dataclass(slots=True)
class Sampling:
    """Whole proofs that a model writes, while its server answers: without it the search goes on with what
    needs no model."""

    generator: Generator | None
    """None once it is lost."""
    style: PromptFormat
    temperature: float
    max_tokens: int
    seed: int
    looks: bool = False
    lost: str = ""
    """Why the model writes nothing more."""

    def write(self, prompts: Sequence[Prompt], n: int, tries: int, who: str = "") -> list[list[Sample]]:
        """`n` samples for each prompt after so many tries; none once the model's server is lost. Two
        strategies that ask for the same prompts must not get the same samples: `who` tells them apart."""
        if self.generator is not None:
            try:
                return self.generator.generate(
                    prompts, n=n, temperature=self.temperature, max_tokens=self.max_tokens,
                    seed=stream(self.seed, tries, who),
                )  # fmt: skip
            except ModelServerError as error:
                self.lose(error)
        return [[] for _ in prompts]

    def lose(self, error: ModelServerError) -> None:
        """From now on the model writes nothing."""
        self.generator, self.lost = None, str(error)
        tqdm.write(f"stp: {error}; the search goes on without the model", file=sys.stderr)

    def close(self) -> None:
        """Ends the model."""
        if self.generator is not None:
            self.generator.close()

    def propose(self, tasks: Sequence[Task], most: int, who: str = "") -> list[list[Draft]]:
        """See `Strategy.propose` and `write`; a prompt that the model has no room for gets nothing."""
        prompts = [self.style.prover(task.statement) for task in tasks]
        return [
            [Draft(written(self.style, sample, task.statement.text), sample.tokens) for sample in samples]
            for task, samples in zip(tasks, self.write(prompts, most, tasks[0].tries, who), strict=True)
        ]


class Turns:
    """Two strategies: the first alone while it is cheap, then half of each visit for either. What one has no
    drafts for is the other's."""

    def __init__(self, first: Strategy, second: Strategy) -> None:
        self.first, self.second = first, second
        self.looks = first.looks or second.looks

    def propose(self, tasks: Sequence[Task], most: int) -> list[list[Draft]]:
        """See `Strategy.propose`. Each strategy is told of as many tries as were its own turns."""
        tries = tasks[0].tries
        shared = max(0, tries - _ALONE)
        firsts = [replace(task, tries=tries - (shared + 1) // 2) for task in tasks]
        seconds = [replace(task, tries=(shared + 1) // 2) for task in tasks]
        found = self.first.propose(firsts, most if tries < _ALONE else most // 2)
        return filled(found, seconds, most, self.second.propose)


def filled(
    found: list[list[Draft]],
    tasks: Sequence[Task],
    most: int,
    propose: Callable[[Sequence[Task], int], list[list[Draft]]],
) -> list[list[Draft]]:
    """The drafts found for each task, and up to `most` with what is proposed for it."""
    for left in {most - len(drafts) for drafts in found} - {0}:
        places = [place for place, drafts in enumerate(found) if most - len(drafts) == left]
        added = propose([tasks[place] for place in places], left)
        for place, drafts in zip(places, added, strict=True):
            found[place] = [*found[place], *drafts]
    return found


def written(style: PromptFormat, sample: Sample, statement: str) -> str:
    """The proof of a statement that a model wrote; an unfinished text is cut anywhere: it is none."""
    return style.proof(sample.text, statement) if sample.finished else ""


def stream(seed: int, tries: int, who: str = "") -> int:
    """The seed of one call of the generator: more samples of a prompt need another one."""
    return int(hashlib.sha256(f"{seed}/prove{who}/{tries}".encode()).hexdigest()[:8], 16)


def unlike(drafts: Iterable[Draft], tried: Iterable[Tried]) -> list[Draft]:
    """The drafts whose proofs were not tried, without repeats."""
    known = {one.proof for one in tried}
    found: dict[str, Draft] = {}
    for draft in drafts:
        if draft.proof not in known:
            found.setdefault(draft.proof, draft)
    return [*found.values()]
