"""One training, in this process or in several that a launcher started: the model, the loss, the loop.

Every process plans the same steps and computes its share of each, so a step is the same sum of losses
however many there are. transformers' Trainer brings the optimizer, the schedule, mixed precision, sharding
(as the launcher's settings say) and the checkpoints.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
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
from stp.models.codec import precision
from stp.settings import TrainSettings
from stp.training.examples import Batch, Example, encode, plan, step_tensors

# It warns of file systems without reliable times, though checkpoints are ordered well enough by number.
logging.getLogger("transformers.trainer_utils").setLevel(logging.ERROR)

REPORT = "training.json"  # in the model folder: what the training did
_WHOLE = "whole"  # in a checkpoint: written after everything else in it
_LITTLE_BYTES = 64 << 20  # of room left where a file could not be written: that was why
_LORA_ALPHA_PER_RANK = 2
_ATTENTION_AND_MLP = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


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
    processes: int = 1
    """Those that shared the work, on all machines."""


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """A training to do in the folder `work`; the finished model lands in `work/model`."""

    model_dir: Path
    work: Path
    examples: tuple[Example, ...]
    settings: TrainSettings
    prompt_format: str
    context_tokens: int
    seed: int


def fit(task: Task) -> None:
    """Trains, going on from the last whole checkpoint in the work folder.

    Raises:
        UsageError: no example is left to train on, or the model cannot be loaded.
        MachineryError: the loss is not finite.
    """
    settings = task.settings
    # Whole weights are kept in 32 bits while they train: 16 would round small steps away.
    model, tokenizer = hf.load(
        task.model_dir, task.prompt_format, attention=settings.attention, place=False,
        dtype="auto" if settings.lora_rank else "float32",
    )  # fmt: skip
    context = min(task.context_tokens or hf.context_tokens(model), hf.context_tokens(model))
    encoded, too_long = encode(task.examples, tokenizer, context)
    if not encoded:
        raise UsageError(
            f"{task.work.stem}: no example to train on: of {len(task.examples)} given, {too_long} do not fit "
            "the model's context and the others weigh 0"
        )
    batches = plan(encoded, settings.epochs, settings.batch_size, task.seed)
    started = time.monotonic()
    trained = _with_loss(model, settings)
    trainer = _SftTrainer(trained, batches, settings, _arguments(task, len(batches)))
    if torch.cuda.is_available():
        sharded = trainer.accelerator.num_processes if trainer.is_fsdp_enabled else 1
        check_room(trained, settings, torch.cuda.mem_get_info()[1], sharded)
    with _full_disk_told(task.work), _full_gpu_told(settings):
        trainer.train(resume_from_checkpoint=_last_whole_checkpoint(task.work))
        trainer.look_back()
        _save(trainer, task)
        if trainer.is_world_process_zero():
            tokenizer.save_pretrained(task.work / "model")
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    report = TrainReport(
        steps=len(batches),
        tokens=sum(len(example.ids) for batch in batches for example in batch),
        loss=math.fsum(losses) / len(losses),
        seconds=time.monotonic() - started,
        too_long=too_long,
        processes=trainer.accelerator.num_processes,
    )
    if trainer.is_world_process_zero():
        (task.work / "model" / REPORT).write_text(json.dumps(dataclasses.asdict(report)))


def check_room(model: nn.Module, settings: TrainSettings, bytes_of_gpu: int, gpus: int) -> None:
    """Do the weights, and what the optimizer keeps of those that are trained, fit so many GPUs?

    Raises:
        UsageError: no; says what would fit.
    """
    kept = 16 if settings.average_decay else 12  # 32 bits each: gradient, two moments, the average
    weights = list(model.parameters())
    needed = sum(w.numel() * (w.element_size() + kept * w.requires_grad) for w in weights)
    if needed > gpus * bytes_of_gpu:
        count, fit = sum(w.numel() for w in weights), gpus * bytes_of_gpu
        raise UsageError(
            f"training takes {needed / 2**30:.1f} GiB of GPU memory before the first token, found "
            f"{fit / 2**30:.1f} GiB on {gpus} GPUs: of these {count / 1e9:.1f} billion weights "
            f"{fit / needed:.0%} would fit; set train.lora_rank, or spread them with train.launch"
        )


def weighted_loss(
    model: PreTrainedModel, input_ids: Tensor, token_weights: Tensor, position_ids: Tensor | None = None
) -> Tensor:
    """Σ token_weights · CE over the tokens that weigh anything (see `examples.collate`).

    Logits are made for those positions only. No attention mask is needed: padding stands on the right,
    where causal attention of a real token never looks, and without a mask the kernel is faster. Where
    examples stand end to end, transformers sees from `position_ids` where one ends.
    """
    body, head = model.base_model, model.get_output_embeddings()  # type: ignore[no-untyped-call]
    where = {} if position_ids is None else {"position_ids": position_ids[:, :-1]}
    hidden_BTE = body(input_ids=input_ids[:, :-1], use_cache=False, **where).last_hidden_state
    target_BT = token_weights > 0
    logits_NV = head(hidden_BTE[target_BT]).float()
    losses_N = nn.functional.cross_entropy(logits_NV, input_ids[:, 1:][target_BT], reduction="none")
    return (losses_N * token_weights[target_BT]).sum()


def _with_loss(model: PreTrainedModel, settings: TrainSettings) -> nn.Module:
    """The model to train, adapters added where asked for, whose call is the loss.

    What spreads a model over processes acts when the model is called, so the loss must be the call.
    """
    trained: Any = model
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[no-untyped-call]
    if settings.lora_rank:
        trained = _adapted(model, settings.lora_rank)
    trained.forward = MethodType(lambda _, **tensors: weighted_loss(model, **tensors), trained)
    return trained  # type: ignore[no-any-return]


def _adapted(model: PreTrainedModel, rank: int) -> Any:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise UsageError(
            "train.lora_rank needs peft, which is not installed; run: pip install 'stp-prover[lora]'"
        ) from None
    known = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    config = LoraConfig(
        r=rank,
        lora_alpha=_LORA_ALPHA_PER_RANK * rank,
        target_modules=[name for name in _ATTENTION_AND_MLP if name in known],
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # every process, and one that goes on, begins with the same adapters
        return get_peft_model(model, config)


class _SftTrainer(Trainer):
    """transformers' Trainer over planned batches: its optimizer, schedule and checkpoints, our steps."""

    def __init__(
        self, model: nn.Module, batches: list[Batch], settings: TrainSettings, arguments: TrainingArguments
    ) -> None:
        super().__init__(model=model, args=arguments)
        self.batches, self.settings = batches, settings
        self.average = _Average(settings.average_decay, self.args.process_index)
        self.remove_callback(PrinterCallback)  # a dictionary on stdout at every step
        self.add_callback(self.average)
        self.add_callback(_Progress(batches))

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The plan in its order, one batch a step: this process's passes of it."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        return DataLoader(
            self.batches,  # type: ignore[arg-type]
            batch_size=1,
            collate_fn=lambda picked: step_tensors(picked[0], self.settings, rank, processes),
        )

    def training_step(self, model: nn.Module, inputs: Any, *_: Any, **__: Any) -> Tensor:
        """Gradients of one step's loss, pass by pass, and that loss over all processes' mean."""
        model.train()
        # Gradients of several processes are averaged; the loss of a step is a sum.
        processes = self.accelerator.num_processes
        total = torch.zeros((), device=self.args.device)
        passes: Any = self._prepare_inputs(inputs)
        for number, tensors in enumerate(passes, 1):
            last = number == len(passes)
            with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                loss = processes * model(**tensors)
                self.accelerator.backward(loss)
            total += loss.detach()
        self._must_be_finite(total)
        return total

    def look_back(self) -> None:
        """The last batch's loss again, by the weights that came of it: the last step may have gone too far.

        Raises:
            MachineryError: it did.
        """
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        passes: Any = self._prepare_inputs(step_tensors(self.batches[-1], self.settings, rank, processes))  # type: ignore[arg-type]
        with torch.no_grad():
            self._must_be_finite(torch.stack([self.model_wrapped(**tensors) for tensors in passes]).sum())

    def _must_be_finite(self, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise MachineryError(
                f"training stopped at step {self.state.global_step + 1}: the loss is {loss.item()}; "
                "lower train.learning_rate"
            )

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self.average.save(_checkpoint(self.args, self.state))
        self.accelerator.wait_for_everyone()  # or the checkpoint would be called whole before it is

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: it would look for one tensor of ids."""
        return 0


class _Average(TrainerCallback):
    """The moving average of what is trained, each process's of its own shards; at the end it takes its place.

    A step t keeps min(decay, (1 + t) / (10 + t)) of it, so that a short training forgets where it began.
    """

    def __init__(self, decay: float, rank: int) -> None:
        self.decay, self._name = decay, f"average-{rank}.pt"
        self._mean: list[Tensor] = []

    def on_train_begin(
        self, args: Any, state: TrainerState, control: Any, model: Any = None, **_: Any
    ) -> None:
        if self.decay:
            self._mean = [weight.clone() for weight in _trained(model)]
            if state.global_step:
                stored = _checkpoint(args, state) / self._name
                torch._foreach_copy_(self._mean, torch.load(stored, map_location="cpu", weights_only=True))

    def on_step_end(self, args: Any, state: TrainerState, control: Any, model: Any = None, **_: Any) -> None:
        if self.decay:
            kept = min(self.decay, (1 + state.global_step) / (10 + state.global_step))
            torch._foreach_lerp_(self._mean, _trained(model), 1 - kept)

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        if self.decay:
            torch._foreach_copy_(_trained(model), self._mean)

    def save(self, checkpoint: Path) -> None:
        """Adds it to a checkpoint."""
        if self.decay:
            torch.save(self._mean, checkpoint / self._name)


def _trained(model: nn.Module) -> list[Tensor]:
    """The weights that a training changes; where they are spread over processes, this one's shards."""
    weights = [weight.detach() for weight in model.parameters() if weight.requires_grad]
    return [weight.to_local() if isinstance(weight, DTensor) else weight for weight in weights]


class _Progress(TrainerCallback):
    """A bar on stderr with tokens/s, and the mark that tells a whole checkpoint from a torn one."""

    def __init__(self, batches: list[Batch]) -> None:
        self.tokens = [sum(len(example.ids) for example in batch) for batch in batches]
        self.bar: Any = None

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        done = sum(self.tokens[: state.global_step])
        self.bar = tqdm(
            total=sum(self.tokens), initial=done, desc="train", unit="tok", unit_scale=True, delay=2,
            disable=not state.is_world_process_zero,
        )  # fmt: skip

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        self.bar.update(self.tokens[state.global_step - 1])

    def on_log(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        if "loss" in state.log_history[-1]:
            self.bar.set_postfix(loss=f"{state.log_history[-1]['loss']:.3f}", refresh=False)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            (_checkpoint(args, state) / _WHOLE).touch()

    def on_train_end(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        self.bar.close()


def _arguments(task: Task, steps: int) -> TrainingArguments:
    settings = task.settings
    arguments = TrainingArguments(
        output_dir=str(task.work),
        num_train_epochs=1,  # of the plan, which holds all of ours
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(settings.warmup_frac * steps),
        weight_decay=0.0,
        optim="adamw_torch_fused",
        seed=task.seed % 2**32,  # torch and numpy take no other
        bf16=_bf16_pays(),
        use_cpu=not torch.cuda.is_available(),
        save_steps=settings.save_steps,
        save_total_limit=2,  # the last one may be torn
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # one process uses one GPU, not threads over all it sees
    return arguments


def _bf16_pays() -> bool:
    """Whether matrix products run faster in bf16 here; weights and optimizer keep their precision.

    On two cores with avx512_bf16, seed training went from 3,400 to 4,000 tokens/s.
    """
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _save(trainer: _SftTrainer, task: Task) -> None:
    """Writes the trained model, whole and in the precision that it came in. All processes take part."""
    out, dtype = task.work / "model", getattr(torch, precision(task.model_dir))
    if task.settings.lora_rank:
        trainer.save_model(str(task.work / "adapter"))
        if trainer.is_world_process_zero():
            from peft import PeftModel

            plain, _ = hf.load(task.model_dir, task.prompt_format, dtype="float32", place=False)
            merged: Any = PeftModel.from_pretrained(plain, task.work / "adapter").merge_and_unload()
            merged.to(dtype).save_pretrained(out)
        return
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if trainer.is_world_process_zero():
        model: Any = trainer.accelerator.unwrap_model(trainer.model_wrapped)
        model.config.dtype = dtype
        model.save_pretrained(out, state_dict={name: weight.to(dtype) for name, weight in weights.items()})


@contextlib.contextmanager
def _full_disk_told(work: Path) -> Iterator[None]:
    """Torch and safetensors say that a file could not be written, not that the disk is full."""
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        if shutil.disk_usage(work).free < _LITTLE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(work)) from error
        raise


@contextlib.contextmanager
def _full_gpu_told(settings: TrainSettings) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UsageError(
            f"train.tokens_per_pass = {settings.tokens_per_pass} (0: a whole step): GPU memory is full: "
            f"set fewer, {'' if settings.gradient_checkpointing else 'train.gradient_checkpointing=true, '}"
            "or spread the weights over more GPUs with train.launch; the run then goes on"
        ) from error


def _checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    """The folder of the step that was just done."""
    return Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"


def _last_whole_checkpoint(work: Path) -> str | None:
    """The newest whole checkpoint; torn ones were removed by `sft`."""
    whole = [int(path.parent.name.partition("-")[2]) for path in work.glob(f"checkpoint-*/{_WHOLE}")]
    return str(work / f"checkpoint-{max(whole)}") if whole else None


def remove_torn_checkpoints(work: Path) -> None:
    """Those that a kill left half-written."""
    for path in work.glob("checkpoint-*"):
        if not (path / _WHOLE).is_file():
            shutil.rmtree(path)
