"""Weighted supervised fine-tuning: the seed model from scratch and each round's update, one code path.

A training is a pure function of (model folder, examples, settings, seed) with one output folder. It
works in `OUT.work` beside it and renames the finished model into place, so OUT is whole or absent.
Killed anywhere, the same call goes on from the last checkpoint and gives the same weights.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
)

from stp.errors import MachineryError, UsageError
from stp.models import hf
from stp.settings import TrainSettings
from stp.training.examples import Batch, Example, collate, encode, plan

# It warns of file systems without reliable times, though checkpoints are ordered well enough by number.
logging.getLogger("transformers.trainer_utils").setLevel(logging.ERROR)

_REPORT = "training.json"  # in the model folder: what `train` returned, and of what
_WHOLE = "whole"  # in a checkpoint: written after everything else in it
_INPUTS = "inputs"  # in the work folder: what its checkpoints belong to
_LITTLE_BYTES = 64 << 20  # of room left where a file could not be written: that was why


@dataclasses.dataclass(frozen=True, slots=True)
class TrainReport:
    """What a training did. `tokens` counts prompts and targets, no padding; `loss` is the mean over
    steps; `seconds` are those of the process that finished it."""

    steps: int
    tokens: int
    loss: float
    seconds: float
    too_long: int
    """Examples left out because they do not fit the model's context."""


def train(
    model_dir: Path,
    out_dir: Path,
    examples: Sequence[Example],
    settings: TrainSettings,
    *,
    prompt_format: str,
    seed: int,
) -> TrainReport:
    """Trains the model of `model_dir` on `examples` into `out_dir`, with a fresh optimizer.

    Where `out_dir` is already the result of this very training, its report is returned and nothing
    is done. The loss of a step is that of `examples.collate`.

    Raises:
        UsageError: `out_dir` is something else, no example is left to train on, or `model_dir`
            cannot be loaded.
        MachineryError: the loss is not finite; `model_dir` and earlier models are untouched.
    """
    inputs = _digest(model_dir, examples, settings, seed)
    if out_dir.exists():
        return _finished(out_dir, inputs)
    model, tokenizer = hf.load(model_dir, prompt_format)
    encoded, too_long = encode(examples, tokenizer, hf.context_tokens(model))
    if not encoded:
        raise UsageError(
            f"{out_dir.name}: no example to train on: of {len(examples)} given, {too_long} do not fit the "
            "model's context and the others weigh 0"
        )
    batches = plan(encoded, settings.epochs, settings.batch_size, seed)
    work = _work_folder(out_dir, inputs)
    started = time.monotonic()
    trainer = _SftTrainer(
        model, batches, settings.prompt_weight, _arguments(work, settings, len(batches), seed)
    )
    with _full_disk_told(work):
        trainer.train(resume_from_checkpoint=_last_whole_checkpoint(work))
        model.save_pretrained(work / "model")
        tokenizer.save_pretrained(work / "model")
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    report = TrainReport(
        steps=len(batches),
        tokens=sum(len(example.ids) for batch in batches for example in batch),
        loss=math.fsum(losses) / len(losses),
        seconds=time.monotonic() - started,
        too_long=too_long,
    )
    (work / "model" / _REPORT).write_text(json.dumps({"inputs": inputs, **dataclasses.asdict(report)}))
    (work / "model").rename(out_dir)
    shutil.rmtree(work)
    return report


@contextlib.contextmanager
def _full_disk_told(work: Path) -> Iterator[None]:
    """Torch and safetensors say that a file could not be written, not that the disk is full."""
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        if shutil.disk_usage(work).free < _LITTLE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(work)) from error
        raise


