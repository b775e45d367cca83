"""`make lean` where the native Lean cannot be had: one line that says what to do. (It has never run to its
end here: that takes GitHub.)"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SETUP = Path(__file__).parents[2] / "lean_project" / "setup.sh"


def setup(tools: Path) -> subprocess.CompletedProcess[str]:
    path = f"{tools}{os.pathsep}/usr/bin{os.pathsep}/bin"
    return subprocess.run(
        [SETUP], env={"PATH": path}, capture_output=True, text=True, check=False, timeout=60
    )


def tool(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_without_elan_it_says_where_to_get_it(tmp_path: Path) -> None:
    done = setup(tmp_path)
    assert done.returncode == 3
    assert "elan is not on PATH" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("elan", "lake", "said"),
    [
        ("exit 1", "exit 0", "lean4:v4.28.0 cannot be fetched"),
        ("exit 0", '[ "$1" = build ]', "Mathlib cannot be fetched"),
        ("exit 0", '[ "$1" = exe ]', "does not build"),
    ],
)
def test_a_step_that_fails_stops_with_its_own_line(tmp_path: Path, elan: str, lake: str, said: str) -> None:
    """Stand-ins for elan and lake, which fail as they do offline."""
    tool(tmp_path, "elan", elan)
    tool(tmp_path, "lake", lake)
    done = setup(tmp_path)
    assert done.returncode == 3
    assert said in done.stderr
    assert done.stderr.rstrip().endswith("then run make lean again")
