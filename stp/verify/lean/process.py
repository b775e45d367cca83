"""One Lean program as a child process: lines of JSON in, framed lines of JSON out.

The child has a process group of its own and dies with the thread that started it, so that nothing is
left behind whoever is killed. Its replies count only behind the frame and this process's secret nonce;
what else it writes is kept, the end of it, to say why it died.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import psutil

from stp.errors import MachineryError, ToolchainError
from stp.verify.child import DiedAtStartError, bounded_without_files
from stp.verify.lean.toolchain import Toolchain

START_TIMEOUT_S = 300.0
_READ_BYTES = 1 << 16
_MAX_REPLY_BYTES = 64 << 20
_DEBUG = "[DEBUG"  # the embedded Lean's own, hundreds of lines


class ProcessDiedError(MachineryError):
    """The child ended, or broke the protocol; `str()` says how."""


class ReplyTimeoutError(MachineryError):
    """No reply before the deadline."""


def own_memory_mb(pid: int) -> int:
    """Resident memory of a process and its children, without the files that they map: all workers of a
    machine share those, and a native Mathlib's are gigabytes."""
    total = 0
    with contextlib.suppress(psutil.Error):
        child = psutil.Process(pid)
        for process in (child, *child.children(recursive=True)):
            memory = process.memory_info()
            total += memory.rss - memory.shared
    return total >> 20


class LeanProcess:
    """A running program of `lean_project`. Not for several threads at once, but for `kill`, which the owner
    calls."""

    def __init__(
        self, toolchain: Toolchain, program: str, begun: Callable[[LeanProcess], None] | None = None
    ) -> None:
        """Starts it and waits until it is ready; `begun` gets it before that, to end it from another thread.

        Raises:
            DiedAtStartError: it ended before it was ready.
            ToolchainError: it says that it cannot work, or nothing within `START_TIMEOUT_S`.
        """
        nonce = secrets.token_hex(16)
        self._frame = f"STP1 {nonce} ".encode()
        self._stray: deque[bytes] = deque(maxlen=20)
        self._stderr: deque[bytes] = deque(maxlen=50)
        self._outgoing = bytearray(nonce.encode() + (b" trusting\n" if toolchain.trusting else b"\n"))
        self._incoming = bytearray()
        self._scanned = 0
        self._pipes, self._ended = threading.Lock(), False
        self._child = subprocess.Popen(
            toolchain.command(program),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=toolchain.project,
            start_new_session=True,
            preexec_fn=bounded_without_files,
            env={key: os.environ[key] for key in ("PATH", "HOME", "ELAN_HOME") if key in os.environ},
        )
        assert self._child.stdin
        assert self._child.stdout
        assert self._child.stderr
        self._in, self._out = self._child.stdin.fileno(), self._child.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        self._inwards, self._both_ways = select.poll(), select.poll()
        self._inwards.register(self._out, select.POLLIN)
        self._both_ways.register(self._out, select.POLLIN)
        self._both_ways.register(self._in, select.POLLOUT)
        threading.Thread(target=self._keep_stderr, daemon=True).start()
        if begun:
            begun(self)
        try:
            ready = self.receive(time.monotonic() + START_TIMEOUT_S)
        except (ProcessDiedError, ReplyTimeoutError) as error:
            self.kill()
            kind = DiedAtStartError if isinstance(error, ProcessDiedError) else ToolchainError
            raise kind(
                f"{program}.lean does not start under the {toolchain.kind} Lean: {error}; run: stp doctor"
            ) from None
        if "ready" not in ready:
            self.kill()
            raise ToolchainError(f"{program}.lean: {ready.get('failed', ready)}; run: stp doctor")
        self.version = str(ready["ready"])

    @property
    def pid(self) -> int:
        return self._child.pid

    def memory_mb(self) -> int:
        """Resident memory of the child and of what it started."""
        return own_memory_mb(self._child.pid)

    def send(self, value: object) -> None:
        """Queues a request; what the pipe does not take at once leaves while `receive` waits, so that neither
        side can block the other.

        Raises:
            ProcessDiedError: the child ended, or said what nests too deep to be said again.
        """
        try:
            self._outgoing += json.dumps(value).encode() + b"\n"
        except RecursionError as error:
            raise ProcessDiedError(f"a request that nests too deep: {error}") from None
        with self._pipes:
            self._must_be_open()
            self._write_some()

    def receive(self, deadline: float) -> Any:
        """The next reply.

        Raises:
            ReplyTimeoutError: none by then (`time.monotonic()`).
            ProcessDiedError: the child ended, or sent what is no reply.
        """
        while True:
            line = self._next_line()
            if line is not None:
                if not line.startswith(self._frame):
                    self._stray.append(line[-500:])
                    if time.monotonic() >= deadline:
                        raise ReplyTimeoutError("no answer in time")
                    continue
                try:
                    return json.loads(line[len(self._frame) :].decode())
                except (ValueError, RecursionError) as error:
                    raise ProcessDiedError(f"unreadable reply: {error}") from None
            if not self._pump(deadline):
                raise ReplyTimeoutError("no answer in time")

    def kill(self) -> None:
        """Ends the child and its group at once. May be called more than once."""
        ended, self._ended = self._ended, True
        if not ended:  # later another group may have its number
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        with self._pipes:  # who waits in `receive` sees the end; a closed pipe would wake nobody
            for pipe in (self._child.stdin, self._child.stdout):
                if pipe:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def _next_line(self) -> bytes | None:
        end = self._incoming.find(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(self._incoming)
            if self._scanned > _MAX_REPLY_BYTES:
                raise ProcessDiedError("a reply without end")
            return None
        line = bytes(self._incoming[:end])
        del self._incoming[: end + 1]
        self._scanned = 0
        return line

    def _pump(self, deadline: float) -> bool:
        """Moves bytes both ways until something came in or the deadline passed (then False)."""
        with self._pipes:
            self._must_be_open()
            while True:
                poll = self._both_ways if self._outgoing else self._inwards
                ready = {pipe for pipe, _ in poll.poll(max(0.0, 1e3 * (deadline - time.monotonic())))}
                if not ready:
                    return False
                if self._in in ready:
                    self._write_some()
                if self._out in ready and self._read_some():
                    return True

    def _must_be_open(self) -> None:
        if self._child.stdout and self._child.stdout.closed:
            raise ProcessDiedError("it was ended")

    def _write_some(self) -> None:
        try:
            sent = os.write(self._in, self._outgoing[:_READ_BYTES])
        except BlockingIOError:
            return
        except BrokenPipeError:
            raise ProcessDiedError(self._last_words()) from None
        del self._outgoing[:sent]

    def _read_some(self) -> bool:
        try:
            chunk = os.read(self._out, _READ_BYTES)
        except BlockingIOError:
            return False
        if not chunk:
            raise ProcessDiedError(self._last_words())
        self._incoming += chunk
        return True

    def _keep_stderr(self) -> None:
        assert self._child.stderr
        with self._child.stderr as pipe:
            while chunk := os.read(pipe.fileno(), _READ_BYTES):
                self._stderr.append(chunk[-2000:])

    def _last_words(self) -> str:
        try:
            code: int | str = self._child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = "running, its pipe closed"
        words = (b"\n".join(self._stray) + b"".join(self._stderr)).decode("utf-8", "replace").splitlines()
        said = "\n".join(line for line in words if line and not line.startswith(_DEBUG))
        return f"it ended ({code}): {said[-500:]}"
