"""How many cores the models of this process use."""

from __future__ import annotations

import os

import torch


def share_cores(checkers: int) -> None:
    """Leaves checkers of this machine a core each: a thread of torch that waits for a core slows all."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - checkers))
