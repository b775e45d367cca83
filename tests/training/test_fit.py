"""What a step computes, however it is laid out, cut up and spread: the same loss, the same weights."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file
from test_sft import EXAMPLES, SETTINGS, run
from torch import nn

from stp.errors import MachineryError, UsageError
from stp.models.hf import load
from stp.models.tiny import make_tiny
from stp.settings import TinySettings, TrainSettings
from stp.training import fit
from stp.training.examples import Encoded, Example, collate, encode, pack, plan, split, step_tensors
from stp.training.fit import weighted_loss
from stp.training.launch import launcher

#: Two processes on the cores, with gloo between them.
TWO = "accelerate launch --config_file {{accelerate}}/{}.yaml --num_processes 2 --main_process_port 0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny"
    shape = TinySettings(vocabulary=300, hidden=32, layers=2, heads=4, context_tokens=96)
    make_tiny(path, [example.prompt.text + example.target for example in EXAMPLES], shape, seed=0)
    return path


def changed(**changes: object) -> TrainSettings:
    return SETTINGS.model_copy(update=changes)


def distance(a: Path, b: Path) -> float:
    """The largest difference between two models' weights."""
    left, right = load_file(a / "model.safetensors"), load_file(b / "model.safetensors")
    assert left.keys() == right.keys()
    return max((left[name].float() - right[name].float()).abs().max().item() for name in left)


@pytest.mark.parametrize("prompt_weight", [0.0, 0.3])
def test_packed_examples_do_not_see_each_other(folder: Path, prompt_weight: float) -> None:
    model, tokenizer = load(folder, "tiny")
    with torch.no_grad():  # wide weights, so that a leak would show
        for weight in model.parameters():
            if weight.ndim == 2:
                nn.init.normal_(weight, 0, 0.5, generator=torch.Generator().manual_seed(0))
    encoded, _ = encode(EXAMPLES, tokenizer, 96)
    plain = weighted_loss(model, **collate(encoded, prompt_weight)).item()
    packed = pack(encoded, prompt_weight)
    assert weighted_loss(model, **packed).item() == pytest.approx(plain, abs=1e-5)
    leak = weighted_loss(model, packed["input_ids"], packed["token_weights"]).item()
    assert leak != pytest.approx(plain, abs=1e-3)


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize(("processes", "tokens"), [(1, 0), (1, 60), (2, 0), (2, 60), (8, 0)])
def test_the_passes_of_a_step_add_up_to_it(folder: Path, packing: bool, processes: int, tokens: int) -> None:
    model, tokenizer = load(folder, "tiny")
    encoded, _ = encode(EXAMPLES, tokenizer, 96)
    settings = TrainSettings(tokens_per_pass=tokens, packing=packing, prompt_weight=0.3)
    shares = [step_tensors(encoded, settings, rank, processes) for rank in range(processes)]
    assert len({len(share) for share in shares}) == 1, "all processes must take part in every pass"
    total = sum(weighted_loss(model, **tensors).item() for share in shares for tensors in share)
    assert total == pytest.approx(weighted_loss(model, **collate(encoded, 0.3)).item(), abs=1e-5)


def test_a_pass_holds_no_more_tokens_than_it_may() -> None:
    batch = [Encoded((1,) * length, 1, 1.0) for length in (5, 9, 40, 3, 8, 8, 20)]
    parts = split(batch, 2, 40)
    assert len(parts) % 2 == 0
    assert max(sum(len(e.ids) for e in part) for part in parts) <= 40
    assert sorted(len(e.ids) for part in parts for e in part) == [3, 5, 8, 8, 9, 20, 40]


