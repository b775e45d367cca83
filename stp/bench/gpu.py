"""`stp bench gpu`: what a machine with a GPU does, against what it must reach, with a printed verdict.

Needs neither Ray nor Lean: weights are random, texts and verdicts made up. Never run on a GPU yet.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from stp.errors import UsageError
from stp.settings import ModelSettings, Section, TinySettings, TrainSettings
from stp.syntax.lean import make_statement
from stp.types import Source, Statement

#: Dense bf16 operations a second of a card whose name holds the word.
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "GH200": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}
MUST_UTILISATION = 0.45
MUST_OF_ENGINE = 0.95
_STYLE = "tiny"


class Sizes(Section):
    """Of the models and of the work."""

    sampled: TinySettings = TinySettings(hidden=768, layers=12, heads=12, context_tokens=2048)
    """About 100 M parameters: sampled, and played a round with."""
    trained: TinySettings = TinySettings(hidden=2048, layers=24, heads=16, context_tokens=2048)
    """About 1 G parameters."""
    prompts: int = 256
    samples: int = 32
    tokens: int = 256
    examples: int = 512
    batch: int = 64
    tokens_per_pass: int = 8_192
    """With as many, 1 G parameters and their activations fit 80 GB: nothing is computed twice."""


@dataclass(frozen=True, slots=True)
class Line:
    """One measurement; `must` is what it has to reach, None where nothing is asked."""

    what: str
    value: float
    unit: str
    must: float | None = None

    def __str__(self) -> str:
        verdict = (
            "" if self.must is None else f"{'PASS' if self.value >= self.must else 'FAIL'} (≥ {self.must})"
        )
        return f"{self.what:44}  {self.value:12,.3g} {self.unit:10} {verdict}".rstrip()


def run(sizes: Sizes | None = None) -> list[Line]:
    """Measures, printing a line each.

    Raises:
        UsageError: there is no GPU, and no sizes were given that a CPU can do.
    """
    import torch

    if not torch.cuda.is_available() and sizes is None:
        raise UsageError("bench gpu: torch finds no GPU here; run it where nvidia-smi shows one")
    sizes = sizes or Sizes()
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    print(card)
    lines: list[Line] = []

    def add(found: Iterable[Line]) -> None:
        for line in found:
            lines.append(line)
            print(line, flush=True)

    with TemporaryDirectory() as name:
        folder = Path(name)
        model = _model(folder / "sampled", sizes.sampled)
        add(_sampling(model, sizes))
        add(_training(_model(folder / "trained", sizes.trained), folder, sizes, card))
        add(_round(model, folder, sizes))
    failed = [line.what for line in lines if line.must is not None and line.value < line.must]
    print(f"verdict: {'FAIL: ' + ', '.join(failed) if failed else 'PASS'}")
    return lines


def _statement(number: int) -> Statement:
    text = f"theorem t (a b : Nat) (h : a ≤ {number}) : a + {number} * b = " + " + ".join(["b"] * 20)
    return make_statement(text, "", Source.DATASET)


def _model(folder: Path, shape: TinySettings) -> Path:
    """In bf16, with random weights."""
    from stp.models import hf
    from stp.models.tiny import make_tiny

    make_tiny(folder, [_statement(number).text for number in range(500)], shape, seed=0)
    model, _ = hf.load(folder, _STYLE, dtype="bfloat16", place=False)
    model.save_pretrained(folder)
    return folder


def _sampling(model: Path, sizes: Sizes) -> Iterator[Line]:
    """Tokens/s of each back end, and its share of what the engine does when asked directly."""
    from stp.bench.sampling import Work, speeds
    from stp.models.prompts import prompt_format

    prompts = [prompt_format(_STYLE).prover(_statement(number)) for number in range(sizes.prompts)]
    for speed in speeds(model, Work(prompts, _STYLE, sizes.samples, sizes.tokens, batch=256)):
        yield Line(f"sampling, {speed.backend}, n = {sizes.samples}", speed.ours, "tokens/s")
        yield Line("  the engine asked directly, without seeds", speed.engine, "tokens/s")
        yield Line("  share of that", speed.share, "", MUST_OF_ENGINE)


def _training(model: Path, folder: Path, sizes: Sizes, card: str) -> list[Line]:
    """Tokens/s between a short and a longer training, so that loading and saving do not count."""
    import torch
    from safetensors import safe_open

    from stp.models.prompts import prompt_format
    from stp.training.examples import Example
    from stp.training.sft import train

    style = prompt_format(_STYLE)
    examples = [Example(style.prover(_statement(i)), "by omega " * 60) for i in range(sizes.examples)]
    settings = TrainSettings(batch_size=sizes.batch, tokens_per_pass=sizes.tokens_per_pass, save_steps=10**6)
    short, long = (
        train(
            model, folder / f"after-{epochs}", examples, settings.model_copy(update={"epochs": epochs}),
            prompt_format=_STYLE, seed=0,
        )
        for epochs in (1.0, 4.0)
    )  # fmt: skip
    rate = (long.tokens - short.tokens) / (long.seconds - short.seconds)
    with safe_open(model / "model.safetensors", "pt") as file:
        parameters = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
    lines = [Line(f"training, {parameters / 1e6:,.0f} M parameters", rate, "tokens/s")]
    peak = next((flops for word, flops in PEAK_FLOPS.items() if word in card), None)
    if peak:
        # Two operations a weight and token forward, four backward.
        lines.append(
            Line("  of the card's operations (MFU)", 6 * parameters * rate / peak, "", MUST_UTILISATION)
        )
    if torch.cuda.is_available():
        lines.append(Line("  most memory", torch.cuda.max_memory_allocated() / 2**30, "GiB"))
    return lines


def _round(model: Path, folder: Path, sizes: Sizes) -> list[Line]:
    """Generate, take every eighth sample for proved, train, generate with the new weights."""
    from stp.models.backend import open_generator
    from stp.models.prompts import prompt_format
    from stp.training.examples import Example
    from stp.training.sft import train

    backend = "vllm" if importlib.util.find_spec("vllm") else "transformers"
    began = time.monotonic()
    style = prompt_format(_STYLE)
    prompts = [style.prover(_statement(number)) for number in range(sizes.prompts)]
    generator = open_generator(ModelSettings(backend=backend), model)
    how = {"n": sizes.samples, "temperature": 1.0, "max_tokens": sizes.tokens, "seed": 0}
    sampled = generator.generate(prompts, **how)  # type: ignore[arg-type]
    generator.release()
    proved = [
        Example(prompt, sample.text)
        for prompt, samples in zip(prompts, sampled, strict=True)
        for sample in samples[::8]  # as if one in eight were proved
    ]
    settings = TrainSettings(batch_size=sizes.batch, tokens_per_pass=sizes.tokens_per_pass)
    train(model, folder / "round-1", proved, settings, prompt_format=_STYLE, seed=0)
    generator.use(folder / "round-1")
    again = generator.generate(prompts, **how)  # type: ignore[arg-type]
    generator.close()
    return [
        Line(f"a round: {len(proved)} examples, {backend}", time.monotonic() - began, "s"),
        Line(
            "  samples after training", float(sum(map(len, again))), "", float(sizes.prompts * sizes.samples)
        ),
    ]
