"""Training a real, very small transformer: the loss, the result, and being killed on the way."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from stp.errors import MachineryError, UsageError
from stp.models.hf import HfGenerator, load
from stp.models.prompts import prompt_format
from stp.models.tiny import make_tiny
from stp.settings import TinySettings, TrainSettings
from stp.training import fit, sft
from stp.training.examples import Example, collate, encode
from tests.theorems import theorem

STYLE = prompt_format("tiny")
PROOFS = ["by omega", "by rfl", "by simp [Nat.add_comm]", "by decide", "by exact h"]
EXAMPLES = [
    Example(STYLE.prover(theorem(f"theorem t{i} (a : Nat) : a + {i} = {i} + a")), proof, 1.0 + i)
    for i, proof in enumerate(PROOFS)
]
SETTINGS = TrainSettings(epochs=4, learning_rate=1e-2, batch_size=2, save_steps=3)
AVERAGED = SETTINGS.model_copy(update={"average_decay": 0.9})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny"
    shape = TinySettings(vocabulary=300, hidden=32, layers=2, heads=4, context_tokens=96)
    make_tiny(path, [example.prompt.text + example.target for example in EXAMPLES], shape, seed=0)
    return path


def run(
    folder: Path, out: Path, examples: list[Example], settings: TrainSettings = SETTINGS
) -> fit.TrainReport:
    return sft.train(folder, out, examples, settings, prompt_format="tiny", seed=0)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_the_loss_is_the_weighted_mean_over_target_tokens(folder: Path) -> None:
    model, tokenizer = load(folder, "tiny")
    encoded, _ = encode(EXAMPLES, tokenizer, 96)
    total = weight = 0.0
    for example in encoded:  # one by one, unpadded, on the model's own logits
        log_probs_TV = model(torch.tensor([example.ids])).logits[0].log_softmax(-1)
        for t in range(example.prompt_tokens, len(example.ids)):
            total -= example.weight * log_probs_TV[t - 1, example.ids[t]].item()
            weight += example.weight
    assert fit.weighted_loss(model, **collate(encoded)).item() == pytest.approx(total / weight, abs=1e-5)


def test_five_proofs_are_learned_by_heart(folder: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"epochs": 80, "batch_size": 5})
    report = run(folder, tmp_path / "out", EXAMPLES, settings)
    assert report.steps == 80
    assert report.loss < 2
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    generator = HfGenerator(tmp_path / "out", "tiny")
    prompts = [example.prompt for example in EXAMPLES]
    written = generator.generate(prompts, n=3, temperature=0.1, max_tokens=40, seed=0)
    assert [{sample.text for sample in samples} for samples in written] == [{proof} for proof in PROOFS]
    assert all(sample.finished for samples in written for sample in samples)


@pytest.mark.parametrize("seed", [-1, 20261130220000])
def test_any_number_is_a_seed(folder: Path, tmp_path: Path, seed: int) -> None:
    once = SETTINGS.model_copy(update={"epochs": 1})
    sft.train(folder, tmp_path / "out", EXAMPLES, once, prompt_format="tiny", seed=seed)


def test_only_the_proportions_of_weights_matter(folder: Path, tmp_path: Path) -> None:
    doubled = [Example(e.prompt, e.target, 2 * e.weight) for e in EXAMPLES]
    even = [Example(e.prompt, e.target, 1.0) for e in EXAMPLES]
    run(folder, tmp_path / "a", EXAMPLES)
    run(folder, tmp_path / "b", doubled)
    run(folder, tmp_path / "c", even)
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")


def test_an_example_of_weight_zero_changes_nothing(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "a", EXAMPLES)
    run(folder, tmp_path / "b", [Example(EXAMPLES[0].prompt, "sorry", 0.0), *EXAMPLES])
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


def test_the_same_training_again_returns_its_report_and_another_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    first = run(folder, tmp_path / "out", EXAMPLES)
    assert run(folder, tmp_path / "out", EXAMPLES) == first
    (tmp_path / "out.work").mkdir()  # as if killed between the rename and the removal
    assert run(folder, tmp_path / "out", EXAMPLES) == first
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(UsageError, match="move it away"):
        run(folder, tmp_path / "out", EXAMPLES[1:])


def test_nothing_to_train_on_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no example"):
        run(folder, tmp_path / "out", [Example(EXAMPLES[0].prompt, "by simp", 0.0)])


@pytest.mark.parametrize(
    "diverging",
    [
        {"learning_rate": 1e30},
        {"learning_rate": 1e39, "batch_size": 99, "epochs": 1.0, "warmup_frac": 0.0},  # in its only step
    ],
)
def test_a_loss_that_is_not_finite_stops_and_leaves_the_model(
    folder: Path, tmp_path: Path, diverging: dict[str, float]
) -> None:
    before = weights(folder)
    with pytest.raises(MachineryError, match=r"step .* loss is .*learning_rate"):
        run(folder, tmp_path / "out", EXAMPLES, SETTINGS.model_copy(update=diverging))
    assert weights(folder) == before
    assert not (tmp_path / "out").exists()


def test_standard_output_stays_clean(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(folder, tmp_path / "out", EXAMPLES)
    assert capfd.readouterr().out == ""


KILLED = """
import sys, time, torch
sys.path.insert(0, {tests!r})
from pathlib import Path
import test_sft
from stp.training import fit, sft
torch.set_num_threads(1)
plain = fit.weighted_loss
def slow(*args, **kwargs):
    time.sleep(0.15)
    return plain(*args, **kwargs)
fit.weighted_loss = slow
test_sft.run(Path({folder!r}), Path({out!r}), test_sft.EXAMPLES, test_sft.AVERAGED)
"""


@pytest.mark.programs
def test_a_killed_training_goes_on_to_the_same_weights(folder: Path, tmp_path: Path) -> None:
    undisturbed = run(folder, tmp_path / "a", EXAMPLES, AVERAGED)
    out = tmp_path / "b"
    script = KILLED.format(tests=str(Path(__file__).parent), folder=str(folder), out=str(out))
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    whole = tmp_path / "b.work" / "checkpoint-6" / "whole"
    deadline = time.monotonic() + 120
    while not whole.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not out.exists()
    torn = tmp_path / "b.work" / "checkpoint-9"  # as if the kill had come while it was written
    torn.mkdir(exist_ok=True)
    (torn / "whole").unlink(missing_ok=True)
    resumed = run(folder, out, EXAMPLES, AVERAGED)
    assert weights(out) == weights(tmp_path / "a")
    assert (resumed.steps, resumed.tokens, resumed.loss) == (
        undisturbed.steps,
        undisturbed.tokens,
        undisturbed.loss,
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_checkpoints_of_another_training_are_not_resumed(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "a", EXAMPLES)
    work = tmp_path / "b.work"
    work.mkdir()
    (work / "inputs").write_text("another")
    (work / "checkpoint-3").mkdir()
    (work / "checkpoint-3" / "whole").touch()
    run(folder, tmp_path / "b", EXAMPLES)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
