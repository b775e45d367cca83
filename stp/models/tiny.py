"""The tiny model: a Llama-shaped transformer and its tokenizer, made on the spot from given texts.

It comes with random weights and learns everything from the seed corpus, so the whole system runs
with nothing downloaded. The result is an ordinary Hugging Face folder: whatever handles it handles
a 7B prover too.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from stp.errors import UsageError
from stp.files import whole_folder
from stp.models.prompts import prompt_format
from stp.settings import TinySettings

disable_progress_bar()  # type: ignore[no-untyped-call]  # of writing one small file

END = "<|end|>"
PAD = "<|pad|>"
_SPECIAL = (PAD, END, *prompt_format("tiny").special_tokens)
_BYTES = 256

#: Words with the blank or dot before them (`Nat`, `.add_comm`), digits one by one (numbers are then
#: spelled alike wherever they stand), runs of symbols, blanks. Merges never cross these borders.
_WORDS = r" ?\.?[\p{L}_'!?]+| ?\p{N}| ?[^\s\p{L}\p{N}_]+|\s+(?!\S)|\s+"


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of at most `vocabulary` tokens: no unknown token, no normalising,
    so every text comes back as it went in.

    Raises:
        UsageError: `vocabulary` cannot hold the 256 bytes and the special tokens.
    """
    smallest = _BYTES + len(_SPECIAL)
    if vocabulary < smallest:
        raise UsageError(f"a tokenizer's vocabulary: expected at least {smallest}, found {vocabulary}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in _SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens=list(prompt_format("tiny").special_tokens),
        clean_up_tokenization_spaces=False,
    )


def make_tiny(folder: Path, texts: Iterable[str], settings: TinySettings, seed: int) -> None:
    """Writes tokenizer and randomly initialised model to `folder`, which appears whole or not at all.

    The same texts, settings and seed give the same bytes; torch's global random state is left alone.

    Raises:
        UsageError: `folder` exists, or a setting cannot be met.
    """
    if folder.exists():
        raise UsageError(f"{folder}: exists already: name a new folder for the tiny model")
    tokenizer = train_tokenizer(texts, settings.vocabulary)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(_config(settings, tokenizer))
    with whole_folder(folder) as work:
        model.save_pretrained(work)
        tokenizer.save_pretrained(work)


def _config(settings: TinySettings, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """4.5 M parameters at the default settings. One key/value head for four heads: sampling waits for
    cache traffic, and attention over 80 columns took 0.5 ms a layer and step with one such head,
    0.8 with two and 3.2 with four (128 rows, one core)."""
    if settings.hidden % (2 * settings.heads):
        raise UsageError(f"hidden size: expected a multiple of {2 * settings.heads}, found {settings.hidden}")
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden,
        intermediate_size=settings.hidden * 5 // 2,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=max(1, settings.heads // 4),
        max_position_embeddings=settings.context_tokens,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
