"""The Ray cluster that a run joins, or the one-machine cluster that it starts."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

from stp.errors import MachineryError, StpError, UsageError

_ANSWER_S = 10.0


def start_ray() -> None:
    """Joins the cluster of RAY_ADDRESS, or starts one here; nothing where that was done before.

    Raises:
        UsageError: no cluster is at RAY_ADDRESS, or it has other versions than this process.
        MachineryError: no node has a core for checkers.
    """
    import ray

    if ray.is_initialized():
        return
    logging.getLogger("ray").setLevel(logging.ERROR)
    address = os.environ.get("RAY_ADDRESS")
    local: dict[str, Any] = {"num_cpus": os.cpu_count(), "object_store_memory": 128 << 20}
    try:
        if address:
            _knock(address)
        ray.init(
            address=address or "local",  # not one that somebody else started here
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if address else local),
        )
    except (OSError, ValueError, RuntimeError) as error:
        ray.shutdown()
        said = " ".join(str(error).split())[:300]
        raise UsageError(
            f"cannot join the Ray cluster at RAY_ADDRESS={address}: {said}; start one with `ray start "
            "--head`, with the Python, Ray and STP of this machine, or unset RAY_ADDRESS"
            if address
            else f"Ray does not start here: {said}"
        ) from None
    if ray.cluster_resources().get("CPU", 0) < 1:
        raise MachineryError(
            "the Ray cluster has no node with a core for checkers: start some with "
            "ray start --address=HEAD:6379"
        )


def _knock(address: str) -> None:
    """Fails at once where nobody answers: Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "://" not in address:
        socket.create_connection((host, int(port)), _ANSWER_S).close()


def answer_of(asked: Any) -> Any:
    """What an actor or task answered; raises the error of ours that it raised."""
    import ray

    try:
        return ray.get(asked)
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, StpError) else error) from None
