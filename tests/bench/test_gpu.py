"""`stp bench gpu` with sizes for a CPU: the same code, no claim about speed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stp.bench.gpu import Line, run
from stp.errors import UsageError


def test_without_a_gpu_it_says_so() -> None:
    with pytest.raises(UsageError, match="no GPU"):
        run()


#: Runs in a process of its own, whose modules tell what the measurement needed.
_ALONE = """
import sys
from stp.bench import gpu
from stp.cli import app
from stp.settings import TinySettings
from typer.testing import CliRunner
small = TinySettings(vocabulary=300, hidden=64, layers=2, heads=4, context_tokens=1024)
measure = gpu.run
gpu.run = lambda: measure(gpu.Sizes(sampled=small, trained=small, prompts=2, samples=2, tokens=8, examples=4,
                                    batch=2, tokens_per_pass=2000))
result = CliRunner().invoke(app, ["bench", "gpu"])
print(result.stdout)
assert result.exit_code == 0, result.exception
print("loaded:", *(name for name in ("ray", "stp.verify", "stp.store", "sqlite3") if name in sys.modules))
"""


@pytest.mark.programs
def test_it_prints_and_saves_every_line_and_needs_neither_ray_nor_lean(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ALONE], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    saved = [Line(**line) for line in json.loads((tmp_path / "bench-gpu.json").read_text())]
    assert all(line.value > 0 for line in saved)
    printed = done.stdout.splitlines()
    assert {str(line) for line in saved} <= set(printed)
    words = ("sampling, transformers", "share of that", "training, 0 M parameters", "a round")
    assert all(any(word in line for line in printed) for word in words)
    reached = all(line.must is None or line.value >= line.must for line in saved)
    assert any(line.startswith(f"verdict: {'PASS' if reached else 'FAIL'}") for line in printed)
    assert printed[-1] == "loaded:"


def test_a_line_says_what_it_must_reach() -> None:
    assert str(Line("x", 0.4, "", 0.45)).endswith("FAIL (≥ 0.45)")
    assert str(Line("x", 0.5, "", 0.45)).endswith("PASS (≥ 0.45)")
