"""Sampling slot by slot with a real, very small transformer, and what cannot be loaded."""

from pathlib import Path

import pytest
import torch

from stp.errors import UsageError
from stp.models import decode
from stp.models.hf import HfGenerator
from stp.models.prompts import encode_prompt, prompt_format
from stp.models.tiny import make_tiny
from stp.settings import TinySettings
from tests.theorems import theorem

SMALL = TinySettings(vocabulary=300, hidden=32, layers=2, heads=4, context_tokens=160)
STYLE = prompt_format("tiny")
PROMPTS = [
    STYLE.prover(theorem(f"theorem t{i} (a : Nat) : a + {i} = " + " + ".join("a" * (i + 1))))
    for i in range(9)
]


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


def test_slots_sample_what_a_plain_loop_samples(generator: HfGenerator) -> None:
    """The reference reads the whole text anew for each token: no cache, no batch, no slots."""
    ids = [encode_prompt(generator.tokenizer, prompt) for prompt in PROMPTS]
    how = decode.Decoding(1.0, 100, 3, int(generator.tokenizer.eos_token_id), batch_size=4)
    sampled = decode.sample(generator.model, ids, 2, how)
    slots = decode._Slots(generator.model, ids, 2, how, 1)
    for prompt, samples in zip(ids[::4], sampled[::4], strict=True):
        for noise_S, expected in zip(slots._noise(prompt), (ids for ids, _ in samples), strict=True):
            text = list(prompt)
            for noise in noise_S:
                with torch.inference_mode():
                    logits_V = generator.model(torch.tensor([text])).logits[0, -1]
                text.append(int(decode.draw(logits_V[None], 1.0, torch.tensor([noise]))[0]))
                if text[-1] == how.end_id:
                    break
            assert text[len(prompt) :] == expected


def test_logprobs_come_only_where_they_were_asked_for(generator: HfGenerator) -> None:
    [[sample]] = generator.generate(PROMPTS[:1], n=1, temperature=1.0, max_tokens=4, seed=0)
    assert (sample.logprobs, sample.logprob) == ((), 0)


def test_drawing_follows_the_distribution() -> None:
    logits_V = torch.tensor([0.0, 1.0, -1.0, 2.0])
    drawn = decode.draw(logits_V.expand(20_000, 4), 0.5, torch.arange(20_000) / 20_000)
    shares = torch.bincount(drawn, minlength=4) / 20_000
    assert torch.allclose(shares, torch.softmax(logits_V / 0.5, -1), atol=1e-3)


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
