"""Sampling from a decoder as fast as its forward pass allows: slots that never wait for the longest.

A batch is a fixed number of slots over one key/value store. All slots write their next token into
the same column; a finished slot is given to the next sample, its prompt's keys and values laid
right-aligned before that column. So nothing is moved to admit a sample, and columns that no live slot
reaches any more are forgotten on the left. A prompt is read once for all its samples that start together.

Measured against `model.generate` (tiny model, two idle cores, 128 rows sorted by length, 16 samples for
each of 60 prompts, 20 tokens on average and 96 at most): 4,200 tokens/s to 900. `generate` copies the whole
cache at every token, reads each prompt 16 times and computes finished rows until the longest is done.

Covered: full-attention decoders that take their positions from `position_ids` (Llama, Qwen, DeepSeek
provers). Not covered: sliding-window and recurrent layers.

Axes: B slots, S sampled tokens, C columns of the store, P prompts, L tokens of a prompt, R rows of
an admission, H key/value heads, D width of a head, V vocabulary.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin

#: A refill waits for this share of free slots: reading a few prompts costs about as much as a step.
_REFILL_FRAC = 1 / 8
#: With nothing left to admit, the batch shrinks to its live slots at this share of dead ones.
_SHRINK_FRAC = 1 / 4
#: Columns beyond what the longest sample needs: the store is moved left once in as many steps.
_SPARE_COLUMNS = 64

Ids = list[int]
Written = tuple[Ids, list[float]]  # ids, and the log-probability of each where they were asked for
Item = tuple[int, int]  # (index of the prompt, index of the sample)


@dataclass(frozen=True, slots=True)
class Decoding:
    """How to sample: `end_id` finishes a sample, `max_tokens` cuts it."""

    temperature: float
    max_tokens: int
    seed: int
    end_id: int
    batch_size: int
    logprobs: bool = False
    """Also give the log-probability of each token, at temperature 1."""


@torch.inference_mode()
def sample(model: PreTrainedModel, prompts: Sequence[Ids], n: int, how: Decoding) -> list[list[Written]]:
    """`n` sampled id lists for each prompt's ids; a finished one ends with `how.end_id`.

    Each token is drawn by inverse CDF from one uniform number that depends on (seed, prompt, index
    of the sample, step) alone. So a sample does not depend on its batch, except where a number falls
    within rounding (about 1e-6 in fp32) of the border between two tokens: the shape of a matrix
    product changes its last bits.
    """
    samples: list[list[Written]] = [[([], []) for _ in range(n)] for _ in prompts]
    longest_first = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    pending = deque((index, k) for index in longest_first for k in range(n))
    slots = _Slots(model, prompts, n, how, min(how.batch_size, len(pending)))
    while pending or slots.live_B.any():
        free = np.flatnonzero(~slots.live_B)
        if pending and len(free) >= _REFILL_FRAC * slots.size:
            slots.harvest(samples)
            rows = free[: len(pending)]
            slots.admit(rows, [pending.popleft() for _ in rows])
        elif not pending and len(free) >= _SHRINK_FRAC * slots.size:
            slots.harvest(samples)
            slots.shrink()
        else:
            slots.step()
    slots.harvest(samples)
    return samples


class _Columns:
    """The columns in use, shared by all layers: [start, end); the next token goes into `end`."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.start, self.end = capacity, 0, 0


