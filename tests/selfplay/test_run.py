"""A whole run on real parts, small; killed anywhere it goes on, and ends equal to an undisturbed one."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from stp.files import cache_dir
from stp.store.store import Store
from stp.types import Source

SMALL = """
[verify]
pool = "local"
workers = 1
heartbeats = 20000
[data]
statements = 24
held_out = 8
[conjecture]
inputs = 12
samples_total = 36
keep = 6
[attempt]
samples = 4
probe_samples = 2
[select]
memory_rounds = 1
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


def running(*words: bytes) -> set[str]:
    """Processes of this machine whose command line holds one of the words."""
    pids = {path.name for path in Path("/proc").iterdir() if path.name.isdigit()}
    return {pid for pid in pids if any(word in _cmdline(pid) for word in words)}


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
        conjectures = {s.key for s in store.statements(source=Source.CONJECTURE)}
        probed, attempted = store.attempted(1, "probe"), store.attempted(1, "attempt")
        assert probed == conjectures
        dataset, hard = attempted - conjectures, attempted & conjectures
        samples = 2 * len(probed) + 4 * len(dataset) + 2 * len(hard)
        assert sum(store.verdicts(1).values()) == samples
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
    running_before = running(b"launcher.js")
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
    assert running(b"launcher.js") <= running_before, "a checker outlived its driver"
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


def descendants(pid: int, word: str) -> list[psutil.Process]:
    """Processes below this one whose command line holds the word."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if word in " ".join(process.cmdline()):
                found.append(process)
    return found


def wait_for(child: subprocess.Popen[str], word: str, count: int) -> list[psutil.Process]:
    for _ in range(600):
        assert child.poll() is None, "the run ended before it could be disturbed"
        if len(found := descendants(child.pid, word)) >= count:
            return found
        time.sleep(0.2)
    raise AssertionError(f"no {count} processes of {word}")


_OURS = (b"launcher.js", b"raylet", b"gcs_server", b"ray::")


@contextlib.contextmanager
def ray_run(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A run with a Ray pool and a result cache of its own, so that everything is checked again."""
    cache = folder / "cache"
    cache.mkdir()
    for part in ("toolchains", "lean-core"):
        (cache / part).symlink_to(cache_dir() / part)
    with subprocess.Popen(
        [*command(folder), "--set", "verify.pool=ray"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "STP_CACHE_DIR": str(cache)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in background jobs
    ) as child:
        yield child
        child.kill()


@pytest.mark.lean
@pytest.mark.timeout(900)
def test_ray_workers_and_checkers_may_be_killed(tmp_path: Path, undisturbed: Path) -> None:
    with ray_run(tmp_path) as run:
        [checker] = wait_for(run, "launcher.js", 1)
        checker.kill()  # while it starts
        psutil.wait_procs([checker])
        [checker] = wait_for(run, "launcher.js", 1)
        time.sleep(15)  # until it is ready, or nearly
        checker.kill()
        psutil.wait_procs([checker])
        time.sleep(2)
        [checker] = wait_for(run, "launcher.js", 1)
        checker.parent().kill()  # the Ray worker that owns it
        _, errors = run.communicate(timeout=600)
    assert run.returncode == 0, errors[-2000:]
    with Store(undisturbed / "stp.sqlite", read_only=True) as a, Store(tmp_path / "run/stp.sqlite") as b:
        assert a.differences(b) == []


@pytest.mark.lean
@pytest.mark.timeout(300)
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_leaves_no_process(tmp_path: Path, sent: signal.Signals) -> None:
    before = running(*_OURS)
    with ray_run(tmp_path) as run:
        wait_for(run, "launcher.js", 1)
        run.send_signal(sent)
        _, errors = run.communicate(timeout=60)
    for _ in range(300):  # Ray's own processes notice within a minute that their driver is gone
        if not (left := running(*_OURS) - before):
            break
        time.sleep(0.2)
    assert not left, [_cmdline(pid)[:80] for pid in left]
    if sent == signal.SIGINT:
        assert run.returncode == 130
        assert "stp: stopped; the same command goes on from here" in errors.splitlines()


@contextlib.contextmanager
def disk(folder: Path, size_mb: int) -> Iterator[None]:
    """A file system of that size at the folder."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.lean
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "size_mb", [8, pytest.param(1, marks=pytest.mark.slow), pytest.param(40, marks=pytest.mark.slow)]
)
def test_a_full_disk_costs_one_line_and_no_work(tmp_path: Path, undisturbed: Path, size_mb: int) -> None:
    with disk(tmp_path, size_mb):
        stopped = play(tmp_path)
        assert stopped.returncode == 3, stopped.stderr[-2000:]
        said = [line for line in stopped.stderr.splitlines() if line.startswith("stp: ")]
        assert len(said) == 1, stopped.stderr[-2000:]
        assert "Traceback" not in stopped.stderr
        subprocess.run(["mount", "-o", "remount,size=400m", str(tmp_path)], check=True)
        compare(tmp_path, undisturbed)


@pytest.mark.lean
@pytest.mark.timeout(300)
def test_a_second_process_on_one_run_is_refused(tmp_path: Path) -> None:
    with ray_run(tmp_path) as run:
        wait_for(run, "launcher.js", 1)
        second = play(tmp_path)
        assert run.poll() is None
    assert second.returncode == 3
    assert second.stderr.count("\n") == 1
    assert f"process {run.pid}" in second.stderr


@pytest.mark.slow
@pytest.mark.lean
@pytest.mark.timeout(3600)
def test_killed_twenty_times_a_run_ends_equal(tmp_path: Path, undisturbed: Path) -> None:
    disturb(tmp_path, undisturbed, 20, seed=2)
