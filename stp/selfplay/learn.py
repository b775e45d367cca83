"""Steps 6 to 9 of the round: which examples, with which weights, and the training on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from stp.models.base import Generator
from stp.models.prompts import PromptFormat, signature_of, two_roles
from stp.selfplay.disprove import disproved
from stp.selfplay.guide import guide_scores, judged_scores, novelty
from stp.selfplay.reweight import reweight
from stp.selfplay.seed_model import copy_model, seed_data
from stp.selfplay.select import (
    Attempted,
    KnownProof,
    WeightedProof,
    conjecturer_set,
    prover_set,
    refresh_set,
)
from stp.settings import RefreshSettings, SelectSettings, Settings
from stp.store import rows
from stp.store.rows import ConjecturerExample, ProverExample, proof_key
from stp.store.store import Store
from stp.types import Source, Statement

if TYPE_CHECKING:
    from stp.training.examples import Example


@dataclass(frozen=True, slots=True)
class Readers:
    """What reads statements, each in the place of the one before: memory has room for one model."""

    model: Callable[[int], Generator]
    """The one that a round ended with; round 0: the seed model."""
    judge: Callable[[], AbstractContextManager[tuple[Generator, PromptFormat]]] | None = None
    """With its prompts, where one is named."""


def choose_examples(
    store: Store, readers: Readers, round: int, settings: Settings, seed: int
) -> dict[str, Any]:
    """Steps 6 to 8: fills the round's examples, in one transaction.

    In a refresh round the proofs are those of the hard statements of all rounds, and no conjecture is
    among them.
    """
    conjectures = {row.statement: row for row in store.conjectures(round, rows.Outcome.KEPT)}
    candidates = [
        replace(outcome, lemma=conjectures[outcome.key].lemma_name)
        for outcome in _outcomes(store, [round])
        if outcome.key in conjectures
    ]
    in_band = sum(1 for o in candidates if 0 < o.pass_rate <= settings.select.band_high)
    examples: list[ProverExample | ConjecturerExample] = []
    stats: dict[str, Any] = {}
    if is_refresh(round, settings.refresh):
        chosen = refreshed(store, round, settings)
    else:
        kept = conjecturer_set(candidates, settings.select)
        weights, stats = _weights(store, readers, round, kept, settings.select, seed)
        examples += [
            ConjecturerExample(o.key, row.input, row.sample, weight, free=o.lemma is None)
            for o, weight in zip(kept, weights, strict=True)
            if weight > 0 and (row := conjectures[o.key])
        ]
        replayed = range(first_replayed(round, settings), round + 1)
        chosen = prover_set(_outcomes(store, replayed), settings.select)
    conjecturer = len(examples)
    examples += [ProverExample(p.key, proof_key(p.key, p.proof), p.weight) for p in chosen]
    store.add_examples(round, examples)
    return {
        "barely_provable": in_band,
        "conjecturer_examples": conjecturer,
        "prover_examples": len(chosen),
        **stats,
    }


def is_refresh(round: int, settings: RefreshSettings) -> bool:
    """Whether the round trains from the seed model instead of the last one."""
    return settings.every > 0 and round % settings.every == 0


def first_replayed(round: int, settings: Settings) -> int:
    """The first round whose proofs are trained on: the last few, and none from before a refresh."""
    every, replay = settings.refresh.every, settings.select.replay_rounds
    after_refresh = (round - 1) // every * every + 1 if every else 1
    return max(after_refresh, round - replay + 1) if replay else after_refresh


def refreshed(store: Store, round: int, settings: Settings) -> list[WeightedProof]:
    """The proofs that a refresh after this round trains on."""
    return refresh_set(_outcomes(store, range(1, round + 1)), settings.refresh, settings.select.char_decay)


def train_round(
    store: Store, round: int, settings: Settings, models: tuple[Path, Path], out: Path, seed: int
) -> dict[str, Any]:
    """Step 9: one pass over both sets with a fresh optimiser. `models` are the seed model and the last one:
    a refresh starts from the seed model and its own data, any other round from the last one."""
    style = two_roles(settings.model)
    examples = [prover_example(style, e) for e in store.prover_texts(round)]
    examples += [conjecturer_example(style, e) for e in store.conjecturer_texts(round)]
    base, last = models
    if is_refresh(round, settings.refresh):
        return _train(base, out, examples + rehearsed(settings, seed), settings, seed)
    return _train(last, out, examples, settings, seed)


def train_final(
    store: Store, round: int, settings: Settings, base: Path, out: Path, seed: int
) -> dict[str, Any]:
    """The refresh at a run's end. A longer run goes on from the rounds' models, not from this one."""
    style = two_roles(settings.model)
    texts = {s.key: s for s in store.statements()}
    found = [rows.ProverText(texts[p.key], p.proof, p.weight) for p in refreshed(store, round, settings)]
    examples = [prover_example(style, e) for e in found]
    return _train(base, out, examples + rehearsed(settings, seed), settings, seed)


def rehearsed(settings: Settings, seed: int) -> list[Example]:
    """What a refresh trains on of the seed model's own data."""
    known, most = seed_data(settings), settings.refresh.seed_examples
    return Random(seed).sample(known, most) if 0 < most < len(known) else known


