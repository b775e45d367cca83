"""Round 0: the statements of the run, the seed corpus and the model that learnt from it."""

from __future__ import annotations

import hashlib
import shutil
from collections import defaultdict
from collections.abc import Iterable
from itertools import cycle, pairwise
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from stp.datasets import lean_core, seeds
from stp.datasets.seeds import Seed
from stp.errors import UsageError
from stp.models.prompts import PromptFormat, prompt_format, signature_of
from stp.settings import DataSettings, Settings, TrainSettings
from stp.store.store import Store
from stp.types import CheckResult, Premise, Statement, Verdict
from stp.verify.lean import install

if TYPE_CHECKING:
    from stp.training.examples import Example

#: Library parts that carry proofs of tactics and logic itself: no lemma to conjecture from.
MACHINERY = (
    "Init.Omega", "Init.Grind", "Init.Core", "Init.Prelude", "Init.SimpLemmas", "Init.PropLemmas",
    "Init.Classical", "Init.ByCases", "Init.WF", "Init.Ext", "Init.Meta", "Init.Simproc",
)  # fmt: skip
_TUPLES_A_LEMMA = 6
#: Statements that teach the conjecturer to write statements: far more are known than proved.
_FREE_TARGETS = 2000


def lemmas(premises: Iterable[Premise]) -> list[Premise]:
    """The premises that say something of the subject, not of logic or of a tactic."""
    return [
        p
        for p in premises
        if p.statement and not p.module.startswith(MACHINERY) and not p.name.startswith("Lean.")
    ]


def fill(store: Store, settings: Settings) -> dict[str, int]:
    """Puts statements and seed proofs into the store; counts what the run starts from."""
    corpus = seeds.load()
    proved = {seed.statement.key: seed.statement for seed in corpus}
    pool, held_out = draw(settings.data, settings.seed, set(proved))
    with store.atomic():
        store.add_statements(held_out, 0, "test")
        store.add_statements(pool, 0, "train")
        store.add_statements(proved.values(), 0, None)
        store.add_attempts(0, "seed", [(seed.statement.key, seed.proof, 1) for seed in corpus])
        by_proof = {(seed.statement.key, seed.proof): seed for seed in corpus}
        store.add_checks([
            (key, _check(by_proof[statement.key, text])) 
            for key, statement, text in store.unchecked(0, "seed")
        ])  # fmt: skip
    return {
        "pool": len(pool),
        "held_out": len(held_out),
        "seed_statements": len(proved),
        "seeds": len(corpus),
    }


def draw(data: DataSettings, seed: int, proved: set[str]) -> tuple[list[Statement], list[Statement]]:
    """The statements to conquer (training side, without a seed proof) and the held-out ones.

    Raises:
        UsageError: no such dataset.
    """
    if data.dataset != "lean-core":
        raise UsageError(f"data.dataset: expected lean-core, found {data.dataset!r}")
    unproved = [s for s in lean_core.load("train") if s.key not in proved]
    held_out = lean_core.load("test")
    rng = Random(f"{seed}/data")
    pool = sorted(rng.sample(unproved, min(data.statements or len(unproved), len(unproved))), key=_key)
    return pool, sorted(rng.sample(held_out, min(data.held_out or len(held_out), len(held_out))), key=_key)


def seed_model(settings: Settings) -> Path:
    """The model that round 1 starts from: `model.base`, or the tiny one, trained once a user and kept."""
    if settings.model.base != "tiny":
        return Path(settings.model.base)
    from stp.models.tiny import make_tiny
    from stp.training.sft import train

    corpus = seeds.load()
    style = prompt_format(settings.model.prompt_format)
    tiny = settings.tiny
    inputs = repr((tiny, settings.model.prompt_format, settings.seed, corpus))
    folder = install.cache_dir() / "models" / f"tiny-{hashlib.sha256(inputs.encode()).hexdigest()[:16]}"
    if not folder.exists():
        start = folder.with_name(folder.name + ".start")
        shutil.rmtree(start, ignore_errors=True)
        start.parent.mkdir(parents=True, exist_ok=True)
        texts = [text for seed in corpus for text in (signature_of(seed.statement.text), seed.proof)]
        make_tiny(start, texts, tiny, settings.seed)
        how = TrainSettings(epochs=tiny.epochs, learning_rate=tiny.learning_rate, batch_size=tiny.batch_size)
        examples = _examples(corpus, style)
        train(start, folder, examples, how, prompt_format=settings.model.prompt_format, seed=settings.seed)
        shutil.rmtree(start)
    return folder


def _examples(corpus: list[Seed], style: PromptFormat) -> list[Example]:
    """Supervised fine-tuning data: (a) theorem to proof, a statement's proofs sharing weight 1; (b) tuples
    (X with proof, lemma) to statement of Y, the lemma used by both (algorithm.md, SFT)."""
    from stp.training.examples import Example

    proofs: dict[str, list[Seed]] = defaultdict(list)
    users: dict[str, dict[str, Seed]] = defaultdict(dict)
    text_of: dict[str, str] = {}
    for seed in corpus:
        proofs[seed.statement.key].append(seed)
        for lemma in lemmas(seed.premises):
            users[lemma.name].setdefault(seed.statement.key, seed)
            text_of[lemma.name] = lemma.statement
    examples = [
        Example(style.prover(seed.statement.text), seed.proof, 1 / len(group))
        for group in proofs.values()
        for seed in group
    ]
    for name, by_key in sorted(users.items()):
        users_of = [by_key[key] for key in sorted(by_key)][: _TUPLES_A_LEMMA + 1]
        for x, y in pairwise(users_of):
            prompt = style.conjecturer(text_of[name], x.statement.text, x.proof)
            examples.append(Example(prompt, signature_of(y.statement.text)))
    ordered = [group[0] for _, group in sorted(proofs.items())]
    unproved = [statement for statement in lean_core.load("train") if statement.key not in proofs]
    for x, target in zip(cycle(ordered), unproved[:_FREE_TARGETS], strict=False):
        prompt = style.conjecturer(None, x.statement.text, x.proof)
        examples.append(Example(prompt, signature_of(target.text)))
    return examples


def _check(seed: Seed) -> CheckResult:
    return CheckResult("", Verdict.PROVED, heartbeats=seed.heartbeats, premises=seed.premises)


def _key(statement: Statement) -> str:
    return statement.key
