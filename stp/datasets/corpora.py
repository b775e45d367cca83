"""The corpora that self-play starts from, one a system: statements to prove, held-out ones, seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from stp.datasets import isabelle_main, lean_core, seeds
from stp.datasets.seeds import Seed
from stp.errors import UsageError
from stp.types import Statement, System


@dataclass(frozen=True, slots=True)
class Corpus:
    """A system's statements by their side of the split, and proofs to start from."""

    name: str
    system: System
    statements: Callable[[Literal["train", "test"]], list[Statement]]
    seeds: Callable[[], list[Seed]]

    def unproved(self) -> list[Statement]:
        """The training side without what has a seed proof."""
        proved = {seed.statement.key for seed in self.seeds()}
        return [s for s in self.statements("train") if s.key not in proved]


# The modules' functions are looked up when they are called.
_CORPORA = {
    corpus.name: corpus
    for corpus in (
        Corpus("lean-core", System.LEAN, lambda side: lean_core.load(side), lambda: seeds.load()),
        Corpus(
            "isabelle-main", System.ISABELLE, lambda side: isabelle_main.load(side),
            lambda: isabelle_main.seeds(),
        ),
    )
}  # fmt: skip


def corpora(names: str) -> list[Corpus]:
    """The corpora of `data.dataset`, several with `+` between them.

    Raises:
        UsageError: there is no such corpus, or one is named twice.
    """
    chosen = names.split("+")
    if not set(chosen) <= _CORPORA.keys() or len(set(chosen)) < len(chosen):
        known = ", ".join(_CORPORA)
        raise UsageError(f"data.dataset: expected {known}, or several with + between them, found {names!r}")
    return [_CORPORA[name] for name in chosen]
