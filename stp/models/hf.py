"""A Hugging Face folder as a `Generator`: loading, batched sampling, embeddings."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from stp.errors import UsageError
from stp.models import decode
from stp.models.base import Sample
from stp.models.codec import Codec, first_line, load_tokenizer
from stp.models.prompts import Prompt, encode_content

disable_progress_bar()  # type: ignore[no-untyped-call]  # of loading and saving shards: a fraction of a second here, and not ours to show


def load(
    folder: Path, format_name: str, *, dtype: str = "auto", attention: str = "sdpa", place: bool = True
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Model (on the GPU where there is one, unless its caller will `place` it; in the weights' own precision
    by default) and tokenizer of a folder.

    Raises:
        UsageError: the folder is missing or damaged, its tokenizer cannot write the format, or the model
            does not fit the GPU.
    """
    tokenizer = load_tokenizer(folder, format_name)
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, dtype=dtype, attn_implementation=attention
        )
    except ImportError as error:
        raise UsageError(
            f"train.attention = {attention}: {first_line(error)}; install what it needs, or take sdpa"
        ) from error
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise UsageError(f"{folder}: not a model that transformers can load: {first_line(error)}") from error
    return model.to(_device(model) if place else "cpu").eval(), tokenizer


def _device(model: PreTrainedModel) -> str:
    """The GPU, where there is one and the weights fit."""
    if not torch.cuda.is_available():
        return "cpu"
    free, _ = torch.cuda.mem_get_info()
    check_room(str(model.name_or_path), sum(w.numel() * w.element_size() for w in model.parameters()), free)
    return "cuda"


def check_room(name: str | Path, needed: int, free: int) -> None:
    """Do weights of so many bytes fit the GPU?

    Raises:
        UsageError: no; says what would fit.
    """
    if needed > free:
        raise UsageError(
            f"{name}: its weights take {needed / 2**30:.1f} GiB; {free / 2**30:.1f} GiB of GPU memory are "
            f"free, enough for {free / 2e9:.1f} billion weights in 16 bits: take a smaller model, more GPUs "
            "(model.gpus, with vLLM), or end what else uses them"
        )


def context_tokens(model: PreTrainedModel) -> int:
    """Tokens of prompt and text together that the model was made for."""
    return int(model.config.max_position_embeddings)


class HfGenerator:
    """`Generator` on transformers. Owns the model's memory until it is garbage.

    torch's thread count is the caller's to set. On cores shared with busy processes one thread is
    the faster choice: a second one spends a scheduler's slice (4 to 12 ms) at each matrix product
    waiting for its partner.
    """

    def __init__(
        self, folder: Path, format_name: str, batch_size: int = 128, context_tokens: int = 0,
        logprobs: bool = False,
    ) -> None:  # fmt: skip
        self._logprobs = logprobs
        self._format, self.batch_size, self._context = format_name, batch_size, context_tokens
        self.use(folder)

    def use(self, folder: Path) -> None:
        """See `Generator.use`."""
        self.release()
        self.folder, self.codec = folder, Codec(folder, self._format, self._context)
        self.model, self.tokenizer = load(folder, self._format)

    def release(self) -> None:
        """See `Generator.release`."""
        vars(self).pop("model", None)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def close(self) -> None:
        """See `Generator.close`."""
        self.release()

    def generate(
        self, prompts: Sequence[Prompt], *, n: int, temperature: float, max_tokens: int, seed: int
    ) -> list[list[Sample]]:
        """See `Generator.generate`."""
        fitting = self.codec.fit(prompts, n, temperature, max_tokens)
        how = decode.Decoding(
            temperature, max_tokens, seed, self.codec.end_id, self.batch_size, self._logprobs
        )
        try:
            sampled = decode.sample(self.model, list(fitting.values()), n, how)
        except torch.OutOfMemoryError:
            raise UsageError(self._too_many(max(map(len, fitting.values())) + max_tokens)) from None
        results: list[list[Sample]] = [[] for _ in prompts]
        for place, samples in zip(fitting, sampled, strict=True):
            results[place] = [self.codec.read(ids, logprobs) for ids, logprobs in samples]
        return results

    def _too_many(self, tokens: int) -> str:
        """Why the GPU's memory is full, and how many sequences of so many tokens fit."""
        config = self.model.config
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        each = 2 * config.num_hidden_layers * heads * width * self.model.dtype.itemsize * tokens
        gc.collect()
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info()
        return (
            f"model.batch_size = {self.batch_size}: the GPU's memory is full; in the {free / 2**30:.1f} GiB "
            f"beside the weights about {max(1, int(0.7 * free / each))} sequences of {tokens} tokens fit"
        )

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Generator.embed`; an empty text gives zeros."""
        longest = context_tokens(self.model)
        encoded = [encode_content(self.tokenizer, text)[:longest] for text in texts]
        pooled_NE = np.zeros((len(texts), self.model.config.hidden_size), dtype=np.float32)
        by_length = sorted((i for i, ids in enumerate(encoded) if ids), key=lambda i: len(encoded[i]))
        for first in range(0, len(by_length), self.batch_size):
            rows = by_length[first : first + self.batch_size]
            pooled_NE[rows] = self._pool([encoded[row] for row in rows])
        return pooled_NE

    def _pool(self, encoded: list[list[int]]) -> NDArray[np.float32]:
        """Mean hidden states (B, E) of right-padded texts over their own tokens."""
        width = max(map(len, encoded))
        ids_BT = torch.tensor([ids + [0] * (width - len(ids)) for ids in encoded])
        real_BT = torch.arange(width) < torch.tensor([[len(ids)] for ids in encoded])
        real_BT = real_BT.to(self.model.device)
        hidden_BTE = self.model.base_model(
            input_ids=ids_BT.to(self.model.device), attention_mask=real_BT
        ).last_hidden_state.float()
        summed_BE = (hidden_BTE * real_BT[:, :, None]).sum(1)
        pooled: NDArray[np.float32] = (summed_BE / real_BT.sum(1, keepdim=True)).cpu().numpy()
        return pooled
