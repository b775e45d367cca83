"""The model that round 1 starts from, and how the one that comes with STP was made.

`data/tiny` holds a Llama-shaped model of 4.5 M parameters that learnt both roles from the seed corpus and
the statements of `lean-core`'s training side, and nothing else. `stp data build tiny` makes it again.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from stp.datasets import lean_core, leandojo, published
from stp.datasets.corpora import Corpus, corpora
from stp.datasets.decontaminate import HeldOut, held_out
from stp.datasets.files import data_dir
from stp.datasets.registry import LEAN_CORE
from stp.datasets.seeds import Seed, related
from stp.errors import UsageError
from stp.files import cache_dir, whole_folder
from stp.models.prompts import PromptFormat, prompt_format, signature_of, two_roles
from stp.selfplay.seeds import lemmas
from stp.settings import DataSettings, ModelSettings, Settings, TinySettings, TrainSettings
from stp.types import Statement, System

if TYPE_CHECKING:
    from stp.training.examples import Example
    from stp.training.fit import TrainReport

TINY = "tiny"
_FORMAT = "tiny"
_TRAINING = TrainSettings(epochs=5, learning_rate=2e-3, batch_size=48, prompt_weight=0.3)
_PROOF_COPIES = 3
_TUPLES_A_LEMMA = 12
_NAMED_LEMMA_FRAC = 0.5


def seed_model(settings: ModelSettings, section: str = "model") -> Path:
    """The folder of a section's `base`; of a chat model nothing is read.

    Raises:
        UsageError: there is no model in it.
    """
    folder = data_dir() / TINY if settings.base == TINY else Path(settings.base)
    if settings.backend != "chat" and not (folder / "config.json").is_file():
        raise UsageError(
            f"{section}.base: {settings.base}: expected {TINY} or a Hugging Face folder, found no config.json"
        )
    return folder


def build() -> Path:
    """Makes the tiny model that comes with STP again. Killed, it goes on from its last checkpoint."""
    trained, target = _train_tiny(cache_dir() / "models" / TINY, 0), data_dir() / TINY
    shutil.rmtree(target, ignore_errors=True)
    return _halve(trained, target)


def build_tiny(out: Path, seed_statements: int) -> Path:
    """Makes one like it that learnt the proofs of `data.seed_statements` statements alone, and all statements
    of `lean-core`'s training side; writes it to `out`. Killed, it goes on from its last checkpoint, which is
    in a folder beside it.

    Raises:
        UsageError: `out` is there already.
    """
    if out.exists():
        raise UsageError(f"{out}: expected a folder to be made, found one that is there: name another")
    return _halve(_train_tiny(out.with_name(out.name + ".training"), seed_statements), out)


def _train_tiny(work: Path, seed_statements: int) -> Path:
    from stp.models.tiny import make_tiny
    from stp.training.sft import train

    start, trained = work / "start", work / "trained"
    [corpus] = corpora(DataSettings(dataset=LEAN_CORE, seed_statements=seed_statements))
    if not start.exists():
        work.mkdir(parents=True, exist_ok=True)
        texts = [
            text for seed in corpus.seeds()[0] for text in (signature_of(seed.statement.text), seed.proof)
        ]
        texts += [signature_of(statement.text) for statement in corpus.train()]
        make_tiny(start, texts, TinySettings(), seed=0)
    examples = seed_examples(corpus, prompt_format(_FORMAT))
    train(start, trained, examples, _TRAINING, prompt_format=_FORMAT, seed=0)
    return trained


def seed_data(settings: Settings) -> list[Example]:
    """What a seed model learns of a run's corpora, in the run's prompt format."""
    style = two_roles(settings.model)
    return [example for corpus in corpora(settings.data) for example in seed_examples(corpus, style)]


def start_model(settings: Settings, out: Path, seed: int) -> int:
    """Writes the model that the run starts from to `out`; how many examples it was taught for that.

    The tiny model has learnt Lean alone: where the run plays another system, it learns the run's seeds first.
    Any other base is taken as it is (`stp sft` teaches it).
    """
    from stp.training.sft import train

    base = seed_model(settings.model)
    is_lean = all(corpus.system is System.LEAN for corpus in corpora(settings.data))
    if settings.model.base != TINY or is_lean:
        copy_model(base, out)
        return 0
    examples = seed_data(settings)
    train(base, out, examples, _TRAINING, prompt_format=settings.model.prompt_format, seed=seed)
    return len(examples)


def first_training(model: Path, out: Path, settings: Settings, data: list[Path]) -> TrainReport:
    """Teaches a pretrained model both roles, from the seeds of the run's corpora or from traces of real
    libraries and published corpora.

    Raises:
        UsageError: the model cannot be loaded, or one of `data` cannot be read.
    """
    from stp.models.codec import load_tokenizer
    from stp.training.sft import train

    style = two_roles(settings.model)
    load_tokenizer(model, settings.model.prompt_format)  # before an hour of reading
    against = held_out(settings.data.dataset)
    examples = [example for path in data for example in examples_of(path, style, against)]
    if not data:
        copies = {key: copy for corpus in corpora(settings.data) for key, copy in corpus.seeds()[1].items()}
        print(f"{settings.data.dataset}: {against.report(copies)}", file=sys.stderr)
        examples = seed_data(settings)
    return train(
        model, out, examples, settings.train,
        prompt_format=settings.model.prompt_format, seed=settings.seed,
        context_tokens=settings.model.context_tokens,
    )  # fmt: skip


def examples_of(path: Path, style: PromptFormat, against: HeldOut) -> list[Example]:
    """The examples of one trace or of one published corpus. Copies of held-out statements are left out,
    which is said.

    Raises:
        UsageError: it is neither, or cannot be read.
    """
    from stp.training.examples import Example

    if (path / "corpus.jsonl").exists():
        cleaned = [against.clean_proofs(file) for file in leandojo.read(path)]
        copies = {key: copy for _, found in cleaned for key, copy in found.items()}
        examples = traced_examples([file for file, _ in cleaned], style)
    else:
        read, unread = published.read(path)
        if unread:
            print(f"{path}: {unread} rows are no theorem with its proof and were left out", file=sys.stderr)
        proofs, copies = against.clean_proofs(read)
        examples = [Example(style.prover(one.statement), one.proof, one.weight) for one in proofs]
    print(f"{path}: {against.report(copies)}", file=sys.stderr)
    return examples


def traced_examples(files: list[list[Seed]], style: PromptFormat) -> list[Example]:
    """Theorem to proof, and (X with proof, lemma) to statement of Y, for X before Y in one file."""
    from stp.training.examples import Example

    examples = [Example(style.prover(seed.statement), seed.proof) for file in files for seed in file]
    for file in files:
        for x, lemma, y in leandojo.tuples(file):
            prompt = style.conjecturer(lemma.statement, x.statement.text, x.proof)
            examples.append(Example(prompt, signature_of(y.statement.text)))
    return examples


def seed_examples(corpus: Corpus, style: PromptFormat) -> list[Example]:
    """Supervised fine-tuning data (STP, section 3.1): theorem to proof, a statement's proofs sharing one
    weight; (X with proof, lemma) to statement of Y, where the proofs of both use the lemma.

    Few tuples are of that kind, and a model of this size must first learn to state anything: so each training
    statement without a proof is a Y too, behind a proved X (see `_neighbours`).
    """
    from stp.training.examples import Example

    found, system = corpus.seeds()[0], corpus.system
    proofs: dict[str, list[Seed]] = defaultdict(list)
    users: dict[str, dict[str, Seed]] = defaultdict(dict)
    text_of: dict[str, str] = {}
    for seed in found:
        proofs[seed.statement.key].append(seed)
        for lemma in lemmas(seed.premises):
            users[lemma.name].setdefault(seed.statement.key, seed)
            text_of[lemma.name] = lemma.statement
    examples = [
        Example(style.prover(seed.statement), seed.proof, 1 / len(group))
        for group in proofs.values()
        for seed in group
    ] * _PROOF_COPIES
    for name, by_key in sorted(users.items()):
        users_of = [by_key[key] for key in sorted(by_key)][: _TUPLES_A_LEMMA + 1]
        for x, y in pairwise(users_of):
            prompt = style.conjecturer(text_of[name], x.statement.text, x.proof, system)
            examples.append(Example(prompt, signature_of(y.statement.text)))
    unproved = [statement for statement in corpus.train() if statement.key not in proofs]
    for source, named, target in _neighbours(found, unproved):
        prompt = style.conjecturer(named, source.statement.text, source.proof, system)
        examples.append(Example(prompt, signature_of(target.text)))
    return examples


def _neighbours(
    corpus: list[Seed], unproved: list[Statement]
) -> Iterator[tuple[Seed, str | None, Statement]]:
    """A proved statement before each unproved one: for a library statement the one whose name is nearest to
    its own, and by a coin the library theorem whose name is nearest, as if that were used; for a statement
    without an origin any proved one, and no lemma."""
    rng = Random(0)
    named = [statement for statement in unproved if statement.origin]
    theorems = lean_core.library() if named else {}
    held_out = {statement.origin for statement in lean_core.load("test")} if named else set()
    nearest = related(named, theorems.keys() - held_out, 1)
    proved = {seed.statement.origin: seed for seed in corpus if seed.statement.origin}
    nearest_proved = related(named, proved, 1)
    for target in unproved:
        proved_name = next(iter(nearest_proved.get(target.key, [])), None)
        source = proved[proved_name] if proved_name else rng.choice(corpus)
        lemma = None
        if target.origin and rng.random() < _NAMED_LEMMA_FRAC:
            lemma = next(iter(nearest[target.key]), None)
        yield source, theorems[lemma].text if lemma else None, target


def copy_model(model: Path, out: Path) -> None:
    """Copies a model's folder to `out`, which appears whole or not at all; nothing is done where it is."""
    if not out.exists():
        with whole_folder(out) as work:
            shutil.copytree(model, work, dirs_exist_ok=True)


def _halve(trained: Path, out: Path) -> Path:
    """Turns a trained model into `out`, its weights in half precision, to be loaded in full."""
    import torch
    from safetensors.torch import load_file, save_file

    with whole_folder(out) as work:
        shutil.copytree(
            trained, work, ignore=shutil.ignore_patterns("training.json", "inputs"), dirs_exist_ok=True
        )
        weights = load_file(trained / "model.safetensors")
        halved = {name: tensor.to(torch.bfloat16) for name, tensor in weights.items()}
        save_file(halved, work / "model.safetensors", metadata={"format": "pt"})
        (work / "model.safetensors").chmod(0o644)
        config = json.loads((work / "config.json").read_text())
        (work / "config.json").write_text(json.dumps({**config, "dtype": "float32"}, indent=2) + "\n")
    shutil.rmtree(trained.parent)
    return out
