"""What no model may train on: copies of held-out statements, by key and by n-grams of tokens.

A key says that two statements say the same up to names. N-grams find more: mirrored, respelled or extended
copies. They are those of a signature's tokens with short names, which are variables mostly, taken out; two
statements resemble each other by the n-grams that both have over those that either has (Broder, 1997). Each
is held to one other at a time: statements of one library share binders, and the n-grams of many of them
together would cover any.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import Protocol, TypeVar

from stp.datasets import isabelle_main, lean_core, registry, seeds
from stp.errors import UsageError
from stp.models.prompts import signature_of
from stp.syntax.lean_tokens import Kind, tokens
from stp.types import Statement, System

N = 5
#: From here on one statement is a copy of the other.
RESEMBLANCE = 0.8
Gram = tuple[str, ...]
#: Sides of a benchmark that a run may train on; all others are held out, of an open corpus `registry.sides`.
OPEN_SPLITS = ("train", "valid")


@dataclass(frozen=True, slots=True)
class Copy:
    """A statement that is another's copy: the same by key, or near to it."""

    name: str
    of: str
    same_key: bool
    resemblance: float


class Index:
    """Statements to find copies of: built once, then a fraction of a millisecond a question."""

    def __init__(self, statements: Iterable[tuple[str, Statement]]) -> None:
        """Of (name, statement) pairs; of equal keys the first stands."""
        self._names: list[str] = []
        self._grams: list[set[Gram]] = []
        self._by_key: dict[str, str] = {}
        self._with_gram: dict[Gram, list[int]] = defaultdict(list)
        for name, statement in statements:
            if statement.key not in self._by_key:
                self._by_key[statement.key] = name
                grams = _grams(statement)
                for gram in grams:
                    self._with_gram[gram].append(len(self._names))
                self._names.append(name)
                self._grams.append(grams)

    def copy(self, statement: Statement) -> Copy | None:
        """Which of them the statement copies, if any: the one that it resembles most."""
        if same := self._by_key.get(statement.key):
            return Copy(statement.name, same, True, 1.0)
        grams = _grams(statement)
        # A copy has all but so few of the n-grams that it has one of any so many: the rarest name few.
        enough = len(grams) - ceil(RESEMBLANCE * len(grams)) + 1
        rarest = sorted(grams, key=lambda gram: len(self._with_gram.get(gram, ())))[:enough]
        likely = {at for gram in rarest for at in self._with_gram.get(gram, ())}
        likeness = ((len(grams & self._grams[at]) / len(grams | self._grams[at]), -at) for at in likely)
        resemblance, at = max(likeness, default=(0.0, 0))
        if resemblance < RESEMBLANCE:
            return None
        return Copy(statement.name, self._names[-at], False, resemblance)

    def copies(self, statements: Iterable[Statement]) -> dict[str, Copy]:
        """The copies among them, by key."""
        return {s.key: found for s in statements if (found := self.copy(s))}


class Proof(Protocol):
    """A statement with a proof, whoever proved it."""

    @property
    def statement(self) -> Statement: ...


P = TypeVar("P", bound=Proof)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Everything held out that this machine has."""

    index: Index
    sizes: dict[str, int]
    """Statements of each benchmark that is here."""
    absent: tuple[str, ...]
    """Benchmarks that are not here, so nothing was held to them."""

    def clean(self, statements: Iterable[Statement]) -> tuple[list[Statement], dict[str, Copy]]:
        """The statements that a model may train on, and the copies left out."""
        given = list(statements)
        copies = self.index.copies(given)
        return [s for s in given if s.key not in copies], copies

    def clean_proofs(self, corpus: Iterable[P]) -> tuple[list[P], dict[str, Copy]]:
        """The proofs whose statements a model may train on, and the copies left out."""
        given = list(corpus)
        copies = self.index.copies({proof.statement.key: proof.statement for proof in given}.values())
        return [proof for proof in given if proof.statement.key not in copies], copies

    def report(self, copies: dict[str, Copy]) -> str:
        """What was left out, as copies of what."""
        same = sum(copy.same_key for copy in copies.values())
        against = ", ".join(f"{name} ({size})" for name, size in self.sizes.items())
        absent = f"; not on this machine: {', '.join(self.absent)}" if self.absent else ""
        return (
            f"left out as copies of {against}: {len(copies)} statements ({same} by key, "
            f"{len(copies) - same} by n-grams){absent}"
        )


@cache
def held_out(dataset: str = registry.LEAN_CORE) -> HeldOut:
    """What is held out of every Lean benchmark that is here, and of one's own corpora in `data.dataset`.

    Raises:
        UsageError: one's own cannot be read.
    """
    held: dict[str, list[Statement]] = {}
    absent = []
    for name, entry in registry.entries().items():
        if entry.system is System.LEAN and registry.is_here(entry):
            problems = [] if entry.open else registry.load(name).problems
            held[name] = [p.statement for p in problems if p.statement and p.split not in OPEN_SPLITS]
        elif entry.system is System.LEAN:
            absent.append(name)
    own = [
        name for name in dataset.split("+") if name != isabelle_main.NAME and name not in registry.entries()
    ]
    for name in [*own, *(name for name in held if registry.entries()[name].open)]:
        held[name] = registry.sides(name)[1]
    index = Index((f"{name}/{s.name}", s) for name, statements in held.items() for s in statements)
    return HeldOut(index, {name: len(statements) for name, statements in held.items()}, tuple(absent))


@cache
def trained_on() -> Index:
    """What the model that comes with STP learnt from: `lean-core`'s training side and the seed corpus."""
    training = [*lean_core.load("train"), *(seed.statement for seed in seeds.load())]
    return Index((s.name, s) for s in training)


def _grams(statement: Statement) -> set[Gram]:
    """N-grams of a signature's tokens; of one shorter than n, all of it."""
    try:
        words = [
            "_" if token.kind is Kind.NAME and len(token.text) <= 2 else token.text
            for token in tokens(signature_of(statement.text))
        ]
    except UsageError:
        return set()
    return {tuple(words[at : at + N]) for at in range(max(1, len(words) - N + 1))}
