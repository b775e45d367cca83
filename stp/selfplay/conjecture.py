"""Steps 1 and 2 of the round: choose seeds, let the model conjecture."""

from __future__ import annotations

from collections import defaultdict

from tqdm import tqdm

from stp.models.base import Generator
from stp.models.prompts import PromptFormat
from stp.selfplay.disprove import disproved
from stp.selfplay.seeds import lemmas
from stp.selfplay.select import SeedInput, SeedProof, seed_inputs, target_inputs
from stp.settings import ConjectureSettings, ModelSettings
from stp.store.rows import Conjecture
from stp.store.store import Store
from stp.types import Premise, Source

_INPUTS_A_BATCH = 64


def choose_inputs(store: Store, round: int, settings: ConjectureSettings, seed: int) -> list[SeedInput]:
    """Step 1, from the proofs of all earlier rounds; a seed corpus proof counts as always passing."""
    if settings.mode == "unsolved":
        solved = {key for key, tally in store.pooled_rates(1, round - 1).items() if tally.proved}
        pool = {s.key for s in store.statements(source=Source.DATASET, split="train")}
        return target_inputs(pool - solved - disproved(store), settings, seed)
    rates = store.best_rates(1, round - 1)
    proofs = [
        SeedProof(
            p.statement, p.text, frozenset(q.name for q in lemmas(p.premises)), rates.get(p.statement, 1.0)
        )
        for p in store.correct_proofs(0, round - 1, conjectures=False)
    ]
    return seed_inputs(proofs, settings, seed)


def conjecture(
    store: Store,
    generator: Generator,
    style: PromptFormat,
    round: int,
    settings: ConjectureSettings,
    model: ModelSettings,
    seed: int,
) -> int:
    """Step 2: samples conjectures into the store, input after input; returns how many inputs there were."""
    inputs = choose_inputs(store, round, settings, seed)
    done = {row.input for row in store.conjectures(round)}
    todo = [(index, chosen) for index, chosen in enumerate(inputs) if index not in done]
    by_key = defaultdict(dict)  # type: defaultdict[str, dict[str, str]]
    texts: dict[str, Premise] = {}
    for proof in store.correct_proofs(0, round - 1, conjectures=False):
        by_key[proof.statement][proof.text] = proof.key
        texts.update({p.name: p for p in lemmas(proof.premises)})
    with tqdm(total=len(todo), desc=f"round {round} conjecture", unit="input") as bar:
        for first in range(0, len(todo), _INPUTS_A_BATCH):
            batch = todo[first : first + _INPUTS_A_BATCH]
            prompts = []
            for _, chosen in batch:
                statement = store.statement(chosen.key)
                assert statement is not None
                lemma = texts[chosen.lemma].statement if chosen.lemma else None
                prompts.append(style.conjecturer(lemma, statement.text, chosen.proof, statement.system))
            sampled = generator.generate(
                prompts,
                n=batch[0][1].samples,
                temperature=settings.temperature,
                max_tokens=model.max_statement_tokens,
                seed=seed,
            )
            store.add_conjectures(
                Conjecture(
                    round, index, at, chosen.key,
                    by_key[chosen.key][chosen.proof] if chosen.proof else None, chosen.lemma,
                    texts[chosen.lemma].statement if chosen.lemma else None,
                    sample.text if sample.finished else "", tokens=sample.tokens,
                )
                for (index, chosen), samples in zip(batch, sampled, strict=True)
                for at, sample in enumerate(samples)
            )  # fmt: skip
            bar.update(len(batch))
    return len(inputs)
