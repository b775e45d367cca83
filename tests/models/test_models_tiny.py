"""The tiny model: an ordinary Hugging Face folder, the same bytes each time."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from stp.errors import UsageError
from stp.models.tiny import make_tiny
from stp.settings import TinySettings

SMALL = TinySettings(vocabulary=300, hidden=32, layers=2, heads=4, context_tokens=96)
TEXTS = ["(a b : Nat) : a + b = b + a", "by omega", "by simp [Nat.add_comm]"]


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_same_texts_and_seed_give_the_same_bytes(tmp_path: Path) -> None:
    torch.manual_seed(1)
    make_tiny(tmp_path / "a", TEXTS, SMALL, seed=7)
    torch.manual_seed(2)
    make_tiny(tmp_path / "b", TEXTS, SMALL, seed=7)
    make_tiny(tmp_path / "c", TEXTS, SMALL, seed=8)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b") != bytes_of(tmp_path / "c")


def test_transformers_loads_the_folder(tmp_path: Path) -> None:
    make_tiny(tmp_path / "model", TEXTS, SMALL, seed=0)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert len(tokenizer) == model.config.vocab_size <= 300
    assert tokenizer.eos_token_id == model.config.eos_token_id != tokenizer.pad_token_id


def test_the_default_shape_has_about_five_million_parameters(tmp_path: Path) -> None:
    words = [f" {a}{b}" for a in "abcdefghijklmnopqrstuvwxyz" for b in TEXTS]
    make_tiny(tmp_path / "model", words, TinySettings(), seed=0)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    body = sum(p.numel() for p in model.model.layers.parameters())
    assert 4.3e6 < body + 2048 * 256 < 5.3e6


def test_impossible_shapes_and_taken_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="vocabulary: expected"):
        make_tiny(tmp_path / "a", TEXTS, SMALL.model_copy(update={"vocabulary": 200}), seed=0)
    with pytest.raises(UsageError, match="hidden size"):
        make_tiny(tmp_path / "a", TEXTS, SMALL.model_copy(update={"hidden": 30}), seed=0)
    with pytest.raises(UsageError, match="exists already"):
        make_tiny(tmp_path, TEXTS, SMALL, seed=0)
