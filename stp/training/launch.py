"""A training in several processes: `train.launch` starts them, this module is what each of them runs."""

from __future__ import annotations

import os
import pickle
import shlex
import subprocess
import sys
import threading
import time
from importlib import resources
from pathlib import Path

import psutil

from stp.errors import MachineryError, StpError, UsageError
from stp.training.fit import Task, fit

_TASK = "task.pickle"
_DRIVER = "STP_DRIVER"


def fit_in_processes(task: Task) -> None:
    """`fit` by the processes that the task's launcher starts; they end with this one.

    Raises:
        UsageError: there is no such launcher.
        MachineryError: one of the processes failed; what it said stands on stderr.
    """
    (task.work / _TASK).write_bytes(pickle.dumps(task))
    command = launcher(task.settings.launch)
    try:
        done = subprocess.run(
            [*command, "-m", "stp.training.launch", str(task.work / _TASK)],
            env={**os.environ, _DRIVER: str(os.getpid())}, stdout=sys.stderr, check=False,
        )  # fmt: skip
    except OSError as error:
        raise UsageError(f"train.launch: cannot start {command[0]!r}: {error.strerror}") from None
    if done.returncode:
        raise MachineryError(
            f"a training process ended with exit code {done.returncode}, its reason stands above; mend that "
            "and run the same command again: it goes on from the last checkpoint"
        )


def launcher(command: str) -> list[str]:
    """The words of `train.launch`; `accelerate` is that of this Python."""
    folder = Path(str(resources.files("stp") / "presets" / "accelerate"))
    words = [word.replace("{accelerate}", str(folder)) for word in shlex.split(command)]
    if words[:2] == ["accelerate", "launch"]:
        words = [sys.executable, "-m", "accelerate.commands.launch", *words[2:]]
    return words


def _end_with(driver: int) -> None:
    """A driver that is killed cannot end its children. (On other machines the launcher does.)"""
    while psutil.pid_exists(driver):
        time.sleep(1)
    os._exit(1)


def main() -> None:
    """Reads the task and does this process's share."""
    driver = int(os.environ.get(_DRIVER, "0"))
    if driver and os.environ.get("GROUP_RANK", "0") == "0":
        threading.Thread(target=_end_with, args=(driver,), daemon=True).start()
    try:
        fit(pickle.loads(Path(sys.argv[1]).read_bytes()))
    except StpError as error:
        print(f"stp: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
