"""The presets for GPUs and clusters: they load, and the same code plays a round with tiny stand-ins."""

from __future__ import annotations

import importlib.util
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from stp.cli import app
from stp.models.prompts import prompt_format
from stp.settings import load, presets
from stp.store.store import Store
from stp.training.launch import launcher

LARGE = ["gpu", "cluster"]
#: Sizes of the run and of the machine, nothing else; the model is the tiny one under the large one's format.
SMALL = """
data.statements=8 data.held_out=4 conjecture.inputs=6 conjecture.samples_total=12 conjecture.keep=3
attempt.samples=4 evaluate.samples=2 verify.toolchain="embedded" verify.workers=1 verify.require_sandbox=false
verify.heartbeats=20000 model.max_proof_tokens=48 model.max_statement_tokens=96 model.context_tokens=0
model.batch_size=32 model.base="tiny" train.attention="sdpa" train.tokens_per_pass=2000 train.batch_size=16
"""


@pytest.mark.parametrize("name", presets())
def test_a_preset_loads_and_what_it_names_is_there(name: str) -> None:
    settings = load(name)
    prompt_format(settings.model.prompt_format)
    for word in launcher(settings.train.launch)[3:]:
        if word.endswith(".yaml"):
            assert yaml.safe_load(Path(word).read_text())["distributed_type"] == "FSDP"


@pytest.mark.parametrize("name", LARGE)
def test_a_proof_and_its_longest_prompt_fit_the_context(name: str) -> None:
    model = load(name).model
    statement_and_proof = model.max_statement_tokens + model.max_proof_tokens
    assert statement_and_proof + model.max_statement_tokens < model.context_tokens


@pytest.mark.parametrize("name", LARGE)
def test_plan_says_what_a_round_of_a_large_preset_needs(name: str) -> None:
    done = CliRunner().invoke(app, ["plan", "--config", name, "--statements", "89000"])
    assert done.exit_code == 0, done.output
    rows = {line[:14].rstrip(): line.split("  ")[-1].strip() for line in done.output.splitlines() if line}
    assert rows["proofs"] == "3.49 M", "32 of each of 89,000 statements and 20,000 conjectures"
    assert float(rows["hours in all"]) > 1


@pytest.mark.slow
@pytest.mark.lean
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", LARGE)
def test_a_round_of_the_large_presets_with_tiny_stand_ins(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM where it is installed, else transformers; two processes in place of eight GPUs."""
    from stp.selfplay.round import selfplay

    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    small = shlex.split(SMALL, posix=False)
    if importlib.util.find_spec("vllm") is None:
        small.append('model.backend="transformers"')
    if load(name).model.replicas:
        small.append("model.replicas=2")
    if launch := load(name).train.launch:
        small.append(f'train.launch="{launch} --cpu --num_processes 2"')
    selfplay(load(name, small), tmp_path / "run", 1)
    with Store(tmp_path / "run/stp.sqlite", read_only=True) as store:
        assert all(mark.finished_at for mark in store.stages())
        assert (1, "evaluate") in {(mark.round, mark.name) for mark in store.stages()}
    assert (tmp_path / "run/models/round-1/config.json").is_file()
