"""Is a benchmark in the training corpus? By key, and by n-grams of tokens.

A key says that two statements say the same up to names. N-grams find more: rewritten, specialised or extended
copies. They are counted over the tokens of signatures with variable names taken out, so that a renamed copy
is still one; a statement shorter than n tokens is compared as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stp.errors import UsageError
from stp.models.prompts import signature_of
from stp.syntax.lean_tokens import Kind, tokens
from stp.types import Statement

N = 10
#: Share of a statement's n-grams that the corpus holds, from which on it counts as overlapping.
OVERLAP_FRAC = 0.6


@dataclass(frozen=True, slots=True)
class Overlap:
    """A benchmark statement found in the corpus, wholly (`same_key`) or in part."""

    name: str
    same_key: bool
    shared_frac: float
    """Of its n-grams, those that the corpus holds."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Keys and n-grams of training statements."""

    keys: frozenset[str]
    grams: frozenset[tuple[str, ...]]
    n: int = N

    @classmethod
    def of(cls, statements: Iterable[Statement], n: int = N) -> Corpus:
        """The corpus of some statements."""
        chosen = list(statements)
        grams = {gram for statement in chosen for gram in grams_of(statement, n)}
        return cls(frozenset(s.key for s in chosen), frozenset(grams), n)

    def overlaps(self, statements: Iterable[Statement]) -> list[Overlap]:
        """The statements that overlap with it, the worst first."""
        found = []
        for statement in statements:
            grams = grams_of(statement, self.n)
            shared = sum(gram in self.grams for gram in grams) / len(grams) if grams else 0.0
            same = statement.key in self.keys
            if same or shared >= OVERLAP_FRAC:
                found.append(Overlap(statement.name, same, shared))
        return sorted(found, key=lambda one: (not one.same_key, -one.shared_frac, one.name))


def grams_of(statement: Statement, n: int) -> set[tuple[str, ...]]:
    """N-grams of a signature's tokens; short names, which are variables mostly, count as `_`."""
    try:
        words = [
            "_" if token.kind is Kind.NAME and len(token.text) <= 2 else token.text
            for token in tokens(signature_of(statement.text))
        ]
    except UsageError:
        return set()
    if len(words) <= n:
        return {tuple(words)}
    return {tuple(words[at : at + n]) for at in range(len(words) - n + 1)}
