"""What all provers' processes have in common."""

from __future__ import annotations

import ctypes
import resource
import signal

from stp.errors import ToolchainError

#: Starts of one prover, each of them killed from outside, before its worker gives up.
STARTS = 3
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class DiedAtStartError(ToolchainError):
    """The child ended before it was ready: killed, or not able to run here."""


def bounded() -> None:
    """In the child: it dies with the thread that started it, and leaves no core."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def bounded_without_files() -> None:
    """In the child: the same, and it writes no file."""
    bounded()
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
