"""`stp sft`: a pretrained model learns both roles, in the words of self-play; what it cannot work with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from stp.datasets import lean_core, leandojo, seeds
from stp.datasets.corpora import corpora
from stp.datasets.decontaminate import HeldOut, Index
from stp.errors import UsageError
from stp.models.hf import HfGenerator
from stp.models.prompts import prompt_format, signature_of
from stp.models.tiny import make_tiny
from stp.selfplay.learn import conjecturer_example, prover_example
from stp.selfplay.seed_model import build_tiny, examples_of, first_training, seed_model
from stp.settings import DataSettings, ModelSettings, TinySettings, load
from stp.store.rows import ConjecturerText, ProverText
from stp.training import sft
from stp.training.examples import Example
from stp.training.fit import TrainReport
from tests.datasets.test_leandojo import folder as trace  # noqa: F401
from tests.datasets.test_published import STP, write
from tests.theorems import theorem

SMALL = TinySettings(vocabulary=300, hidden=32, layers=2, heads=4, context_tokens=256)
NOTHING = HeldOut(Index([]), {}, ())
SETTINGS = load("tiny", ["train.epochs=2", "train.batch_size=2"])


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    path = tmp_path / "pretrained"
    make_tiny(path, [row["target"] for row in STP], SMALL, seed=0)  # type: ignore[misc]
    return path


@pytest.mark.parametrize("name", ["tiny", "stp"])
def test_it_reads_what_self_play_will_ask_and_writes_what_self_play_will_train(
    trace: Path,  # noqa: F811
    name: str,
) -> None:
    style = prompt_format(name)
    [file] = leandojo.read(trace)
    [(x, lemma, y)] = leandojo.tuples(file)
    provers = [prover_example(style, ProverText(seed.statement, seed.proof, 1.0)) for seed in file]
    asked = ConjecturerText(x.statement, x.proof, lemma.statement, y.statement, 1.0)
    assert examples_of(trace, style, NOTHING) == [*provers, conjecturer_example(style, asked)]
    assert provers[0].prompt == style.prover(file[0].statement)


@pytest.mark.lean
@pytest.mark.timeout(120)
def test_a_tiny_model_of_few_proofs_is_a_folder_that_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Sequence[Example]] = []

    def taught(model: Path, out: Path, examples: Sequence[Example], *given: Any, **named: Any) -> TrainReport:
        asked.append(examples)
        return train(model, out, examples[:40], *given, **named)

    train = sft.train
    monkeypatch.setattr(sft, "train", taught)
    build_tiny(tmp_path / "few", 30)
    few = corpora(DataSettings(seed_statements=30))[0].seeds()[0]
    proofs = {example.target for example in asked[0]} & {seed.proof for seed in seeds.load()}
    assert proofs == {seed.proof for seed in few}
    assert len(asked[0]) > 6000  # all statements, to learn to state
    [[sample]] = HfGenerator(tmp_path / "few", "tiny").generate(
        [prompt_format("tiny").prover(theorem("theorem t : 1 = 1"))],
        n=1,
        temperature=1.0,
        max_tokens=8,
        seed=0,
    )
    assert sample.tokens
    assert [path.name for path in tmp_path.iterdir()] == ["few"]
    with pytest.raises(UsageError, match="few: expected a folder to be made"):
        build_tiny(tmp_path / "few", 30)


def test_a_published_corpus_teaches_the_prover_with_its_weights(tmp_path: Path) -> None:
    style = prompt_format("stp")
    examples = examples_of(write(tmp_path / "corpus.jsonl", STP), style, NOTHING)
    assert [example.weight for example in examples] == [0.5, 1.0]
    assert signature_of("theorem ours_2 : (2 : ℕ) = 2") in examples[1].prompt.text


def test_copies_of_held_out_statements_are_left_out_of_what_is_imported_and_that_is_said(
    tmp_path: Path,
    trace: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    style = prompt_format("stp")
    held = ["theorem other (b : ℕ) (pos : 0 < b) : b ≠ 0", "theorem double_one : double 1 = 2"]
    index = Index((text.split()[1], theorem(text)) for text in held)
    against = HeldOut(index, {"bench": 2}, ("proofnet",))
    (tmp_path / "published").mkdir()  # the trace is beside it
    [example] = examples_of(write(tmp_path / "published/corpus.json", STP), style, against)
    assert "ours_2" in example.prompt.text
    said = "left out as copies of bench (2): 1 statements (1 by key, 0 by n-grams); not on this machine: "
    assert f"corpus.json: {said}" in capsys.readouterr().err
    before = examples_of(trace, style, NOTHING)
    capsys.readouterr()
    after = examples_of(trace, style, against)
    assert [e for e in before if e not in after] == [e for e in before if "double_one" in e.prompt.text] != []
    assert f"{trace}: {said}" in capsys.readouterr().err


@pytest.mark.lean
def test_what_is_imported_is_held_to_what_is_held_out_here(tmp_path: Path, pretrained: Path) -> None:
    test = lean_core.load("test")[0]
    data = write(
        tmp_path / "corpus.jsonl", [{"formal_statement": f"{test.text} := by sorry", "proof": "simp"}]
    )
    with pytest.raises(UsageError, match="no example to train on: of 0 given"):
        first_training(pretrained, tmp_path / "out", SETTINGS, [data])


@pytest.mark.lean
def test_what_was_pretrained_becomes_a_model_that_the_run_can_sample(
    tmp_path: Path, pretrained: Path
) -> None:
    data = write(tmp_path / "corpus.jsonl", STP)
    report = first_training(pretrained, tmp_path / "out", SETTINGS, [data])
    assert report.steps == 2
    assert first_training(pretrained, tmp_path / "out", SETTINGS, [data]) == report
    generator = HfGenerator(tmp_path / "out", "tiny")
    prompt = prompt_format("tiny").prover(theorem("theorem t (a : Nat) : a = a"))
    [samples] = generator.generate([prompt], n=2, temperature=1.0, max_tokens=8, seed=0)
    assert len(samples) == 2


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def no_tokenizer(model: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / name).unlink()


@pytest.mark.lean
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (shutil.rmtree, r"pretrained: expected a Hugging Face model folder"),
        (lambda model: (model / "config.json").write_text("{}"), "pretrained: not a model"),
        (lambda model: (model / "model.safetensors").write_bytes(b"torn"), "pretrained: not a model"),
        (no_tokenizer, "pretrained: .*tokenizer"),
        (lambda model: edit(model / "tokenizer_config.json", eos_token=None), "no end token"),
        (
            lambda model: edit(model / "tokenizer_config.json", extra_special_tokens=[]),
            r"lacks <\|theorem\|>",
        ),
    ],
)
def test_a_model_that_cannot_learn_is_one_line_and_leaves_nothing(
    tmp_path: Path, pretrained: Path, spoil: Any, said: str
) -> None:
    data = write(tmp_path / "corpus.jsonl", STP)
    spoil(pretrained)
    with pytest.raises(UsageError, match=said) as e:
        first_training(pretrained, tmp_path / "out", SETTINGS, [data])
    assert "\n" not in str(e.value)
    assert not (tmp_path / "out").exists()


def test_a_base_that_is_not_there_is_said_before_it_is_copied() -> None:
    with pytest.raises(UsageError, match=r"model\.base: models/nowhere: expected tiny or a Hugging Face"):
        seed_model(ModelSettings(base="models/nowhere"))


@pytest.mark.lean
def test_data_that_is_not_there_is_one_line(tmp_path: Path, pretrained: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.jsonl") as e:
        first_training(pretrained, tmp_path / "out", SETTINGS, [tmp_path / "nowhere.jsonl"])
    assert "\n" not in str(e.value)
