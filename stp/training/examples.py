"""What a model is trained on: weighted (prompt, target) pairs, tokenised and laid out in batches.

The batches of a whole training are planned before it starts. A resumed training then only has to
skip those it has done, and nothing about the order can differ.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from stp.errors import UsageError
from stp.models.prompts import Prompt, encode_prompt, encode_target

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


def collate(batch: Batch, prompt_weight: float = 0.0) -> dict[str, Tensor]:
    """One step's tensors: `input_ids` (B, T), padded on the right, and `token_weights` (B, T-1).

    `token_weights[b, t]` is what predicting token t+1 of example b counts: 0 in the padding, the
    example's weight in the target, `prompt_weight` of that in the prompt, all over their sum in the
    batch. So the loss of the step is exactly Σ w·CE / Σ w, however the weights are scaled. Prompts are
    told by position, never by token id: the end token is trained even where it is the padding token too.
    """
    width = max(len(example.ids) for example in batch)
    ids_BT = torch.tensor([[*example.ids, *[0] * (width - len(example.ids))] for example in batch])
    weights_BT = torch.zeros(len(batch), width - 1, dtype=torch.float64)
    for row, example in enumerate(batch):
        weights_BT[row, : example.prompt_tokens - 1] = prompt_weight * example.weight
        weights_BT[row, example.prompt_tokens - 1 : len(example.ids) - 1] = example.weight
    return {"input_ids": ids_BT, "token_weights": (weights_BT / weights_BT.sum()).float()}
