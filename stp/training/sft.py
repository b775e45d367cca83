"""Weighted supervised fine-tuning: the seed model from scratch, a pretrained one's first and each round's
update, one code path.

A training is a pure function of (model folder, examples, settings, seed) with one output folder. It
works in `OUT.work` beside it and renames the finished model into place, so OUT is whole or absent.
Killed anywhere, the same call goes on from the last checkpoint and gives the same weights.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from stp.errors import UsageError
from stp.settings import TrainSettings
from stp.training.examples import Example
from stp.training.fit import REPORT, Task, TrainReport, fit, remove_torn_checkpoints
from stp.training.launch import fit_in_processes

_INPUTS = "inputs"  # in the work folder: what its checkpoints belong to; in the model folder: what made it


def train(
    model_dir: Path,
    out_dir: Path,
    examples: Sequence[Example],
    settings: TrainSettings,
    *,
    prompt_format: str,
    seed: int,
    context_tokens: int = 0,
) -> TrainReport:
    """Trains the model of `model_dir` on `examples` into `out_dir`, with a fresh optimizer.

    Where `out_dir` is already the result of this very training, its report is returned and nothing
    is done. The loss of a step is that of `examples.collate`.

    Raises:
        UsageError: `out_dir` is something else, no example is left to train on, or `model_dir`
            cannot be loaded.
        MachineryError: the loss is not finite; `model_dir` and earlier models are untouched.
    """
    inputs = _digest(model_dir, examples, settings, seed, context_tokens)
    if not out_dir.exists():
        work = _work_folder(out_dir, inputs)
        task = Task(model_dir, work, tuple(examples), settings, prompt_format, context_tokens, seed)
        if settings.launch:
            fit_in_processes(task)
        else:
            fit(task)
        (work / "model" / _INPUTS).write_text(inputs)
        (work / "model").rename(out_dir)
    return _finished(out_dir, inputs)


def _digest(
    model_dir: Path, examples: Sequence[Example], settings: TrainSettings, seed: int, context_tokens: int
) -> str:
    """Names everything that the resulting weights depend on, and not how often to save or how much to compute
    at a time. What was launched in other processes has checkpoints of its own."""
    free = {"save_steps": 1, "tokens_per_pass": 0, "gradient_checkpointing": False}
    digest = hashlib.sha256(repr((settings.model_copy(update=free), seed, context_tokens)).encode())
    for path in sorted(model_dir.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    for example in examples:
        digest.update(repr(example).encode())
    return digest.hexdigest()


def _finished(out_dir: Path, inputs: str) -> TrainReport:
    mark = out_dir / _INPUTS
    if not (mark.is_file() and mark.read_text() == inputs):
        raise UsageError(f"{out_dir}: exists and is not the result of this training: move it away first")
    shutil.rmtree(_work_path(out_dir), ignore_errors=True)  # a kill may have come just before that
    return TrainReport(**json.loads((out_dir / REPORT).read_text()))


def _work_path(out_dir: Path) -> Path:
    return out_dir.with_name(out_dir.name + ".work")


def _work_folder(out_dir: Path, inputs: str) -> Path:
    """The work folder with the checkpoints of this very training; those of another are thrown away."""
    work = _work_path(out_dir)
    mark = work / _INPUTS
    if not (mark.is_file() and mark.read_text() == inputs):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        mark.write_text(inputs)
    shutil.rmtree(work / "model", ignore_errors=True)
    remove_torn_checkpoints(work)
    return work
