"""Between prompts and ids: what every back end does alike, so that a model reads one text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast

from stp.errors import UsageError
from stp.models.base import Sample
from stp.models.prompts import Prompt, check_tokenizer, decode_sample, encode_prompt, prompt_format


def load_tokenizer(folder: Path, format_name: str) -> PreTrainedTokenizerFast:
    """The tokenizer of a model's folder.

    Raises:
        UsageError: the folder is missing or damaged, or its tokenizer cannot write the format.
    """
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder}: expected a Hugging Face model folder, found no config.json")
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UsageError(f"{folder}: not a model that transformers can load: {first_line(error)}") from error
    check_tokenizer(tokenizer, prompt_format(format_name), str(folder))
    return tokenizer  # type: ignore[no-any-return]


def config_of(folder: Path) -> dict[str, Any]:
    """config.json of a model's folder."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config


def precision(folder: Path) -> str:
    """The name of the type that a folder's weights are to be loaded in."""
    config = config_of(folder)
    return str(config.get("dtype") or config.get("torch_dtype") or "float32")


def first_line(error: Exception) -> str:
    """What an error of another library says, short enough for a line."""
    return str(error).strip().partition("\n")[0][:300]


class Codec:
    """The tokenizer and the context of a model's folder."""

    def __init__(self, folder: Path, format_name: str, context_tokens: int = 0) -> None:
        self.folder = folder
        self.tokenizer = load_tokenizer(folder, format_name)
        try:
            config: Any = AutoConfig.from_pretrained(folder, local_files_only=True)
            made_for = int(config.max_position_embeddings)
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise UsageError(f"{folder}: not a model's configuration: {first_line(error)}") from error
        #: Tokens of prompt and text together.
        self.context_tokens = min(context_tokens or made_for, made_for)
        self.end_id = int(self.tokenizer.eos_token_id)

    def fit(
        self, prompts: Sequence[Prompt], n: int, temperature: float, max_tokens: int
    ) -> dict[int, list[int]]:
        """Ids of the prompts that leave room for `max_tokens`, by their place; none is ever cut.

        Raises:
            UsageError: no prompt could be sampled like that.
        """
        room = self.context_tokens - max_tokens
        if min(n, max_tokens, room) < 1 or temperature <= 0:
            raise UsageError(
                f"cannot sample n={n} texts of max_tokens={max_tokens} at temperature={temperature} from "
                f"{self.folder}, whose context is {self.context_tokens} tokens"
            )
        encoded = enumerate(encode_prompt(self.tokenizer, prompt) for prompt in prompts)
        return {place: ids for place, ids in encoded if len(ids) <= room}

    def read(self, ids: list[int], logprobs: Sequence[float] = ()) -> Sample:
        """The sample of sampled ids, the end token included where the model wrote one."""
        text = decode_sample(self.tokenizer, ids)
        return Sample(text, len(ids), finished=ids[-1:] == [self.end_id], logprobs=tuple(logprobs))


def prompt_seed(seed: int, ids: list[int]) -> int:
    """The random seed of one prompt's samples: 62 bits, so that engines which count up from it for each
    further sample of the prompt (vLLM does) meet no other prompt's."""
    digest = hashlib.blake2b(repr((seed, ids)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 2
