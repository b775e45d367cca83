"""Sampling and embedding with a real, very small transformer."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stp.errors import UsageError
from stp.models import decode
from stp.models.base import Generator, Sample
from stp.models.hf import HfGenerator
from stp.models.prompts import FORMATS, Prompt, encode_prompt
from stp.models.tiny import make_tiny
from stp.settings import TinySettings

SMALL = TinySettings(vocabulary=300, hidden=32, layers=2, heads=4, context_tokens=160)
STYLE = FORMATS["tiny"]
PROMPTS = [STYLE.prover(f"theorem t{i} (a : Nat) : a + {i} = " + " + ".join("a" * (i + 1))) for i in range(9)]


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> HfGenerator:
    """Random weights, drawn wide so that the next token depends on what came before."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_tiny(folder, [prompt.text for prompt in PROMPTS], SMALL, seed=0)
    made = HfGenerator(folder, "tiny", batch_size=16)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in made.model.parameters():
            if weight.ndim == 2:
                weight.normal_(0, 0.25, generator=generator)
    return made


def write(generator: Generator, prompts: list[Prompt], seed: int = 0, n: int = 5) -> list[list[Sample]]:
    return generator.generate(prompts, n=n, temperature=1.0, max_tokens=100, seed=seed)


def test_every_prompt_gets_its_samples_in_order(generator: HfGenerator) -> None:
    written = write(generator, PROMPTS)
    assert [len(samples) for samples in written] == [5] * len(PROMPTS)
    assert generator.generate([], n=5, temperature=1.0, max_tokens=8, seed=0) == []


def test_the_same_seed_writes_the_same_and_another_does_not(generator: HfGenerator) -> None:
    assert write(generator, PROMPTS, seed=1) == write(generator, PROMPTS, seed=1)
    assert write(generator, PROMPTS, seed=1) != write(generator, PROMPTS, seed=2)


def test_a_sample_does_not_depend_on_its_batch(generator: HfGenerator) -> None:
    together = write(generator, PROMPTS)
    assert [write(generator, [prompt])[0] for prompt in PROMPTS] == together
    assert write(generator, PROMPTS[::-1])[::-1] == together
    assert [samples[:2] for samples in together] == write(generator, PROMPTS, n=2)


def test_samples_of_one_prompt_differ(generator: HfGenerator) -> None:
    assert all(len({sample.text for sample in samples}) > 1 for samples in write(generator, PROMPTS))


def test_slots_sample_what_a_plain_loop_samples(generator: HfGenerator) -> None:
    """The reference reads the whole text anew for each token: no cache, no batch, no slots."""
    ids = [encode_prompt(generator.tokenizer, prompt) for prompt in PROMPTS]
    how = decode.Decoding(1.0, 100, 3, int(generator.tokenizer.eos_token_id), batch_size=4)
    sampled = decode.sample(generator.model, ids, 2, how)
    slots = decode._Slots(generator.model, ids, 2, how, 1)
    for prompt, samples in zip(ids[::4], sampled[::4], strict=True):
        for noise_S, expected in zip(slots._noise(prompt), samples, strict=True):
            text = list(prompt)
            for noise in noise_S:
                with torch.inference_mode():
                    logits_V = generator.model(torch.tensor([text])).logits[0, -1]
                text.append(int(decode.draw(logits_V[None], 1.0, torch.tensor([noise]))[0]))
                if text[-1] == how.end_id:
                    break
            assert text[len(prompt) :] == expected


def test_drawing_follows_the_distribution() -> None:
    logits_V = torch.tensor([0.0, 1.0, -1.0, 2.0])
    drawn = decode.draw(logits_V.expand(20_000, 4), 0.5, torch.arange(20_000) / 20_000)
    shares = torch.bincount(drawn, minlength=4) / 20_000
    assert torch.allclose(shares, torch.softmax(logits_V / 0.5, -1), atol=1e-3)


def test_a_cut_sample_is_unfinished_and_a_finished_one_counts_its_end(generator: HfGenerator) -> None:
    samples = [sample for samples in write(generator, PROMPTS, n=16) for sample in samples]
    assert {sample.finished for sample in samples} == {True, False}
    assert all(sample.tokens == 100 for sample in samples if not sample.finished)
    assert all(1 <= sample.tokens <= 100 and "<|end|>" not in sample.text for sample in samples)


def test_a_prompt_without_room_gets_no_samples_and_disturbs_nobody(generator: HfGenerator) -> None:
    long = STYLE.prover("theorem t : " + "+ a " * 200)
    written = write(generator, [PROMPTS[0], long, PROMPTS[1]])
    assert written == [write(generator, [PROMPTS[0]])[0], [], write(generator, [PROMPTS[1]])[0]]
    with pytest.raises(UsageError, match="160 tokens"):
        generator.generate(PROMPTS, n=1, temperature=1.0, max_tokens=160, seed=0)


def test_embeddings_do_not_depend_on_their_batch(generator: HfGenerator) -> None:
    texts = [prompt.text for prompt in PROMPTS] + [""]
    embedded = generator.embed(texts)
    assert (embedded.shape, embedded.dtype) == ((10, 32), np.float32)
    alone = np.concatenate([generator.embed([text]) for text in texts])
    np.testing.assert_allclose(embedded, alone, atol=1e-5)
    assert not embedded[-1].any()
    assert generator.embed([]).shape == (0, 32)


def test_what_cannot_be_loaded_is_named(tmp_path: Path, generator: HfGenerator) -> None:
    with pytest.raises(UsageError, match=r"config\.json"):
        HfGenerator(tmp_path / "missing", "tiny")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="not a model"):
        HfGenerator(tmp_path, "tiny")
    generator.tokenizer.save_pretrained(tmp_path / "bare")
    generator.model.save_pretrained(tmp_path / "bare")
    config = tmp_path / "bare" / "tokenizer_config.json"
    config.write_text(config.read_text().replace("<|lemma|>", "<|other|>"))
    with pytest.raises(UsageError, match=r"lacks <\|lemma\|>"):
        HfGenerator(tmp_path / "bare", "tiny")
