"""The theorems that a header's imports bring, to be searched by words and names of constants."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from stp.errors import UsageError
from stp.verify.lean import toolchain
from stp.verify.lean.process import LeanProcess

_READ_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Found:
    """A theorem: its full name as Lean reads it, and how many universe levels it has."""

    name: str
    levels: int


def ask(
    lean: toolchain.Toolchain,
    imports: str,
    question: str,
    wanted: Callable[[str], bool] = lambda module: True,
) -> Iterator[tuple[str, list[Any]]]:
    """Each wanted module that the imports bring, with the answer to a question on it (`Library.lean`), by a
    Lean of its own.

    Raises:
        UsageError: imports that are not there.
    """
    process = LeanProcess(lean, "Library")
    try:
        process.send({"imports": imports})
        modules = process.receive(time.monotonic() + _READ_TIMEOUT_S)
        if isinstance(modules, dict):
            raise UsageError(f"header: {modules['failed'].partition(' in the search path')[0]}")
        for module in filter(wanted, modules):
            process.send({question: module})
            yield module, process.receive(time.monotonic() + _READ_TIMEOUT_S)
    finally:
        process.kill()


@lru_cache(maxsize=4)
def theorems(kind: toolchain.Kind, imports: str) -> tuple[str, ...]:
    """A line for each theorem: name and what its statement mentions, in small letters; name; universe levels.
    Asks a Lean of its own, for some seconds; the latest few libraries are remembered.

    Raises:
        UsageError: imports that are not there.
    """
    return tuple(
        f"{name.lower()}\t{mentioned.lower()}\t{name}\t{len(levels.split())}"
        for _, found in ask(toolchain.find(kind), imports, "mentions")
        for name, levels, mentioned in found
    )


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
