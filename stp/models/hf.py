"""A Hugging Face folder as a `Generator`: loading, batched sampling, embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from stp.errors import UsageError
from stp.models import decode
from stp.models.base import Sample
from stp.models.prompts import (
    Prompt,
    check_tokenizer,
    decode_sample,
    encode_content,
    encode_prompt,
    prompt_format,
)

disable_progress_bar()  # type: ignore[no-untyped-call]  # of loading and saving shards: a fraction of a second here, and not ours to show


def load(folder: Path, format_name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Model (on the GPU where there is one, in the weights' own precision) and tokenizer of a folder.

    Raises:
        UsageError: the folder is missing or damaged, or its tokenizer cannot write the format.
    """
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder}: expected a Hugging Face model folder, found no config.json")
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, dtype="auto", attn_implementation="sdpa"
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(f"{folder}: not a model that transformers can load: {reason}") from error
    check_tokenizer(tokenizer, prompt_format(format_name), str(folder))
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval(), tokenizer


def context_tokens(model: PreTrainedModel) -> int:
    """Tokens of prompt and text together that the model was made for."""
    return int(model.config.max_position_embeddings)


class HfGenerator:
    """`Generator` on transformers. Owns the model's memory until it is garbage.

    torch's thread count is the caller's to set. On cores shared with busy processes one thread is
    the faster choice: a second one spends a scheduler's slice (4 to 12 ms) at each matrix product
    waiting for its partner.
    """

    def __init__(self, folder: Path, format_name: str, batch_size: int = 128) -> None:
        self.folder, self.batch_size = folder, batch_size
        self.model, self.tokenizer = load(folder, format_name)

    def generate(
        self, prompts: Sequence[Prompt], *, n: int, temperature: float, max_tokens: int, seed: int
    ) -> list[list[Sample]]:
        """See `Generator.generate`."""
        room = context_tokens(self.model) - max_tokens
        if min(n, max_tokens, room) < 1 or temperature <= 0:
            raise UsageError(
                f"cannot sample n={n} texts of max_tokens={max_tokens} at temperature={temperature} from "
                f"{self.folder}, whose context is {context_tokens(self.model)} tokens"
            )
        encoded = [encode_prompt(self.tokenizer, prompt) for prompt in prompts]
        fitting = [index for index, ids in enumerate(encoded) if len(ids) <= room]
        end_id = int(self.tokenizer.eos_token_id)
        how = decode.Decoding(temperature, max_tokens, seed, end_id, self.batch_size)
        sampled = decode.sample(self.model, [encoded[index] for index in fitting], n, how)
        results: list[list[Sample]] = [[] for _ in prompts]
        for index, samples in zip(fitting, sampled, strict=True):
            results[index] = [self._read(ids, end_id) for ids in samples]
        return results

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Generator.embed`; an empty text gives zeros.

        Raises:
            UsageError: a text is longer than the model's context.
        """
        encoded = [encode_content(self.tokenizer, text) for text in texts]
        pooled_NE = np.zeros((len(texts), self.model.config.hidden_size), dtype=np.float32)
        by_length = sorted((i for i, ids in enumerate(encoded) if ids), key=lambda i: len(encoded[i]))
        if by_length and len(encoded[by_length[-1]]) > context_tokens(self.model):
            raise UsageError(f"{self.folder}: text too long to embed: {texts[by_length[-1]][:60]!r}...")
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

    def _read(self, ids: list[int], end_id: int) -> Sample:
        return Sample(decode_sample(self.tokenizer, ids), len(ids), finished=ids[-1] == end_id)
