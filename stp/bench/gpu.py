"""`stp bench gpu`: what a machine with a GPU does, against what it must reach, with a printed verdict.

Needs neither Ray nor Lean: weights are random, texts and verdicts made up. Never run on a GPU yet.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stp.errors import UsageError
from stp.settings import ModelSettings, Section, TinySettings, TrainSettings

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
    tokens_per_pass: int = 16_384


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

    def add(*found: Line) -> None:
        lines.extend(found)
        print("\n".join(map(str, found)), flush=True)

    with TemporaryDirectory() as name:
        folder = Path(name)
        model = _model(folder / "sampled", sizes.sampled)
        add(*_sampling(model, sizes))
        add(*_training(_model(folder / "trained", sizes.trained), folder, sizes, card))
        add(*_round(model, folder, sizes))
    failed = [line.what for line in lines if line.must is not None and line.value < line.must]
    print(f"verdict: {'FAIL: ' + ', '.join(failed) if failed else 'PASS'}")
    return lines


def _statement(number: int) -> str:
    return f"theorem t (a b : Nat) (h : a ≤ {number}) : a + {number} * b = " + " + ".join(["b"] * 20)


def _model(folder: Path, shape: TinySettings) -> Path:
    from stp.models.tiny import make_tiny

    make_tiny(folder, [_statement(number) for number in range(500)], shape, seed=0)
    return folder


def _sampling(model: Path, sizes: Sizes) -> list[Line]:
    """Tokens/s of each back end, and of vLLM asked directly, for the same prompts."""
    from stp.models.backend import open_generator
    from stp.models.prompts import prompt_format

    prompts = [prompt_format(_STYLE).prover(_statement(number)) for number in range(sizes.prompts)]
    lines = []
    for backend in ("transformers", "vllm"):
        if backend == "vllm" and importlib.util.find_spec("vllm") is None:
            print("vLLM is not installed here: not measured (pip install 'stp-prover[vllm]')")
            continue
        generator: Any = open_generator(ModelSettings(backend=backend, batch_size=256), model)

        def ours(generator: Any = generator) -> int:
            sampled = generator.generate(
                prompts, n=sizes.samples, temperature=1.0, max_tokens=sizes.tokens, seed=0
            )
            return sum(sample.tokens for samples in sampled for sample in samples)

        rate = _rate(ours)
        lines.append(Line(f"sampling, {backend}, n = {sizes.samples}", rate, "tokens/s"))
        if backend == "vllm":
            raw = _rate(partial(_raw, generator, prompts, sizes))
            lines.append(Line("  vLLM asked directly, without seeds", raw, "tokens/s"))
            lines.append(Line("  share of that", rate / raw, "", MUST_OF_ENGINE))
        generator.close()
    return lines


def _raw(generator: Any, prompts: list[Any], sizes: Sizes) -> int:
    from vllm import SamplingParams

    how = SamplingParams(
        n=sizes.samples, temperature=1.0, max_tokens=sizes.tokens, ignore_eos=True, detokenize=False,
        stop_token_ids=[generator.codec.end_id],
    )  # fmt: skip
    ids = generator.codec.fit(prompts, sizes.samples, 1.0, sizes.tokens).values()
    answers = generator._engine.generate([{"prompt_token_ids": i} for i in ids], how, use_tqdm=False)
    return sum(len(output.token_ids) for answer in answers for output in answer.outputs)


def _rate(work: Callable[[], int]) -> float:
    """Units a second of the second of two calls."""
    work()
    began = time.monotonic()
    return work() / (time.monotonic() - began)


def _training(model: Path, folder: Path, sizes: Sizes, card: str) -> list[Line]:
    """Tokens/s between a short and a longer training, so that loading and saving do not count."""
    import torch
    from safetensors import safe_open

    from stp.models.prompts import prompt_format
    from stp.training.examples import Example
    from stp.training.sft import train

    style = prompt_format(_STYLE)
    examples = [Example(style.prover(_statement(i)), "by omega " * 60) for i in range(sizes.examples)]
    settings = TrainSettings(
        batch_size=sizes.batch, tokens_per_pass=sizes.tokens_per_pass, gradient_checkpointing=True,
        save_steps=10**6,
    )  # fmt: skip
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
        # Two operations a weight and token forward, four backward; the second forward pass is not counted.
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
