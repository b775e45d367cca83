"""What a model is trained on: weighted (prompt, target) pairs, tokenised and laid out in batches.

The batches of a whole training are planned before it starts. A resumed training then only has to
skip those it has done, and nothing about the order can differ.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from stp.errors import UsageError
from stp.models.prompts import Prompt, encode_prompt, encode_target
from stp.settings import TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

#: Examples are sorted by length within stretches of this many batches: about 4 % of a batch is
#: padding then, and batches stay mixed.
_STRETCH_BATCHES = 16


@dataclass(frozen=True, slots=True)
class Example:
    """What the model is to write after a prompt, and how much that counts beside other examples."""

    prompt: Prompt
    target: str
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example as ids; the first `prompt_tokens` of them carry no loss."""

    ids: tuple[int, ...]
    prompt_tokens: int
    weight: float


Batch = list[Encoded]


def encode(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast, context_tokens: int
) -> tuple[list[Encoded], int]:
    """Examples as ids, and how many are left out because they are longer than the context.

    A weight of 0 leaves an example out too: it must not even shape a batch.

    Raises:
        UsageError: a weight is negative or not a number.
    """
    encoded: list[Encoded] = []
    too_long = 0
    for example in examples:
        if not (math.isfinite(example.weight) and example.weight >= 0):
            raise UsageError(
                f"example {example.target[:40]!r}: expected a weight >= 0, found {example.weight}"
            )
        if example.weight == 0:
            continue
        prompt = encode_prompt(tokenizer, example.prompt)
        ids = (*prompt, *encode_target(tokenizer, example.target))
        if len(ids) > context_tokens:
            too_long += 1
        else:
            encoded.append(Encoded(ids, len(prompt), example.weight))
    return encoded, too_long


def plan(examples: Sequence[Encoded], epochs: float, batch_size: int, seed: int) -> list[Batch]:
    """Batches of the whole training, one for each optimizer step, of examples of similar length.

    Every epoch is a new order; a last broken one is its share of batches, at least one.
    """
    shuffle = random.Random(seed)
    steps = max(1, round(epochs * math.ceil(len(examples) / batch_size)))
    batches: list[Batch] = []
    while len(batches) < steps:
        order = shuffle.sample(examples, len(examples))
        stretch = _STRETCH_BATCHES * batch_size
        for first in range(0, len(order), stretch):
            order[first : first + stretch] = sorted(
                order[first : first + stretch], key=lambda example: len(example.ids)
            )
        epoch = [order[first : first + batch_size] for first in range(0, len(order), batch_size)]
        batches += shuffle.sample(epoch, len(epoch))
    return batches[:steps]


def split(batch: Batch, processes: int, tokens_per_pass: int) -> list[Batch]:
    """A step's batch in passes, as many for each process: parts of about equal size, of at most
    `tokens_per_pass` tokens where examples allow, those of one process `processes` apart.

    Fewer examples than parts leave some empty.
    """
    count = processes
    while True:
        parts: list[Batch] = [[] for _ in range(count)]
        if count == 1:
            parts = [batch]
        else:
            sizes = [0] * count
            for example in sorted(batch, key=lambda example: -len(example.ids)):
                smallest = sizes.index(min(sizes))
                parts[smallest].append(example)
                sizes[smallest] += len(example.ids)
        largest = max(sum(len(example.ids) for example in part) for part in parts)
        if not tokens_per_pass or largest <= tokens_per_pass or count >= len(batch):
            return parts
        count += processes


def step_tensors(
    batch: Batch, settings: TrainSettings, rank: int = 0, processes: int = 1
) -> list[dict[str, Tensor]]:
    """One step's passes of one process. All weights of the whole step, over all processes, sum to 1."""
    weight = sum(
        example.weight * (len(example.ids) - example.prompt_tokens
                          + settings.prompt_weight * (example.prompt_tokens - 1))
        for example in batch
    )  # fmt: skip
    parts = split(batch, processes, settings.tokens_per_pass)[rank::processes]
    nothing = [replace(batch[0], weight=0.0)]  # every process takes part in every pass
    lay = pack if settings.packing else collate
    return [lay(part or nothing, settings.prompt_weight, weight) for part in parts]


def pack(batch: Batch, prompt_weight: float = 0.0, total: float | None = None) -> dict[str, Tensor]:
    """As `collate`, with the examples end to end in one row: (1, T) and (1, T-1).

    `position_ids` (1, T) begin again with each example: that is how attention tells them apart.
    """
    ids: list[int] = []
    weights: list[float] = []
    positions: list[int] = []
    for example in batch:
        ids += example.ids
        weights += [0.0, *_weights(example, prompt_weight)]  # no end is asked to foretell the next beginning
        positions += range(len(example.ids))
    weights_1T = torch.tensor([weights[1:]], dtype=torch.float64)
    return {
        "input_ids": torch.tensor([ids]),
        "position_ids": torch.tensor([positions]),
        "token_weights": (weights_1T / (total or weights_1T.sum())).float(),
    }


def collate(batch: Batch, prompt_weight: float = 0.0, total: float | None = None) -> dict[str, Tensor]:
    """One step's tensors: `input_ids` (B, T), padded on the right, and `token_weights` (B, T-1).

    `token_weights[b, t]` is what predicting token t+1 of example b counts: 0 in the padding, the
    example's weight in the target, `prompt_weight` of that in the prompt, all over `total`, by default
    their sum in the batch. So the loss of the step is exactly Σ w·CE / Σ w, however the weights are scaled.
    Prompts are told by position, never by token id: the end token is trained even where it is the padding
    token too.
    """
    width = max(len(example.ids) for example in batch)
    ids_BT = torch.tensor([[*example.ids, *[0] * (width - len(example.ids))] for example in batch])
    weights_BT = torch.zeros(len(batch), width - 1, dtype=torch.float64)
    for row, example in enumerate(batch):
        weights = torch.tensor(_weights(example, prompt_weight), dtype=torch.float64)
        weights_BT[row, : len(weights)] = weights
    return {"input_ids": ids_BT, "token_weights": (weights_BT / (total or weights_BT.sum())).float()}


def _weights(example: Encoded, prompt_weight: float) -> list[float]:
    """What predicting each token after the first counts."""
    prompt, target = example.prompt_tokens - 1, len(example.ids) - example.prompt_tokens
    return [prompt_weight * example.weight] * prompt + [example.weight] * target
