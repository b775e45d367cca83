"""Steps 6 to 9 of the round: which examples, with which weights, and the training on them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from stp.models.base import Generator
from stp.models.prompts import PromptFormat, prompt_format, signature_of
from stp.selfplay.reweight import reweight
from stp.selfplay.select import CorrectProof, Outcome, conjecturer_set, prover_set
from stp.settings import SelectSettings, Settings
from stp.store import rows
from stp.store.rows import ConjecturerExample, ProverExample, proof_key
from stp.store.store import Store
from stp.types import Source


def choose_examples(
    store: Store, generator: Generator, round: int, settings: SelectSettings, seed: int
) -> dict[str, Any]:
    """Steps 6 to 8: fills the round's examples, in one transaction that the caller may widen."""
    conjectures = {row.statement: row for row in store.conjectures(round, rows.Outcome.KEPT)}
    this_round = _outcomes(store, round, round)
    candidates = [
        replace(outcome, lemma=conjectures[outcome.key].lemma_name)
        for outcome in this_round
        if outcome.key in conjectures
    ]
    kept = conjecturer_set(candidates, settings)
    weights = _weights(store, generator, round, kept, settings, seed)
    conjecturer = [
        ConjecturerExample(o.key, row.input, row.sample, weight, free=o.lemma is None)
        for o, weight in zip(kept, weights, strict=True)
        if weight > 0 and (row := conjectures[o.key])
    ]
    first = max(1, round - settings.replay_rounds + 1)
    replayed = [outcome for r in range(first, round + 1) for outcome in _outcomes(store, r, r)]
    prover = [
        ProverExample(p.key, proof_key(p.key, p.proof), p.weight) for p in prover_set(replayed, settings)
    ]
    store.add_examples(round, [*conjecturer, *prover])
    in_band = sum(1 for o in candidates if 0 < o.pass_rate <= settings.band_high)
    return {
        "barely_provable": in_band,
        "conjecturer_examples": len(conjecturer),
        "prover_examples": len(prover),
    }


def train_round(
    store: Store, round: int, settings: Settings, model: Path, out: Path, seed: int
) -> dict[str, Any]:
    """Step 9: one pass over both sets from the previous model; without examples the model stays as it is."""
    from stp.training.examples import Example
    from stp.training.sft import train

    style = prompt_format(settings.model.prompt_format)
    examples = [Example(style.prover(e.statement.text), e.proof, e.weight) for e in store.prover_texts(round)]
    examples += [_conjecturer_example(style, e) for e in store.conjecturer_texts(round)]
    if not examples:
        copy_model(model, out)
        return {"examples": 0}
    report = train(
        model,
        out,
        examples,
        settings.train,
        prompt_format=settings.model.prompt_format,
        seed=seed,
        context_tokens=settings.model.context_tokens,
    )
    return {"examples": len(examples), "steps": report.steps, "tokens": report.tokens, "loss": report.loss}


def copy_model(model: Path, out: Path) -> None:
    """Copies a model's folder to `out`, which appears whole or not at all; nothing is done where it is."""
    if not out.exists():
        work = out.with_name(out.name + ".copy")
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(model, work)
        work.rename(out)


def _conjecturer_example(style: PromptFormat, e: rows.ConjecturerText) -> Any:
    from stp.training.examples import Example

    prompt = style.conjecturer(e.lemma_statement, e.seed.text, e.seed_proof)
    return Example(prompt, signature_of(e.statement.text), e.weight)


def _outcomes(store: Store, first: int, last: int) -> list[Outcome]:
    """What every statement attempted in these rounds got, with its correct proofs."""
    proofs: dict[str, list[CorrectProof]] = {}
    for p in store.correct_proofs(first, last):
        if p.count:
            premises = frozenset(premise.name for premise in p.premises)
            proofs.setdefault(p.statement, []).append(CorrectProof(p.text, p.heartbeats, premises))
    texts = {s.key: s.text for s in store.statements(split="train")}
    return [
        Outcome(key, tally.attempts, tally.proved, texts[key], None, tuple(proofs.get(key, ())))
        for key, tally in store.pooled_rates(first, last).items()
        if key in texts
    ]


def _weights(
    store: Store, generator: Generator, round: int, kept: list[Outcome], settings: SelectSettings, seed: int
) -> list[float]:
    """Step 7, on embeddings of the bare signatures."""
    if not kept:
        return []
    solved = {key for key, tally in store.pooled_rates(1, round).items() if tally.proved}
    unproved = [s for s in store.statements(source=Source.DATASET, split="train") if s.key not in solved]
    if not unproved:
        return [1.0] * len(kept)
    conjecture_vectors = generator.embed([signature_of(o.statement) for o in kept])
    unproved_vectors = generator.embed([signature_of(s.text) for s in unproved])
    return [float(w) for w in reweight(conjecture_vectors, unproved_vectors, settings.reweight_cap, seed)]
