"""The theorems that a header's imports bring, to be searched by words and names of constants."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache

from stp.errors import UsageError
from stp.verify.lean import toolchain
from stp.verify.lean.process import LeanProcess

_READ_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Found:
    """A theorem: its full name as Lean reads it, and how many universe levels it has."""

    name: str
    levels: int


@lru_cache(maxsize=4)
def theorems(kind: toolchain.Kind, imports: str) -> tuple[str, ...]:
    """A line for each theorem: name and what its statement mentions, in small letters; name; universe levels.
    Asks a Lean of its own, for some seconds; the latest few libraries are remembered.

    Raises:
        UsageError: imports that are not there.
    """
    process = LeanProcess(toolchain.find(kind), "Library")
    try:
        process.send({"imports": imports})
        modules = process.receive(time.monotonic() + _READ_TIMEOUT_S)
        if isinstance(modules, dict):
            raise UsageError(f"header: {modules['failed'].partition(' in the search path')[0]}")
        lines = []
        for module in modules:
            process.send({"mentions": module})
            for name, levels, mentioned in process.receive(time.monotonic() + _READ_TIMEOUT_S):
                lines.append(f"{name.lower()}\t{mentioned.lower()}\t{name}\t{len(levels.split())}")
    finally:
        process.kill()
    return tuple(lines)


def search(lines: tuple[str, ...], query: str, count: int) -> list[Found]:
    """Those in whose name or statement's constants all words of the query occur: in the name first, short
    first."""
    words = query.lower().split()
    found = []
    for line in lines:
        if not all(word in line for word in words):
            continue
        small, mentioned, name, levels = line.split("\t")
        parts = {*small.replace("_", ".").split("."), small}
        ranks = [0 if w in parts else 1 if w in small else 2 if w in mentioned else 9 for w in words]
        if words and max(ranks) < 9:
            found.append((sum(ranks), len(line), Found(name, int(levels))))
    found.sort(key=lambda item: item[:2])
    return [theorem for _, _, theorem in found[:count]]
