"""One `isabelle server` as a child process, private to its worker.

The child has a private user home (its table of servers, its preferences), a private name and a process
group, and dies with the thread that started it. Its ML process makes itself a session of its own, so the kill
takes the whole tree; under bubblewrap nothing can outlive the child at all, without it the ML process of a
worker that was itself killed ends when its channel to the server closes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import IO, Any

import psutil

from stp.errors import ToolchainError
from stp.verify.child import DiedAtStartError, bounded
from stp.verify.isabelle.toolchain import IsabelleToolchain, isolated

BANNER_TIMEOUT_S = 120.0
_BANNER = re.compile(r'server "([^"]*)" = ([0-9.]+):(\d+) \(password "([^"]*)"\)')
_PREFIX = "stp-isabelle-"
#: A folder's lock may not be held yet for a moment.
_YOUNG_S = 60.0


class Server:
    """A running server: where it listens and its password. The owner calls `kill`, from any thread."""

    def __init__(self, toolchain: IsabelleToolchain) -> None:
        """Starts it and waits for its banner.

        Raises:
            DiedAtStartError: it ended before it printed one.
            ToolchainError: it printed something else, or nothing within `BANNER_TIMEOUT_S`.
        """
        self.folder, self._lock = make_folder()
        self.theories = self.folder / "theories"
        self.theories.mkdir()
        name = f"stp_{uuid.uuid4().hex[:12]}"
        command = [str(toolchain.program), "server", "-n", name]
        self._child = subprocess.Popen(
            isolated(command, toolchain, self.folder, network=True),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=(self.folder / "stderr").open("wb"),
            cwd=self.folder,
            start_new_session=True,
            preexec_fn=bounded,
            env=private_environment(toolchain, self.folder / "home"),
        )
        try:
            self.host, self.port, self.password = self._banner(name)
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    def memory_mb(self) -> int:
        """Resident memory of the server and of all that it started."""
        total = 0
        for process in _tree(self._child):
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
        return total >> 20

    def cpu_s(self) -> float:
        """Processor time that the server and all that it started have used."""
        total = 0.0
        for process in _tree(self._child):
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def kill(self) -> None:
        """Ends the server and all that it started, and removes its folder. May be called more than once."""
        kill_tree(self._child)
        if self._child.stdout:
            self._child.stdout.close()
        self._lock.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def last_words(self) -> str:
        """The end of what it wrote to standard error."""
        with contextlib.suppress(OSError):
            return (self.folder / "stderr").read_text(errors="replace").strip()[-500:]
        return ""

    def _banner(self, name: str) -> tuple[str, int, str]:
        line = self._first_line(time.monotonic() + BANNER_TIMEOUT_S)
        match = _BANNER.search(line)
        if match is None:
            raise ToolchainError(f"isabelle server: expected its address and password, found {line[:200]!r}")
        if match[1] != name:
            raise ToolchainError(f"isabelle server: expected one named {name}, found {match[1]!r}")
        return match[2], int(match[3]), match[4]

    def _first_line(self, deadline: float) -> str:
        assert self._child.stdout
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._child.stdout, selectors.EVENT_READ)
            while b"\n" not in line:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise ToolchainError(f"isabelle server: no answer within {BANNER_TIMEOUT_S:g} s")
                chunk = os.read(self._child.stdout.fileno(), 4096)
                if not chunk:
                    code = self._child.wait()
                    raise DiedAtStartError(
                        f"isabelle server ended ({code}): {self.last_words()}; run: stp doctor"
                    )
                line += chunk
        return line.decode(errors="replace").partition("\n")[0]


def make_folder() -> tuple[Path, IO[str]]:
    """A folder of this process's own, and the lock in it, which is held while the process lives. What
    processes that were killed left is removed."""
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock = (folder / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return folder, lock


def _sweep() -> None:
    """Removes what processes that were killed left: folders whose lock nobody holds."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/lock"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _YOUNG_S:
                with path.open() as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path.parent, ignore_errors=True)


def kill_tree(child: subprocess.Popen[Any]) -> None:
    """Ends a process and all that it started, also what is in a session of its own, and waits for it."""
    tree = _tree(child)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    for process in tree:
        with contextlib.suppress(psutil.Error):
            process.kill()
    child.wait()


def _tree(child: subprocess.Popen[Any]) -> list[psutil.Process]:
    if child.poll() is None:
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(child.pid)
            return [root, *root.children(recursive=True)]
    return []


def private_environment(toolchain: IsabelleToolchain, home: Path) -> dict[str, str]:
    """The environment of a process whose user home is `home`, made here, with the user's heaps in it as
    links: it reads them and writes beside them. No preferences of the user's count there."""
    mine = home / ".isabelle" / toolchain.user_home.name
    mine.mkdir(parents=True, exist_ok=True)
    _link(toolchain.user_home / "heaps", mine / "heaps")
    kept = {key: os.environ[key] for key in ("PATH", "LANG", "ISABELLE_JDK_HOME") if key in os.environ}
    return {**kept, "HOME": str(home), "USER_HOME": str(home), "ISABELLE_HOME_USER": str(mine)}


def _link(source: Path, target: Path) -> None:
    """Folders anew, files as links."""
    if not source.is_dir():
        return
    target.mkdir(exist_ok=True)
    for entry in source.iterdir():
        if entry.is_dir():
            _link(entry, target / entry.name)
        elif not (target / entry.name).exists():
            (target / entry.name).symlink_to(entry)