class _SlotLayer(CacheLayerMixin):  # type: ignore[no-untyped-call]
    """Keys and values of one layer, (B, H, C, D), written in place.

    transformers' DynamicCache concatenates instead: it copies the whole cache at every token.
    """

    is_sliding = False
    keys: Tensor
    values: Tensor

    def __init__(self, columns: _Columns, size: int, like_PHLD: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        _, heads, _, width = like_PHLD.shape
        # Zeros, since a masked column still counts as 0 * value: what was never written must be finite.
        self.keys = like_PHLD.new_zeros(size, heads, columns.capacity, width)
        self.values = torch.zeros_like(self.keys)
        self.columns, self.is_initialized = columns, True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        raise NotImplementedError("initialised with the first prompts")

    def update(self, key_states: Tensor, value_states: Tensor, *args: object) -> tuple[Tensor, Tensor]:
        start, end = self.columns.start, self.columns.end
        self.keys[:, :, end : end + 1] = key_states
        self.values[:, :, end : end + 1] = value_states
        return self.keys[:, :, start : end + 1], self.values[:, :, start : end + 1]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        return self.columns.end - self.columns.start

    def get_max_length(self) -> int:
        return self.columns.capacity


class _Slots:
    """The batch. Bookkeeping is numpy on the host, only keys, values and logits live on the device."""

    def __init__(
        self, model: PreTrainedModel, prompts: Sequence[Ids], n: int, how: Decoding, size: int
    ) -> None:
        self.model, self.prompts, self.n, self.how = model, prompts, n, how
        self.size = size
        self.items: list[Item | None] = [None] * size
        self.live_B = np.zeros(size, dtype=bool)
        self.length_B = np.zeros(size, dtype=np.int64)  # tokens in the store, prompt included
        self.written_B = np.zeros(size, dtype=np.int64)  # sampled tokens, the last one not yet stored
        self.tokens_BS = np.zeros((size, how.max_tokens), dtype=np.int64)
        self.noise_BS = np.zeros((size, how.max_tokens), dtype=np.float32)
        self.logprobs_BS = np.zeros((size, how.max_tokens if how.logprobs else 0), dtype=np.float32)
        self.longest = max(map(len, prompts), default=0)  # of the prompts admitted last and still to come
        self.columns = _Columns(self.longest + how.max_tokens + _SPARE_COLUMNS)
        self.columns.end = self.longest
        self.layers: list[_SlotLayer] = []

    def harvest(self, samples: list[list[Written]]) -> None:
        """Hands over what the finished slots wrote and forgets whose they were."""
        for row in np.flatnonzero(~self.live_B):
            if (item := self.items[row]) is not None:
                written = slice(self.written_B[row])
                ids, logprobs = self.tokens_BS[row, written], self.logprobs_BS[row, written]
                samples[item[0]][item[1]] = (ids.tolist(), logprobs.tolist())
                self.items[row] = None

    def admit(self, rows: NDArray[np.int64], items: list[Item]) -> None:
        """Reads the items' prompts and writes the first token of each into its row."""
        distinct = list(dict.fromkeys(index for index, _ in items))
        read, logits_PV = self._read([self.prompts[index] for index in distinct])
        source_R = torch.tensor([distinct.index(index) for index, _ in items], device=self.model.device)
        self.longest = max(len(self.prompts[index]) for index in distinct)
        self._store(rows, source_R, read)
        noise = {index: self._noise(self.prompts[index]) for index in distinct}
        for row, item in zip(rows, items, strict=True):
            self.items[row] = item
            self.length_B[row] = len(self.prompts[item[0]])
            self.noise_BS[row] = noise[item[0]][item[1]]
        self.live_B[rows] = True
        self.written_B[rows] = 0
        self._write(rows, logits_PV[source_R])

    def step(self) -> None:
        """One more token for every live slot; dead ones are computed along and ignored."""
        if self.columns.end == self.columns.capacity:
            self._move_left()
        columns, device = self.columns, self.model.device
        columns.start = columns.end - int(self.length_B[self.live_B].max())
        last_B = self.tokens_BS[np.arange(self.size), np.maximum(self.written_B - 1, 0)]
        length_B1 = torch.from_numpy(self.length_B[:, None]).to(device)
        column_C = torch.arange(columns.start, columns.end + 1, device=device)
        logits_BV = self.model(
            input_ids=torch.from_numpy(last_B[:, None]).to(device),
            position_ids=length_B1,
            attention_mask=(column_C >= columns.end - length_B1)[:, None, None],
            past_key_values=Cache(layers=list(self.layers)),
            use_cache=True,
        ).logits[:, -1]
        columns.end += 1
        live = np.flatnonzero(self.live_B)
        self.length_B[live] += 1
        self._write(live, logits_BV[torch.from_numpy(live).to(device)])

    def shrink(self) -> None:
        """Drops the dead slots."""
        keep = np.flatnonzero(self.live_B)
        self.size, self.items = len(keep), [self.items[row] for row in keep]
        for name in ("live_B", "length_B", "written_B", "tokens_BS", "noise_BS", "logprobs_BS"):
            setattr(self, name, getattr(self, name)[keep])
        index_B = torch.from_numpy(keep).to(self.model.device)
        for layer in self.layers:
            layer.keys, layer.values = layer.keys[index_B], layer.values[index_B]

    def _read(self, prompts: list[Ids]) -> tuple[list[Any], Tensor]:
        """Layers with keys and values (P, H, L, D) of left-padded prompts, and their next logits (P, V)."""
        width = max(map(len, prompts))
        ids_PL = torch.tensor([[0] * (width - len(ids)) + ids for ids in prompts])
        real_PL = torch.arange(width) >= width - torch.tensor([[len(ids)] for ids in prompts])
        cache = DynamicCache()
        logits_P1V = self.model(
            input_ids=ids_PL.to(self.model.device),
            attention_mask=real_PL.to(self.model.device),
            position_ids=(real_PL.cumsum(-1) - 1).clamp(min=0).to(self.model.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        return list(cache.layers), logits_P1V[:, -1]

    def _store(self, rows: NDArray[np.int64], source_R: Tensor, read: list[Any]) -> None:
        """Copies each source prompt's keys and values into its row, ending before the next column."""
        if not self.layers:
            self.layers = [_SlotLayer(self.columns, self.size, layer.keys) for layer in read]
        row_R = torch.from_numpy(rows).to(self.model.device)
        span = slice(self.columns.end - self.longest, self.columns.end)
        for layer, prompts in zip(self.layers, read, strict=True):
            layer.keys[row_R, :, span] = prompts.keys[source_R]
            layer.values[row_R, :, span] = prompts.values[source_R]

    def _move_left(self) -> None:
        """Forgets the columns that neither a live slot nor a prompt still to come can reach."""
        keep = max(int(self.length_B[self.live_B].max()), self.longest)
        for layer in self.layers:
            for store in (layer.keys, layer.values):
                store[:, :, :keep] = store[:, :, self.columns.end - keep : self.columns.end].clone()
        self.columns.end = keep

    def _noise(self, prompt: Ids) -> NDArray[np.float32]:
        """Uniform numbers (n, S) in [0, 1) that depend on nothing but the seed and the prompt."""
        digest = hashlib.blake2b(repr((self.how.seed, prompt)).encode(), digest_size=16).digest()
        generator = np.random.default_rng(int.from_bytes(digest, "little"))
        return generator.random((self.n, self.how.max_tokens), dtype=np.float32)

    def _write(self, rows: NDArray[np.int64], logits_RV: Tensor) -> None:
        """Draws the rows' next tokens and finishes those that ended or used up their tokens."""
        noise_R = torch.from_numpy(self.noise_BS[rows, self.written_B[rows]]).to(self.model.device)
        drawn = draw(logits_RV, self.how.temperature, noise_R)
        drawn_R = drawn.cpu().numpy()
        self.tokens_BS[rows, self.written_B[rows]] = drawn_R
        if self.how.logprobs:
            all_RV = torch.log_softmax(logits_RV.float(), dim=-1)
            self.logprobs_BS[rows, self.written_B[rows]] = (
                all_RV.gather(1, drawn[:, None])[:, 0].cpu().numpy()
            )
        self.written_B[rows] += 1
        self.live_B[rows] = (drawn_R != self.how.end_id) & (self.written_B[rows] < self.how.max_tokens)


def draw(logits_RV: Tensor, temperature: float, noise_R: Tensor) -> Tensor:
    """Tokens (R,) of softmax(logits / temperature) by inverse CDF at `noise_R` in [0, 1)."""
    cdf_RV = torch.softmax(logits_RV.float() / temperature, dim=-1).cumsum(-1)
    # Scaled by the last entry, which rounding leaves a little off 1.
    point_R1 = (noise_R * cdf_RV[:, -1])[:, None]
    return torch.searchsorted(cdf_RV, point_R1, right=True)[:, 0].clamp(max=logits_RV.shape[-1] - 1)