def _train(model: Path, out: Path, examples: list[Example], settings: Settings, seed: int) -> dict[str, Any]:
    """Without examples the model stays as it is."""
    from stp.training.remote import train_on_cluster
    from stp.training.sft import train

    if not examples:
        copy_model(model, out)
        return {"examples": 0}
    report = (train_on_cluster if settings.model.replicas else train)(
        model,
        out,
        examples,
        settings.train,
        prompt_format=settings.model.prompt_format,
        seed=seed,
        context_tokens=settings.model.context_tokens,
    )
    return {
        "examples": len(examples), "steps": report.steps, "tokens": report.tokens, "loss": report.loss,
        "seconds": report.seconds,
    }  # fmt: skip


def prover_example(style: PromptFormat, e: rows.ProverText) -> Example:
    """What the prover is asked and what it is to write."""
    from stp.training.examples import Example

    return Example(style.prover(e.statement), e.proof, e.weight)


def conjecturer_example(style: PromptFormat, e: rows.ConjecturerText) -> Example:
    """What the conjecturer is asked and what it is to write."""
    from stp.training.examples import Example

    prompt = style.conjecturer(e.lemma_statement, e.seed.text, e.seed_proof, e.seed.system)
    return Example(prompt, signature_of(e.statement.text), e.weight)


def _outcomes(store: Store, rounds: Iterable[int]) -> list[Attempted]:
    """What every statement attempted in these rounds got, once a round, with the correct proofs that the
    model wrote: one that goals completed is a text that it does not write; learning it undoes what it can."""
    texts = {s.key: s.text for s in store.statements(split="train")}
    found = []
    for number in rounds:
        proofs: dict[str, list[KnownProof]] = {}
        for p in store.correct_proofs(number, number):
            if p.count:
                premises = frozenset(premise.name for premise in p.premises)
                proofs.setdefault(p.statement, []).append(KnownProof(p.text, p.heartbeats, premises))
        found += [
            Attempted(
                key,
                tally.attempts,
                tally.proved if key in proofs else 0,
                texts[key],
                None,
                tuple(proofs.get(key, ())),
            )
            for key, tally in store.pooled_rates(number, number).items()
            if key in texts
        ]
    return found


def _weights(
    store: Store, readers: Readers, round: int, kept: list[Attempted], settings: SelectSettings, seed: int
) -> tuple[list[float], dict[str, Any]]:
    """Step 7, on embeddings of the bare signatures; then the factors of memory and guide, where wanted. Also
    how many conjectures a judge scored."""
    stats: dict[str, Any] = {}
    if not kept:
        return [], stats
    signatures = [signature_of(o.statement) for o in kept]
    current = readers.model(round - 1)
    vectors = current.embed(signatures)
    weights = np.ones(len(kept))
    solved = {key for key, tally in store.pooled_rates(1, round).items() if tally.proved}
    closed = solved | disproved(store)
    unproved = [s for s in store.statements(source=Source.DATASET, split="train") if s.key not in closed]
    if settings.reweight and unproved:
        targets = current.embed([signature_of(s.text) for s in unproved])
        weights = reweight(vectors, targets, settings.reweight_cap, seed)
    if settings.guide and readers.judge:
        pairs = [(parent, o.statement) for parent, o in zip(_parents(store, round, kept), kept, strict=True)]
        with readers.judge() as (judge, style):
            scores, stats["judged"] = judged_scores(judge, style, pairs, seed)
        weights *= scores
    elif settings.guide:
        made_from = [signature_of(parent.text) for parent in _parents(store, round, kept)]
        lengths, seed_lengths = (np.array([len(t) for t in texts]) for texts in (signatures, made_from))
        weights *= guide_scores(lengths, seed_lengths, vectors, current.embed(made_from))
    earlier = range(max(1, round - settings.memory_rounds), round)
    if known := [signature_of(e.statement.text) for r in earlier for e in store.conjecturer_texts(r)]:
        vectors = readers.model(0).embed(signatures + known)
        weights *= novelty(vectors[: len(kept)], vectors[len(kept) :])
    return [float(w) for w in weights], stats


def _parents(store: Store, round: int, kept: list[Attempted]) -> list[Statement]:
    """The statement that each conjecture was made from."""
    parent_of = {row.statement: row.seed for row in store.conjectures(round, rows.Outcome.KEPT)}
    statements = {s.key: s for s in store.statements()}
    return [statements[parent_of[outcome.key]] for outcome in kept]
