"""A run's numbers where people watch them: TensorBoard and Weights & Biases, a step a round.

Both get the line of `metrics.jsonl`. It is a stage of the round, and a kill between log and end mark has it
done again to no effect: TensorBoard's file of a round appears whole and once, and Weights & Biases, which is
told the run's id and the step, drops a step that it has.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

from stp.errors import MachineryError, UsageError
from stp.report.report import metrics
from stp.store.store import Store

_FOLDER = "tensorboard"


def check_logs(names: Iterable[str]) -> None:
    """Is there what `report.logs` asks for?

    Raises:
        UsageError: one of them is not installed.
    """
    for name in names:
        if find_spec(name) is None:
            raise UsageError(f"report.logs: {name} is not installed; run: pip install 'stp-prover[logs]'")


def log_round(store: Store, folder: Path, names: Iterable[str], number: int) -> None:
    """Sends the numbers of a round to each of the logs.

    Raises:
        MachineryError: Weights & Biases cannot be reached, or knows no such user.
    """
    line = next((line for line in metrics(store) if line["round"] == number), {})
    numbers = ((name, value) for name, value in line.items() if name != "round")
    values = {name: float(value) for name, value in numbers if isinstance(value, int | float)}
    for name in names:
        (_tensorboard if name == "tensorboard" else _wandb)(store, folder, number, values)


def _tensorboard(store: Store, folder: Path, number: int, values: Mapping[str, float]) -> None:
    """One file of events a round, in `FOLDER/tensorboard`."""
    from torch.utils.tensorboard import SummaryWriter

    target, ending = folder / _FOLDER, f".round-{number}"
    if any(target.glob(f"events.*{ending}")):
        return
    work = target / f"{ending}.work"
    shutil.rmtree(work, ignore_errors=True)
    with SummaryWriter(str(work), filename_suffix=ending) as writer:
        for tag, value in values.items():
            writer.add_scalar(tag, value, number)
    [made] = work.iterdir()
    made.rename(target / made.name)
    work.rmdir()


def _wandb(store: Store, folder: Path, number: int, values: Mapping[str, float]) -> None:
    """WANDB_PROJECT, WANDB_MODE and others are Weights & Biases' own."""
    import wandb

    name = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:12]
    try:
        with wandb.init(
            id=name, name=folder.name, dir=str(folder), config=store.meta("settings"), resume="allow"
        ) as run:
            run.log(dict(values), step=number)
    except wandb.Error as error:
        raise MachineryError(
            f"report.logs: wandb: {str(error).splitlines()[0]}; sign in with `wandb login`, or set "
            "WANDB_MODE=offline, then run the same command again"
        ) from None
