"""What checks are measured against: Lean itself, on the same texts."""

from __future__ import annotations

import time

import pytest

from stp.verify.lean import toolchain
from stp.verify.lean.process import LeanProcess

#: Files, and whether they have errors: what does not hold, nothing, what does not parse.
FILES = {
    "theorem a : 1 = 2 := rfl\n\ntheorem b : 1 = 1 := rfl": True,
    "def two : Nat := 2\n\nnamespace A\nopen Nat\ntheorem c : two = 2 := rfl\nend A": False,
    "theorem d : True := by trivial )\n\ntheorem e : True := trivial": True,
}


@pytest.mark.lean
def test_the_floor_takes_time_and_counts_errors() -> None:
    process = LeanProcess(toolchain.find("embedded"), "Floor")
    for file in FILES:
        process.send(file)
    replies = [process.receive(time.monotonic() + 60) for _ in FILES]
    process.kill()
    assert [reply["errors"] > 0 for reply in replies] == [*FILES.values()]
    assert all(reply["ns"] > 0 for reply in replies)
