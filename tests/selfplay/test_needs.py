"""What a run needs and does not find is one line, and no folder is made."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from stp.errors import StpError
from stp.selfplay.round import selfplay
from stp.selfplay.seed_model import seed_model
from stp.settings import ModelSettings, load
from stp.verify.lean import toolchain
from tests.models.test_bad_machines import vllm


def refused(tmp_path: Path, config: str, overrides: list[str]) -> str:
    with pytest.raises(StpError) as caught:
        selfplay(load(config, overrides), tmp_path / "run", 1)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.backend=vllm"], "model.backend vllm: vllm is not installed; run: pip install"),
        (["train.lora_rank=4"], "train.lora_rank = 4: peft is not installed; run: pip install"),
        (["train.attention=flash_attention_2"], "flash_attn is not installed; run: pip install flash-attn"),
        (["train.launch=nowhere --processes 8"], "train.launch: cannot start 'nowhere'"),
        (["model.base=models/nowhere"], "model.base: models/nowhere: expected tiny or a Hugging Face folder"),
        (["select.guide=true", "judge.base=models/judge"], "judge.base: models/judge: expected tiny or"),
        (["model.backend=chat"], 'model.backend "chat": for stp prove alone'),
    ],
)
def test_what_would_sample_and_train(
    overrides: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert said in refused(tmp_path, "tiny", overrides)


def test_a_gpu_that_vllm_runs_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)
    vllm(monkeypatch, unspecified=True)
    assert "vLLM finds no GPU here" in refused(tmp_path, "tiny", ["model.backend=vllm"])


@pytest.mark.lean
def test_tokens_that_the_prompts_have_and_the_model_lacks(tmp_path: Path) -> None:
    shutil.copytree(seed_model(ModelSettings()), tmp_path / "model")
    file = tmp_path / "model/tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "extra_special_tokens": []}))
    assert "lacks <|theorem|>" in refused(tmp_path, "tiny", [f"model.base={tmp_path}/model"])


@pytest.mark.lean
def test_a_model_that_has_not_learnt_more_than_the_run_s_few_seeds(tmp_path: Path) -> None:
    assert "run stp data model" in refused(tmp_path, "tiny", ["data.seed_statements=9"])


@pytest.mark.lean
@pytest.mark.parametrize("kind", ["auto", "embedded", "native"])
def test_a_lean_that_can_read_the_statements(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolchain, "_native_missing", lambda: "there is none")
    rows = [{"header": "import Mathlib", "formal_statement": f"theorem t : {i} = {i}"} for i in range(9)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    overrides = [f"data.dataset={tmp_path}/own.jsonl", f"verify.toolchain={kind}"]
    said = refused(tmp_path, "tiny", overrides)
    if kind == "native":
        assert said == "no native Lean to use: there is none; run: make lean"
    else:
        assert "own.jsonl: imports Mathlib, which the embedded Lean lacks" in said
        assert "make lean" in said
