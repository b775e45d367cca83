"""What a round chooses: seeds (step 1), statements to attempt (4), examples to train on (6 and 8).

Pure functions on values. Every choice depends on what is given and on a seed, never on the order in which
it is given: values are sorted by key first, and each purpose has a random stream of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from math import ceil, exp
from random import Random

from stp.settings import AttemptSettings, ConjectureSettings, RefreshSettings, SelectSettings
from stp.store.rows import Tally


@dataclass(frozen=True, slots=True)
class KnownProof:
    """A proof that was checked, what that cost, and the names of the library theorems it uses."""

    text: str
    heartbeats: int = 0
    premises: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Attempted:
    """What attempting a statement gave, with at least one of `proofs` if `proved` is above 0.

    Tries and proofs count with multiplicity; void attempts are left out. `lemma` is the one that the
    conjecturer read, None the trivial one.
    """

    key: str
    attempts: int
    proved: int
    statement: str
    lemma: str | None
    proofs: tuple[KnownProof, ...]

    @property
    def pass_rate(self) -> float:
        return self.proved / self.attempts if self.attempts else 0.0

    @property
    def uses_lemma(self) -> bool:
        return self.lemma is not None and any(self.lemma in proof.premises for proof in self.proofs)

    @property
    def elegancy(self) -> float:
        """Length of the shortest correct proof over that of the statement, in characters."""
        return min(len(proof.text) for proof in self.proofs) / len(self.statement)


@dataclass(frozen=True, slots=True)
class WeightedProof:
    """An example for the prover."""

    key: str
    proof: str
    weight: float


@dataclass(frozen=True, slots=True)
class SeedProof:
    """A correct proof of a dataset statement, with the statement's best pass rate of any earlier round."""

    key: str
    proof: str
    premises: frozenset[str]
    pass_rate: float


@dataclass(frozen=True, slots=True)
class SeedInput:
    """What the conjecturer reads, `samples` times; lemma None is the trivial lemma (free conjecturing), proof
    None a statement to work towards."""

    key: str
    proof: str | None
    lemma: str | None
    samples: int


def seed_inputs(proofs: Iterable[SeedProof], settings: ConjectureSettings, seed: int) -> list[SeedInput]:
    """Step 1: at most `settings.inputs` triples, no (statement, lemma) twice.

    In random order, each proof of a statement above the pass rate gives one of its premises that is still
    free, and now and then the trivial lemma, which no cap holds. Distinct premises of one statement come
    from distinct proofs, as STP does it.
    """
    rng = Random(f"{seed}/seeds")
    pool = sorted(
        {proof for proof in proofs if proof.pass_rate > settings.seed_pass_rate},
        key=lambda proof: (proof.key, proof.proof, sorted(proof.premises)),
    )
    rng.shuffle(pool)
    cap = max(1, int(settings.lemma_cap_frac * settings.inputs))
    uses: Counter[str | None] = Counter()
    chosen: dict[tuple[str, str | None], str] = {}
    for proof in pool:
        free = [p for p in sorted(proof.premises) if uses[p] < cap and (proof.key, p) not in chosen]
        lemmas: list[str | None] = [rng.choice(free)] if free and settings.lemmas else []
        if not settings.lemmas or rng.random() < settings.trivial_lemma_frac:
            lemmas.append(None)
        for lemma in lemmas[: settings.inputs - len(chosen)]:
            chosen[proof.key, lemma] = proof.proof
            uses[lemma] += 1
    samples = _samples_each(len(chosen), settings)
    return [SeedInput(key, proof, lemma, samples) for (key, lemma), proof in chosen.items()]


def target_inputs(unproved: Iterable[str], settings: ConjectureSettings, seed: int) -> list[SeedInput]:
    """Step 1 the other way round (SGS): unproved statements to find a step towards, in random order."""
    keys = sorted(unproved)
    Random(f"{seed}/targets").shuffle(keys)
    chosen = keys[: settings.inputs]
    return [SeedInput(key, None, None, _samples_each(len(chosen), settings)) for key in chosen]


