"""`make lean` where the native Lean cannot be had: one line that says what to do. (It has never run to its
end here: that takes GitHub.)"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import psutil
import pytest

from stp.verify.lean import toolchain
from stp.verify.lean.process import own_memory_mb

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
        ("exit 1", "exit 0", "lean4:v4.34.0 cannot be fetched"),
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


@pytest.mark.parametrize(
    ("lake", "said"), [("exit 0", ""), ('[ "$2" != Slim ]', "let headers import Mathlib")]
)
def test_only_the_smaller_header_may_fail(tmp_path: Path, lake: str, said: str) -> None:
    tool(tmp_path, "elan", "exit 0")
    tool(tmp_path, "lake", lake)
    done = setup(tmp_path)
    assert done.returncode == 0
    assert said in done.stderr
    assert bool(done.stderr) is bool(said)


def test_the_pins_agree_and_are_new_enough() -> None:
    """Older kernels have known soundness bugs."""
    toolchain = (SETUP.parent / "lean-toolchain").read_text().strip().partition(":v")[2]
    lakefile = tomllib.loads((SETUP.parent / "lakefile.toml").read_text())
    assert lakefile["require"][0]["rev"] == f"v{toolchain}"
    assert tuple(map(int, toolchain.split("."))) >= (4, 34, 0)


def test_a_mapped_file_is_nobody_s_own_memory(tmp_path: Path) -> None:
    """Many workers map one Mathlib."""
    file = tmp_path / "library.olean"
    with file.open("wb") as made:
        made.truncate(200 << 20)
    script = (
        "import mmap, sys\n"
        "with open(sys.argv[1], 'rb') as file:\n"
        "    seen = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)\n"
        "sum(seen[::4096])\n"
        "mine = bytearray(b'x') * (50 << 20)\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout
        child.stdout.readline()
        assert psutil.Process(child.pid).memory_info().rss > 250 << 20
        assert 50 <= own_memory_mb(child.pid) < 120
    finally:
        child.communicate()


def test_what_a_header_imports_is_read_up_to_its_first_command() -> None:
    header = (
        "module -- import No\npublic import Mathlib.Tactic\nimport all Aesop\npublic section\n/- import No -/"
    )
    assert toolchain.roots(header) == {"Mathlib", "Aesop"}
    assert toolchain.roots("open Nat\nimport Late") == toolchain.roots("") == frozenset()