@pytest.mark.parametrize(
    "changes",
    [{"tokens_per_pass": 40}, {"packing": True}, {"gradient_checkpointing": True}],
    ids=lambda changes: next(iter(changes)),
)
def test_how_a_step_is_computed_changes_nothing(
    folder: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    plain = run(folder, tmp_path / "a", EXAMPLES)
    other = run(folder, tmp_path / "b", EXAMPLES, changed(**changes))
    assert other.loss == pytest.approx(plain.loss, abs=1e-2)
    assert distance(tmp_path / "a", tmp_path / "b") < 1e-2 < distance(folder, tmp_path / "a")


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_a_training_is_that_of_a_plain_loop(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decay: float
) -> None:
    """The reference: torch's own AdamW, one unpadded example after the other, a schedule written out."""
    monkeypatch.setattr(fit, "_bf16_pays", lambda: False)
    settings = changed(average_decay=decay, warmup_frac=0.25)
    report = run(folder, tmp_path / "out", EXAMPLES, settings)
    model, tokenizer = load(folder, "tiny")
    encoded, _ = encode(EXAMPLES, tokenizer, 96)
    batches = plan(encoded, settings.epochs, settings.batch_size, 0)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    mean, losses = [weight.detach().clone() for weight in model.parameters()], []
    warmup = math.ceil(len(batches) / 4)
    for step, batch in enumerate(batches):
        share = (step - warmup) / (len(batches) - warmup)
        rate = step / warmup if step < warmup else (1 + math.cos(math.pi * share)) / 2
        optimizer.param_groups[0]["lr"] = rate * settings.learning_rate
        total = torch.zeros(())
        for example in batch:
            log_probs_TV = model(torch.tensor([example.ids])).logits[0].log_softmax(-1)
            for t in range(example.prompt_tokens, len(example.ids)):
                total = total - example.weight * log_probs_TV[t - 1, example.ids[t]]
        loss = total / sum(e.weight * (len(e.ids) - e.prompt_tokens) for e in batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        kept = min(decay, (2 + step) / (11 + step))
        mean = [kept * m + (1 - kept) * w.detach() for m, w in zip(mean, model.parameters(), strict=True)]
    assert report.loss == pytest.approx(sum(losses) / len(losses), abs=1e-5)
    trained, _ = load(tmp_path / "out", "tiny")
    off = [(w - m).abs().max().item() for w, m in zip(trained.parameters(), mean, strict=True)]
    assert max(off) < 1e-4


def test_adapters_are_merged_into_a_whole_model(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    run(folder, tmp_path / "out", EXAMPLES, changed(lora_rank=4))
    before, after = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "out"))
    assert before.keys() == after.keys()
    moved = {name.split(".")[-2] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    load(tmp_path / "out", "tiny")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_train_what_one_does(folder: Path, tmp_path: Path, kind: str) -> None:
    plain = run(folder, tmp_path / "a", EXAMPLES, changed(average_decay=0.5))
    other = run(folder, tmp_path / "b", EXAMPLES, changed(average_decay=0.5, launch=TWO.format(kind)))
    assert (plain.processes, other.processes) == (1, 2)
    assert other.loss == pytest.approx(plain.loss, abs=1e-2)
    assert distance(tmp_path / "a", tmp_path / "b") < 1e-2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_gpu_that_is_too_small_is_told_what_fits(folder: Path) -> None:
    model, _ = load(folder, "tiny", dtype="float32")
    needed = 16 * sum(weight.numel() for weight in model.parameters())
    fit.check_room(model, changed(), needed, 1)
    fit.check_room(model, changed(), needed // 2, 2)
    fit.check_room(model, changed(average_decay=0.9), needed * 5 // 4, 1)
    with pytest.raises(UsageError, match=r"on 1 GPUs: .* 50% would fit; set train\.lora_rank"):
        fit.check_room(model, changed(), needed // 2, 1)


def test_a_full_gpu_names_what_to_lower(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(fit, "weighted_loss", full)
    with pytest.raises(UsageError, match=r"train\.tokens_per_pass = 500 .* set fewer, train\.gradient_check"):
        run(folder, tmp_path / "out", EXAMPLES, changed(tokens_per_pass=500))


#: Two launchers that find each other as they would on two machines.
_TWO_MACHINES = """
for machine in 1 0; do
  {python} -m accelerate.commands.launch --config_file {accelerate}/fsdp.yaml --num_machines 2 \\
    --num_processes 2 --machine_rank $machine --main_process_ip 127.0.0.1 --main_process_port {port} "$@" &
done
wait $! && wait
"""


@pytest.mark.slow
def test_two_machines_train_what_one_does(folder: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = tmp_path / "launch.sh"
    [accelerate] = launcher("{accelerate}")
    script.write_text(_TWO_MACHINES.format(python=sys.executable, accelerate=accelerate, port=port))
    plain = run(folder, tmp_path / "a", EXAMPLES)
    other = run(folder, tmp_path / "b", EXAMPLES, changed(launch=f"sh {script}"))
    assert (plain.processes, other.processes) == (1, 2)
    assert other.loss == pytest.approx(plain.loss, abs=1e-2)
    assert distance(tmp_path / "a", tmp_path / "b") < 1e-2


@pytest.mark.programs
def test_a_launcher_that_is_not_there_is_named_and_a_failed_one_too(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"train\.launch: cannot start 'no-such-launcher'"):
        run(folder, tmp_path / "a", EXAMPLES, changed(launch="no-such-launcher --now"))
    long = [Example(EXAMPLES[0].prompt, "by simp " * 200)]
    with pytest.raises(MachineryError, match="exit code 2"):
        run(folder, tmp_path / "b", long, changed(launch=sys.executable))


def test_accelerate_is_that_of_this_python() -> None:
    words = launcher("accelerate launch --config_file {accelerate}/ddp.yaml --num_processes 2")
    assert words[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    assert Path(words[4]).is_file()


_DRIVER = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import test_sft
settings = test_sft.SETTINGS.model_copy(update={{"launch": sys.executable, "epochs": 4000}})
test_sft.run(Path({folder!r}), Path({out!r}), test_sft.EXAMPLES, settings)
"""


@pytest.mark.slow
def test_training_processes_end_with_a_killed_driver(folder: Path, tmp_path: Path) -> None:
    script = _DRIVER.format(tests=str(Path(__file__).parent), folder=str(folder), out=str(tmp_path / "out"))
    driver = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out.work/checkpoint-*/whole")) and time.monotonic() < deadline:
        time.sleep(0.1)
    children = psutil.Process(driver.pid).children(recursive=True)
    assert children
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
