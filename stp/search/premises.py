"""Library theorems that may help to prove a statement: those that share its rare words.

A theorem scores the squared inverse document frequencies of the words that both have, summed, over the length
of its own vector of such frequencies: the cosine of TF-IDF vectors, but for the statement's length, which
ranks nothing. A word is a name, a part of one, or a sign, of two characters or more.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import cache

from stp.datasets import lean_core
from stp.errors import ToolchainError, UsageError
from stp.syntax.lean import split_theorem
from stp.types import Statement, System
from stp.verify.lean import toolchain

_WORD = re.compile(r"[^\W\d][\w.'!?]*|[^\s\w(){}\[\],:]+")
_PARTS = re.compile(r"[._]")
_SHORTEST_PART = 3
#: Words of a statement that more than one theorem in e has (37 %) are not looked up: they tell nothing apart.
_RARE = 1.0


class Premises:
    """An index of theorems."""

    def __init__(self, theorems: Mapping[str, str]) -> None:
        """From signatures by name."""
        words = {name: _words(signature) for name, signature in theorems.items()}
        counts = Counter(word for found in words.values() for word in found)
        self._frequency = {word: math.log(len(words) / count) for word, count in counts.items()}
        self._with: dict[str, list[str]] = defaultdict(list)
        self._length: dict[str, float] = {}
        for name, found in words.items():
            self._length[name] = math.hypot(*(self._frequency[word] for word in found)) or 1.0
            for word in found:
                self._with[word].append(name)

    def nearest(self, signature: str, most: int, without: str | None = None) -> list[str]:
        """Names of up to `most` theorems, the nearest first, the one named `without` left out."""
        scores: dict[str, float] = defaultdict(float)
        for word in sorted(_words(signature)):
            if (frequency := self._frequency.get(word, 0.0)) >= _RARE:
                for name in self._with[word]:
                    scores[name] += frequency**2 / self._length[name]
        scores.pop(without or "", None)
        return sorted(scores, key=lambda name: (-scores[name], name))[:most]

    def tactic(self, signature: str, most: int, without: str | None = None) -> str:
        """`grind` with the nearest theorems; empty where none is near."""
        names = self.nearest(signature, most, without)
        return f"grind [{', '.join(names)}]" if names else ""

    def proof(self, statement: Statement, most: int) -> str:
        """That tactic as a proof of a Lean statement, without the theorem that it was made from."""
        if statement.system is not System.LEAN:
            return ""
        try:
            signature = split_theorem(statement.text).signature
        except UsageError:
            return ""
        tactic = self.tactic(signature, most, statement.origin)
        return f"by {tactic}" if tactic else ""


def premises_for(statements: Iterable[Statement]) -> Premises | None:
    """The library's theorems that `grind` takes; None where no statement is Lean's, or no Lean is installed.

    Where the library was never read, that is done now, in some 15 seconds.
    """
    return _of_library() if any(s.system is System.LEAN for s in statements) else None


@cache
def _of_library() -> Premises | None:
    try:
        toolchain.find(install_missing=False)
    except ToolchainError:
        return None
    refused = lean_core.without_pattern()
    return Premises({n: t.signature for n, t in lean_core.library().items() if n not in refused})


def _words(signature: str) -> set[str]:
    whole = _WORD.findall(signature)
    parts = (part for word in whole for part in _PARTS.split(word) if len(part) >= _SHORTEST_PART)
    return {word for word in whole if len(word) > 1} | set(parts)
