"""GPUs that are not there or too small: one line that says what fits. CUDA's answers are made up here."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from stp import doctor
from stp.errors import UsageError
from stp.models import decode, hf
from stp.models.backend import open_generator
from stp.models.hf import HfGenerator
from stp.models.prompts import prompt_format
from stp.selfplay.seed_model import seed_model
from stp.settings import ModelSettings
from tests.theorems import theorem

TINY = seed_model(ModelSettings())
PROMPT = prompt_format("tiny").prover(theorem("theorem t (a : Nat) : a = a"))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """One with 1 MiB free."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (1 << 20, 1 << 30))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)


@pytest.mark.usefixtures("gpu")
def test_weights_that_do_not_fit_are_told_what_does() -> None:
    with pytest.raises(UsageError, match=r"its weights take .* GiB; 0\.0 GiB .* weights in 16 bits"):
        HfGenerator(TINY, "tiny")


def test_a_batch_that_does_not_fit_is_told_what_does(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    generator = HfGenerator(TINY, "tiny", batch_size=64)
    request.getfixturevalue("gpu")

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(decode, "sample", full)
    with pytest.raises(UsageError, match=r"model\.batch_size = 64: .* about \d+ sequences of \d+ tokens fit"):
        generator.generate([PROMPT], n=2, temperature=1.0, max_tokens=20, seed=0)


def vllm(monkeypatch: pytest.MonkeyPatch, *, unspecified: bool) -> None:
    """A stand-in for the package as it is where it finds no GPU, or one that it would start on."""
    platform = SimpleNamespace(is_unspecified=lambda: unspecified)
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=None))
    monkeypatch.setitem(sys.modules, "vllm.platforms", SimpleNamespace(current_platform=platform))


def test_vllm_without_a_gpu_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    vllm(monkeypatch, unspecified=True)
    with pytest.raises(UsageError, match=r"vLLM finds no GPU here: .* set model\.backend"):
        open_generator(ModelSettings(backend="vllm"), TINY)


@pytest.mark.usefixtures("gpu")
def test_vllm_on_a_gpu_too_small_says_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    vllm(monkeypatch, unspecified=False)
    with pytest.raises(UsageError, match=r"billion weights in 16 bits: take a smaller model, more GPUs"):
        open_generator(ModelSettings(backend="vllm"), TINY)


@pytest.mark.parametrize("backend", ["transformers", "vllm", "openai"])
def test_a_model_that_is_not_there_is_named_by_every_back_end(backend: str, tmp_path: Path) -> None:
    settings = ModelSettings(backend=backend)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"prover: expected a Hugging Face model folder, found no"):
        open_generator(settings, tmp_path / "prover")


def test_an_attention_that_is_not_installed_is_named() -> None:
    with pytest.raises(UsageError, match=r"train\.attention = flash_attention_2: .* or take sdpa"):
        hf.load(TINY, "tiny", attention="flash_attention_2")


def test_doctor_tells_a_gpu_that_torch_cannot_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "0000").mkdir()
    (tmp_path / "0000/information").write_text("Model: \t\t NVIDIA H100\nIRQ: 1\n")
    monkeypatch.setattr(doctor, "_GPUS", tmp_path)
    for build, state in (("2.13.0+cpu", "note"), ("2.13.0+cu130", "ok")):
        monkeypatch.setattr(doctor, "version", lambda _, build=build: build)
        found = doctor._gpu()
        assert (found.name, found.state) == ("GPU", state)
        assert "NVIDIA H100" in found.text
        assert ("install a CUDA build of torch" in found.text) is (state == "note")
