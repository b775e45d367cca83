"""A training on the cluster: in a Ray actor on the node with the most GPUs.

The actor asks Ray for no GPU and uses all of its node, beside the generators there, which have given back
their memory and wait. Where its node is lost, another one goes on from the last checkpoint, which every node
sees. What the training writes to stderr is shown here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from stp.cluster import answer_of, start_ray
from stp.errors import MachineryError
from stp.settings import TrainSettings
from stp.training.examples import Example
from stp.training.fit import TrainReport
from stp.training.sft import train

_LOSSES = 3
_LOOK_S = 1.0


class Trainer:
    """What the actor does."""

    def train(self, log: Path, *arguments: Any, **options: Any) -> TrainReport:
        """`sft.train`, with this process's stderr in a file."""
        import torch

        with log.open("ab") as file:
            os.dup2(file.fileno(), 2)
        torch.set_num_threads(os.cpu_count() or 1)  # Ray counts the cores that were asked for: none
        return train(*arguments, **options)


def train_on_cluster(
    model_dir: Path,
    out_dir: Path,
    examples: Sequence[Example],
    settings: TrainSettings,
    *,
    prompt_format: str,
    seed: int,
    context_tokens: int = 0,
) -> TrainReport:
    """As `sft.train`, which is killed at most with its node and then goes on elsewhere.

    Raises:
        MachineryError: the trainer was lost too often.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    start_ray()
    log = out_dir.absolute().with_name(out_dir.name + ".log")
    lost: set[str] = set()
    for _ in range(_LOSSES + 1):
        log.write_bytes(b"")
        node = _most_gpus(lost)
        actor = ray.remote(
            num_cpus=0, max_restarts=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            runtime_env={"env_vars": {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}},  # hide no GPU from it
        )(Trainer).remote()  # fmt: skip
        try:
            asked = actor.train.remote(
                log, model_dir.absolute(), out_dir.absolute(), tuple(examples), settings,
                prompt_format=prompt_format, seed=seed, context_tokens=context_tokens,
            )  # fmt: skip
            return _followed(asked, log)
        except ray.exceptions.RayActorError:
            lost.add(node["NodeID"])
            where = node["NodeManagerAddress"]
            print(f"stp: the trainer on node {where} was lost: another goes on", file=sys.stderr)
        finally:
            ray.kill(actor)  # what it still holds of its GPUs is the generators'
    raise MachineryError(f"the trainer was lost {_LOSSES + 1} times; what it wrote stands above")


def _most_gpus(lost: set[str]) -> dict[str, Any]:
    """The living node with the most GPUs, this one where none has more; one that has just lost a trainer only
    where there is no other: Ray may not know yet that it is dead."""
    import ray

    here = ray.get_runtime_context().get_node_id()

    def rank(node: dict[str, Any]) -> tuple[bool, float, bool]:
        return node["NodeID"] not in lost, node["Resources"].get("GPU", 0), node["NodeID"] == here

    return max((node for node in ray.nodes() if node["Alive"]), key=rank)


def _followed(asked: Any, log: Path) -> TrainReport:
    """The actor's answer; meanwhile what comes into the log is shown."""
    import ray

    with log.open("rb") as lines:
        while not ray.wait([asked], timeout=_LOOK_S)[0]:
            _show(lines)
        _show(lines)
    log.unlink()
    report: TrainReport = answer_of(asked)
    return report


def _show(lines: BinaryIO) -> None:
    sys.stderr.write(lines.read().decode("utf-8", "replace"))
    sys.stderr.flush()
