"""A whole run on real parts, small; killed anywhere it goes on, and ends equal to an undisturbed one."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stp.store.store import Store

SMALL = """
[verify]
pool = "local"
workers = 1
heartbeats = 20000
[tiny]
hidden = 64
layers = 2
epochs = 1.0
[data]
statements = 24
held_out = 8
[conjecture]
inputs = 12
samples_total = 36
keep = 6
[attempt]
samples = 4
[evaluate]
samples = 2
"""


def command(folder: Path, rounds: int = 1) -> list[str]:
    config = folder / "small.toml"
    config.write_text(SMALL)
    options = ["--rounds", str(rounds), "--config", str(config), "--run", str(folder / "run")]
    return [sys.executable, "-m", "stp", "selfplay", *options]


def play(folder: Path, rounds: int = 1) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(folder, rounds), capture_output=True, text=True, timeout=900, check=False)


def checkers() -> set[str]:
    return {
        p.name for p in Path("/proc").iterdir() if p.name.isdigit() and b"launcher.js" in _cmdline(p.name)
    }


def _cmdline(pid: str) -> bytes:
    try:
        return Path("/proc", pid, "cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    done = play(folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "run"


@pytest.mark.lean
@pytest.mark.timeout(1800)
def test_a_round_leaves_a_whole_run(undisturbed: Path) -> None:
    with Store(undisturbed / "stp.sqlite", read_only=True) as store:
        finished = {(mark.round, mark.name) for mark in store.stages() if mark.finished_at}
        assert finished == {
            (0, "seeds"), (0, "train"), (0, "evaluate"), (1, "conjecture"), (1, "gate"), (1, "attempt"),
            (1, "select"), (1, "train"), (1, "evaluate"),
        }  # fmt: skip
        assert all(row.outcome.value != "sampled" for row in store.conjectures(1))
        assert sum(store.verdicts(1, "attempt").values()) == 4 * len(store.attempted(1, "attempt"))
    for name in ("report.html", "metrics.jsonl", "settings.json", "models/round-1/model.safetensors"):
        assert (undisturbed / name).is_file(), name
    rows = [json.loads(line) for line in (undisturbed / "metrics.jsonl").read_text().splitlines()]
    assert [row["round"] for row in rows] == [0, 1]


@pytest.mark.lean
def test_the_same_command_again_changes_nothing_and_other_settings_are_refused(undisturbed: Path) -> None:
    with Store(undisturbed / "stp.sqlite", read_only=True) as store:
        before = store.digest()
    again = play(undisturbed.parent)
    assert again.returncode == 0, again.stderr[-2000:]
    with Store(undisturbed / "stp.sqlite", read_only=True) as store:
        assert store.digest() == before
    other = subprocess.run([*command(undisturbed.parent), "--set", "attempt.samples=5"],
                           capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
    assert other.returncode == 2
    assert "attempt.samples" in other.stderr
    assert other.stderr.count("\n") == 1


def disturb(folder: Path, undisturbed: Path, kills: int, seed: int) -> None:
    """Kills the driver so many times, in one run after another; every run must end equal."""
    rng = random.Random(seed)
    running_before = checkers()
    attempt, made = folder / "0", 0
    while made < kills:
        attempt.mkdir(exist_ok=True)
        with subprocess.Popen(
            command(attempt), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as child:
            try:
                child.wait(timeout=rng.uniform(4, 45))
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
                made += 1
        assert child.returncode in (0, -signal.SIGKILL), "the run failed by itself"
        if child.returncode == 0:
            compare(attempt, undisturbed)
            attempt = folder / str(int(attempt.name) + 1)
    time.sleep(1)
    assert checkers() <= running_before, "a checker outlived its driver"
    compare(attempt, undisturbed)


def compare(folder: Path, undisturbed: Path) -> None:
    done = play(folder)
    assert done.returncode == 0, done.stderr[-2000:]
    with Store(undisturbed / "stp.sqlite", read_only=True) as a, Store(folder / "run/stp.sqlite") as b:
        assert a.differences(b) == []


@pytest.mark.lean
@pytest.mark.timeout(1800)
def test_killed_three_times_a_run_ends_equal(tmp_path: Path, undisturbed: Path) -> None:
    disturb(tmp_path, undisturbed, 3, seed=1)


@pytest.mark.slow
@pytest.mark.lean
@pytest.mark.timeout(3600)
def test_killed_twenty_times_a_run_ends_equal(tmp_path: Path, undisturbed: Path) -> None:
    disturb(tmp_path, undisturbed, 20, seed=2)
