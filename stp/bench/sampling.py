"""Sampled tokens a second of each back end that is installed here, and of its engine asked directly."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from stp.models.backend import open_generator
from stp.models.codec import Codec
from stp.models.prompts import Prompt
from stp.settings import ModelSettings

_REPEATS = 3


@dataclass(frozen=True, slots=True)
class Work:
    """What is sampled: `n` texts of at most `tokens` tokens for each prompt, `batch` at a time."""

    prompts: Sequence[Prompt]
    style: str
    n: int
    tokens: int
    batch: int


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second of a back end and of its engine, which draws from the same model without our seeds."""

    backend: str
    ours: float
    engine: float
    shares: tuple[float, ...]
    """Ours over the engine's, of each of some turns."""

    @property
    def share(self) -> float:
        return median(self.shares)


def speeds(folder: Path, work: Work) -> Iterator[Speed]:
    """Back end after back end; each and its engine in turns, after a call of each that warms them."""
    for backend in ("transformers", "vllm"):
        if backend == "vllm" and importlib.util.find_spec("vllm") is None:
            print("vLLM is not installed here: not measured (pip install 'stp-prover[vllm]')")
            continue
        settings = ModelSettings(backend=backend, prompt_format=work.style, batch_size=work.batch)
        generator: Any = open_generator(settings, folder)
        asked = partial(_ours, generator, work)
        direct = partial({"transformers": _transformers, "vllm": _vllm}[backend], generator, work)
        asked(), direct()
        turns = [(_rate(asked), _rate(direct)) for _ in range(_REPEATS)]
        generator.close()
        ours, engine = (median(rates) for rates in zip(*turns, strict=True))
        yield Speed(backend, ours, engine, tuple(mine / its for mine, its in turns))


def _rate(work: Callable[[], int]) -> float:
    began = time.monotonic()
    return work() / (time.monotonic() - began)


def _ours(generator: Any, work: Work) -> int:
    sampled = generator.generate(work.prompts, n=work.n, temperature=1.0, max_tokens=work.tokens, seed=0)
    return sum(sample.tokens for samples in sampled for sample in samples)


def _ids(codec: Codec, work: Work) -> list[list[int]]:
    return list(codec.fit(work.prompts, work.n, 1.0, work.tokens).values())


def _vllm(generator: Any, work: Work) -> int:
    from vllm import SamplingParams

    how = SamplingParams(
        n=work.n, temperature=1.0, max_tokens=work.tokens, ignore_eos=True, detokenize=False,
        stop_token_ids=[generator.codec.end_id],
    )  # fmt: skip
    prompts = [{"prompt_token_ids": ids} for ids in _ids(generator.codec, work)]
    answers = generator._engine.generate(prompts, how, use_tqdm=False)
    return sum(len(output.token_ids) for answer in answers for output in answer.outputs)


def _transformers(generator: Any, work: Work) -> int:
    """`model.generate`, prompts of like length together, a batch as large as ours."""
    import torch

    model, end = generator.model, generator.codec.end_id
    prompts, written = sorted(_ids(generator.codec, work), key=len), 0
    size = max(1, work.batch // work.n)
    for first in range(0, len(prompts), size):
        part = prompts[first : first + size]
        width = max(map(len, part))
        ids_BT = torch.tensor([[end] * (width - len(ids)) + ids for ids in part], device=model.device)
        real_BT = torch.tensor(
            [[0] * (width - len(ids)) + [1] * len(ids) for ids in part], device=model.device
        )
        with torch.inference_mode():
            texts_NT = model.generate(
                ids_BT, attention_mask=real_BT, do_sample=True, temperature=1.0, top_p=1.0, top_k=0,
                num_return_sequences=work.n, max_new_tokens=work.tokens, eos_token_id=end, pad_token_id=end,
            )[:, width:]  # fmt: skip
        ended_NT = (texts_NT == end).cumsum(-1) > 0
        written += int((~ended_NT).sum() + ended_NT.any(-1).sum())
    return written