def _samples_each(inputs: int, settings: ConjectureSettings) -> int:
    return max(1, min(settings.samples_total // max(1, inputs), settings.samples_per_input))


def attempt_targets(
    keys: Iterable[str], tallies: Mapping[str, Tally], settings: AttemptSettings, seed: int
) -> list[str]:
    """Step 4: which of the dataset statements to try, sorted, by what they got in earlier rounds.

    The never-solved and the rarely solved always; each other one by a coin of its own, so that no
    statement's coin depends on which others there are.
    """

    def tried(key: str) -> bool:
        tally = tallies.get(key)
        if tally is None or tally.proved == 0 or tally.pass_rate < settings.solved_pass_rate:
            return True
        return Random(f"{seed}/retry/{key}").random() < settings.solved_retry_frac

    return sorted(filter(tried, keys))


def conjecturer_set(outcomes: Iterable[Attempted], settings: SelectSettings) -> list[Attempted]:
    """Step 6, before re-weighting: this round's barely proved conjectures, sorted by key.

    A conjecture that came from several inputs is kept once, from one whose lemma was used if there is
    one. Those that use no lemma, be it that they ignored it or that the trivial one was given, become
    trivial-lemma examples (lemma None) under one cap, the freely conjectured first; the keys, being
    hashes, choose among equals. The least elegant part of what is left goes last.
    """
    barely = [outcome for outcome in outcomes if 0 < outcome.pass_rate <= settings.band_high]
    barely.sort(key=lambda o: (o.key, not o.uses_lemma, o.lemma is not None, o.lemma or ""))
    distinct = [next(group) for _, group in groupby(barely, key=lambda o: o.key)]
    useful = [outcome for outcome in distinct if outcome.uses_lemma]
    trivial = sorted((o for o in distinct if not o.uses_lemma), key=lambda o: (o.lemma is not None, o.key))
    cap = ceil(settings.trivial_lemma_cap_frac * len(distinct))
    kept = useful + [replace(outcome, lemma=None) for outcome in trivial[:cap]]
    groups: dict[str | None, list[Attempted]] = {}
    for outcome in sorted(kept, key=lambda o: (o.elegancy, o.key)):
        groups.setdefault(outcome.lemma if settings.elegancy_by == "lemma" else None, []).append(outcome)
    elegant = (o for group in groups.values() for o in group[int(settings.elegancy_drop_frac * len(group)) :])
    return sorted(elegant, key=lambda o: o.key)


def prover_set(outcomes: Iterable[Attempted], settings: SelectSettings) -> list[WeightedProof]:
    """Step 8: weighted correct proofs of the statements that are not easy, sorted by (key, proof).

    Pass the outcomes of the replayed rounds, each attempted statement once a round: those of one key are
    pooled. weight = exp(-char_decay · characters - second_decay · seconds) / distinct proofs, in whole
    seconds' worth of heartbeats: a checker's first use of a tactic costs it some heartbeats more, and two
    runs must agree.
    """
    examples = []
    for key, proofs in _hard_proofs(outcomes, settings.prover_pass_rate, settings.proofs_per_statement):
        for text, cost in proofs:
            seconds = cost // settings.heartbeats_per_second
            decay = exp(-settings.char_decay * len(text) - settings.second_decay * seconds)
            examples.append(WeightedProof(key, text, decay / len(proofs)))
    return examples


def refresh_set(
    outcomes: Iterable[Attempted], settings: RefreshSettings, char_decay: float
) -> list[WeightedProof]:
    """Proofs to train on from the seed model: of statements of all rounds that are hard, at most so many of
    each, with weight exp(-char_decay · characters)."""
    return [
        WeightedProof(key, text, exp(-char_decay * len(text)))
        for key, proofs in _hard_proofs(outcomes, settings.pass_rate, settings.proofs_per_statement)
        for text, _ in proofs
    ]


def _hard_proofs(
    outcomes: Iterable[Attempted], pass_rate: float, most: int
) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """Each statement proved at up to this pooled rate, with its distinct proofs and the least heartbeats
    of each: all, or the shortest `most`."""
    for key, group in groupby(sorted(outcomes, key=lambda o: o.key), key=lambda o: o.key):
        pooled = list(group)
        attempts, proved = sum(o.attempts for o in pooled), sum(o.proved for o in pooled)
        if not 0 < proved <= pass_rate * attempts:
            continue
        heartbeats: dict[str, int] = {}
        for proof in (proof for outcome in pooled for proof in outcome.proofs):
            heartbeats[proof.text] = min(proof.heartbeats, heartbeats.get(proof.text, proof.heartbeats))
        shortest = sorted(heartbeats.items(), key=lambda item: (len(item[0]), item[0]))
        yield key, sorted(shortest[: most or None])
