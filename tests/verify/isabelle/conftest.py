"""An Isabelle for the tests of this folder: the double, unless a test asks for the real one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stp.verify.isabelle import toolchain
from stp.verify.isabelle.theories import TheoryBatch
from stp.verify.isabelle.toolchain import IsabelleToolchain
from stp.verify.isabelle.worker import IsabelleWorker

DOUBLE = Path(__file__).with_name("double.py")
MakeDouble = Callable[..., IsabelleToolchain]


@pytest.fixture
def make_double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeDouble:
    """Puts the double where ISABELLE_HOME points, with the faults given, and returns its toolchain."""

    def make(session: str = "HOL", allow_tainted_heap: bool = False, **faults: object) -> IsabelleToolchain:
        home = tmp_path / "double"
        (home / "bin").mkdir(parents=True, exist_ok=True)
        (home / "faults.json").write_text(json.dumps(faults))
        heaps = home / "heaps" / "poly"
        heaps.mkdir(parents=True, exist_ok=True)
        for name in ("HOL", "Missing"):
            (heaps / name).write_bytes(b"heap of " + name.encode() + b"SHA1:" + b"0" * 40)
        program = home / "bin" / "isabelle"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {DOUBLE} {home} "$@"\n')
        program.chmod(0o755)
        monkeypatch.setenv("ISABELLE_HOME", str(home))
        return toolchain.find(session, allow_tainted_heap=allow_tainted_heap)

    return make


@pytest.fixture
def worker(make_double: MakeDouble) -> Iterator[IsabelleWorker]:
    """A worker on a double without faults."""
    found = IsabelleWorker(make_double(), 100_000)
    yield found
    found.close()


@pytest.fixture
def pack_sizes(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Of each batch that goes to a server, how many submissions each theory has; grows with the test."""
    seen: list[list[int]] = []

    class Counted(TheoryBatch):
        def theories(self, record: str | None = None) -> dict[str, str]:
            seen.append([len(pack) for pack in self.packs])
            return super().theories(record)

    monkeypatch.setattr("stp.verify.isabelle.worker.TheoryBatch", Counted)
    return seen