class _SftTrainer(Trainer):
    """transformers' Trainer over planned batches: its optimizer, schedule and checkpoints, our loss."""

    def __init__(
        self, model: PreTrainedModel, batches: list[Batch], prompt_weight: float, arguments: TrainingArguments
    ) -> None:
        super().__init__(model=model, args=arguments)
        self.batches, self.prompt_weight = batches, prompt_weight
        self.remove_callback(PrinterCallback)  # a dictionary on stdout at every step
        self.add_callback(_Progress(batches))

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The plan in its order, one batch a step."""
        loader = DataLoader(  # type: ignore[var-annotated]
            self.batches,  # type: ignore[arg-type]
            batch_size=1,
            collate_fn=lambda picked: collate(picked[0], self.prompt_weight),
        )
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *_: Any, **__: Any) -> Tensor:
        with self.accelerator.autocast():  # which it wraps around the model's own forward only
            loss = weighted_loss(model, **inputs)
        if not torch.isfinite(loss):
            raise MachineryError(
                f"training stopped at step {self.state.global_step + 1}: the loss is {loss.item()}; "
                "lower train.learning_rate"
            )
        return loss


def weighted_loss(model: nn.Module, input_ids: Tensor, token_weights: Tensor) -> Tensor:
    """Σ token_weights · CE over the tokens that weigh anything (see `examples.collate`).

    Logits are made for those positions only. No attention mask is needed: padding stands on the
    right, where causal attention of a real token never looks, and without a mask the kernel is faster.
    """
    body, head = model.base_model, model.get_output_embeddings()  # type: ignore[operator]
    hidden_BTE = body(input_ids=input_ids[:, :-1], use_cache=False).last_hidden_state  # type: ignore[operator]
    target_BT = token_weights > 0
    logits_NV = head(hidden_BTE[target_BT]).float()
    losses_N = nn.functional.cross_entropy(logits_NV, input_ids[:, 1:][target_BT], reduction="none")
    return (losses_N * token_weights[target_BT]).sum()


class _Progress(TrainerCallback):
    """A bar on stderr with tokens/s, and the mark that tells a whole checkpoint from a torn one."""

    def __init__(self, batches: list[Batch]) -> None:
        self.tokens = [sum(len(example.ids) for example in batch) for batch in batches]
        self.bar: Any = None

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        done = sum(self.tokens[: state.global_step])
        self.bar = tqdm(
            total=sum(self.tokens), initial=done, desc="train", unit="tok", unit_scale=True, delay=2
        )

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        self.bar.update(self.tokens[state.global_step - 1])

    def on_log(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        if "loss" in state.log_history[-1]:
            self.bar.set_postfix(loss=f"{state.log_history[-1]['loss']:.3f}", refresh=False)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: Any, **_: Any) -> None:
        (Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / _WHOLE).touch()

    def on_train_end(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        self.bar.close()


def _arguments(work: Path, settings: TrainSettings, steps: int, seed: int) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(work),
        num_train_epochs=1,  # of the plan, which holds all of ours
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(settings.warmup_frac * steps),
        weight_decay=0.0,
        optim="adamw_torch_fused",
        seed=seed,
        bf16=_bf16_pays(),
        use_cpu=not torch.cuda.is_available(),
        save_steps=settings.save_steps,
        save_total_limit=2,  # the last one may be torn
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


def _bf16_pays() -> bool:
    """Whether matrix products run faster in bf16 here; weights and optimizer keep their precision.

    On two cores with avx512_bf16, seed training went from 3,400 to 4,000 tokens/s.
    """
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _digest(model_dir: Path, examples: Sequence[Example], settings: TrainSettings, seed: int) -> str:
    """Names everything that the resulting weights depend on, and not how often to save."""
    digest = hashlib.sha256(repr((settings.model_copy(update={"save_steps": 1}), seed)).encode())
    for path in sorted(model_dir.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    for example in examples:
        digest.update(repr(example).encode())
    return digest.hexdigest()


def _finished(out_dir: Path, inputs: str) -> TrainReport:
    try:
        found = json.loads((out_dir / _REPORT).read_text())
    except (OSError, ValueError):
        found = {}
    if found.pop("inputs", None) != inputs:
        raise UsageError(f"{out_dir}: exists and is not the result of this training: move it away first")
    shutil.rmtree(_work_path(out_dir), ignore_errors=True)  # a kill may have come just before that
    return TrainReport(**found)


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
    return work


def _last_whole_checkpoint(work: Path) -> str | None:
    """The newest whole checkpoint; torn ones are removed."""
    whole: dict[int, Path] = {}
    for path in work.glob("checkpoint-*"):
        if (path / _WHOLE).is_file():
            whole[int(path.name.partition("-")[2])] = path
        else:
            shutil.rmtree(path)
    return str(whole[max(whole)]) if whole else None
