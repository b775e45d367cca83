"""The corpora that self-play starts from: statements to prove, held-out ones, seeds, each of one system."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random

from stp.datasets import isabelle_main, registry, seeds
from stp.datasets.decontaminate import OPEN_SPLITS, Copy, HeldOut, held_out
from stp.datasets.seeds import Seed
from stp.errors import UsageError
from stp.settings import DataSettings
from stp.types import Statement, System

Sides = tuple[list[Statement], list[Statement]]


@dataclass(frozen=True, slots=True)
class Corpus:
    """A system's statements and proofs to start from. What a model may train on holds no copy of a held-out
    statement; copies are given too, by key."""

    name: str
    system: System
    sides: Callable[[], Sides]
    """To train on, and held out."""
    proofs: Callable[[], list[Seed]]
    claims: Callable[[], list[tuple[Statement, str]]]
    """Proofs that others published of the training side: those that a run's prover accepts are its seeds, in
    place of `proofs`."""
    held_out: Callable[[], HeldOut]

    def seeds(self) -> tuple[list[Seed], dict[str, Copy]]:
        """Proofs to start from."""
        return self.held_out().clean_proofs(self.proofs())

    def train(self) -> list[Statement]:
        """The statements of the training side."""
        return self.held_out().clean(self.sides()[0])[0]

    def unproved(self, benchmarks: Sequence[str] = ()) -> tuple[list[Statement], dict[str, Copy]]:
        """The training side without what has a seed proof, and the open sides of benchmarks.

        Raises:
            UsageError: no such dataset or benchmark, or it is not here.
        """
        proved = {seed.statement.key for seed in self.proofs()}
        return self.held_out().clean(s for key, s in self.open(benchmarks).items() if key not in proved)

    def open(self, benchmarks: Sequence[str]) -> dict[str, Statement]:
        """The training side and the open sides of benchmarks, by key, nothing left out.

        Raises:
            UsageError: no such dataset or benchmark, or it is not here.
        """
        found = {s.key: s for s in self.sides()[0]}
        for name in benchmarks:
            if name not in registry.entries():
                known = ", ".join(registry.entries())
                raise UsageError(f"data.benchmarks: expected some of {known}, found {name!r}")
            dataset = registry.load(name)
            for problem in dataset.problems:
                if problem.split not in OPEN_SPLITS or problem.name in dataset.entry.bad:
                    continue
                if problem.statement and problem.system is self.system:
                    found.setdefault(problem.statement.key, problem.statement)
        return found


def corpora(data: DataSettings) -> list[Corpus]:
    """The corpora of `data.dataset`, each with the seeds that `data.seed_statements` leaves it.

    Raises:
        UsageError: one is missing, or two are of one system, whose seeds and checkers they would share.
    """
    names = data.dataset
    chosen = names.split("+")
    if "" in chosen or len(set(chosen)) < len(chosen):
        raise UsageError(f"data.dataset: expected names with + between them, each once, found {names!r}")
    found = [_corpus(name, lambda: held_out(names), data.seed_statements) for name in chosen]
    if len({corpus.system for corpus in found}) < len(found):
        raise UsageError(f"data.dataset: expected at most one for each system, found {names!r}")
    return found


def of_few(proofs: Iterable[Seed], statements: int) -> list[Seed]:
    """The proofs of so many statements (0: all), always the same ones: those of fewer are among them."""
    found = list(proofs)
    keys = sorted({seed.statement.key for seed in found})
    Random(0).shuffle(keys)
    few = set(keys[: statements or None])
    return [seed for seed in found if seed.statement.key in few]


def _corpus(name: str, kept: Callable[[], HeldOut], few: int) -> Corpus:
    # The modules' functions are looked up when they are called.
    if name == isabelle_main.NAME:
        sides: Callable[[], Sides] = lambda: (isabelle_main.load("train"), isabelle_main.load("test"))  # noqa: E731
        return Corpus(name, System.ISABELLE, sides, lambda: of_few(isabelle_main.seeds(), few), list, kept)
    return Corpus(
        name, System.LEAN, lambda: registry.sides(name), lambda: of_few(seeds.load(), few),
        lambda: registry.claims(name), kept,
    )  # fmt: skip
