"""How many cores the models of this process use."""

from __future__ import annotations

import os


def use_all_cores() -> None:
    """While no checker is busy."""
    _use(_cores())


def share_cores(checkers: int) -> None:
    """Leaves checkers of this machine a core each: a thread of torch that waits for a core slows all."""
    _use(max(1, _cores() - checkers))


def _cores() -> int:
    """Of this process: all, or as many as Ray says to a task."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)


def _use(threads: int) -> None:
    import torch  # not where only checkers run

    torch.set_num_threads(threads)
