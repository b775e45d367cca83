"""One round of self-play, from top to bottom.

    seeds → conjectures → gates → attempts ↔ checks → selection → re-weighting → training → evaluation

Each stage reads and writes the store only and sets its end mark with its last write, so that after a kill
at any moment the same call goes on where it stopped. Round 0 is the seed corpus and the seed model; rounds
are counted from 1. All random streams derive from (run seed, round, purpose).
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stp.errors import StoreError, UsageError
from stp.models.prompts import prompt_format
from stp.report.report import summary, write_html, write_metrics
from stp.search.evaluate import evaluate, evaluate_portfolio
from stp.search.sample import Budget, Prover, attempt
from stp.selfplay import seeds
from stp.selfplay.conjecture import conjecture
from stp.selfplay.gates import gate
from stp.selfplay.learn import choose_examples, copy_model, train_round
from stp.selfplay.seed_model import seed_model
from stp.selfplay.select import Tally, attempt_targets
from stp.settings import Settings
from stp.store.store import Store
from stp.types import Source
from stp.verify.pool import Pool, default_cache, open_pool

Stats = dict[str, Any]


def selfplay(settings: Settings, folder: Path, rounds: int) -> None:
    """Plays until the run in `folder` has `rounds` rounds, then reports. Doing it again only reports.

    Raises:
        UsageError: the run began with other settings.
        StoreError: the folder cannot be used, or another process plays this run.
    """
    try:
        (folder / "models").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"{folder}: cannot make the run's folder: {error.strerror}; choose another RUN"
        ) from None
    with Store(folder / "stp.sqlite") as store:
        _settle(store, folder, settings)
        play = Play(store, folder, settings)
        try:
            play.round(0, {"seeds": play.fill, "train": play.seed_model, "evaluate": play.evaluate})
            for number in range(1, rounds + 1):
                play.round(
                    number,
                    {
                        "conjecture": play.conjecture,
                        "gate": play.gate,
                        "attempt": play.attempt,
                        "select": play.select,
                        "train": play.train,
                        "evaluate": play.evaluate,
                    },
                )
        finally:
            play.close()
        write_metrics(store, folder / "metrics.jsonl")
        write_html(store, folder / "report.html", f"STP run {folder.name}")
        print(summary(store))
        print(f"\nreport: {folder / 'report.html'}", file=sys.stderr)


@dataclass
class Play:
    """A run being played: its store and what its stages share. Checkers and model load when first needed."""

    store: Store
    folder: Path
    settings: Settings
    _pool: Pool | None = None
    _prover: Prover | None = None
    _loaded: int | None = None
    """The round whose model the prover has; None: its generator has given back its memory."""

    def round(self, number: int, stages: dict[str, Callable[[int], Stats]]) -> None:
        """Runs the stages that have no end mark yet."""
        for name, run in stages.items():
            if self.store.begin_stage(number, name):
                stats = run(number)
                self.store.finish_stage(number, name, stats)

    def fill(self, number: int) -> Stats:
        """Round 0: statements and seed proofs into the store."""
        return dict(seeds.fill(self.store, self.settings))

    def seed_model(self, number: int) -> Stats:
        """Round 0: the model that the run starts from."""
        copy_model(seed_model(self.settings.model), self.model_dir(0))
        return {}

    def conjecture(self, number: int) -> Stats:
        """Steps 1 and 2."""
        prover, settings = self.prover(number - 1), self.settings
        _use_cores(os.cpu_count() or 1)  # no checker is busy meanwhile
        inputs = conjecture(
            self.store, prover.generator, prover.style, number, settings.conjecture, settings.model,
            self.stream(number, "conjecture"),
        )  # fmt: skip
        self._share_cores()
        return {"inputs": inputs}

    def gate(self, number: int) -> Stats:
        """Step 3; at most as many are kept as statements are unproved, so the budget is split evenly."""
        wanted = min(self.settings.conjecture.keep, sum(t.proved == 0 for t in self.tallies(number)))
        return dict(gate(self.store, self.pool, number, self.settings, wanted, self.stream(number, "gate")))

    def attempt(self, number: int) -> Stats:
        """Steps 4 and 5."""
        settings, store = self.settings.attempt, self.store
        targets = set(attempt_targets(self.tallies(number), settings, self.stream(number, "retry")))
        statements = [
            *(s for s in store.statements(source=Source.DATASET, split="train") if s.key in targets),
            *store.statements(source=Source.CONJECTURE, round=number),
        ]
        budget = Budget(settings.samples, settings.temperature, self.stream(number, "attempt"))
        attempt(store, self.prover(number - 1), number, "attempt", statements, budget)
        return {
            "statements": len(statements),
            **{v.value: n for v, n in store.verdicts(number, "attempt").items()},
        }

    def select(self, number: int) -> Stats:
        """Steps 6 to 8."""
        generator = self.prover(number - 1).generator
        return choose_examples(
            self.store, generator, number, self.settings.select, self.stream(number, "reweight")
        )

    def train(self, number: int) -> Stats:
        """Step 9."""
        self.release()
        _use_cores(os.cpu_count() or 1)
        return train_round(
            self.store, number, self.settings, self.model_dir(number - 1), self.model_dir(number),
            self.stream(number, "train"),
        )  # fmt: skip

    def evaluate(self, number: int) -> Stats:
        """Held-out pass@k of the round's model; in round 0 also the portfolio's, with as many checks.

        Every round draws from the same random stream, so that what differs is the model.
        """
        settings, dataset = self.settings.evaluate, self.settings.data.dataset
        statements = self.store.statements(split="test")
        budget = Budget(settings.samples, settings.temperature, self.stream(0, "evaluate"))
        prover = self.prover(number)
        rows = evaluate(self.store, prover, number, dataset, statements, budget)
        if number == 0:
            rows += evaluate_portfolio(prover, number, dataset, statements, settings.samples)
        self.store.add_evaluations(rows)
        return {
            "solved": sum(r.proved > 0 for r in rows if r.dataset == dataset),
            "statements": len(statements),
        }

    def tallies(self, number: int) -> list[Tally]:
        """What the dataset's training statements got in the rounds before this one."""
        pooled = self.store.pooled_rates(1, number - 1)
        keys = [s.key for s in self.store.statements(source=Source.DATASET, split="train")]
        return [
            Tally(key, t.attempts, t.proved) if (t := pooled.get(key)) else Tally(key, 0, 0) for key in keys
        ]

    def model_dir(self, number: int) -> Path:
        return self.folder / "models" / f"round-{number}"

    def stream(self, number: int, purpose: str) -> int:
        """The seed of one random stream."""
        text = f"{self.settings.seed}/{number}/{purpose}"
        return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)

    @property
    def pool(self) -> Pool:
        if self._pool is None:
            self._pool = open_pool(self.settings.verify, cache=default_cache())
            self.store.set_meta("toolchain", self._pool.digest)
        return self._pool

    def prover(self, number: int) -> Prover:
        """The prover with the model of a round; one is loaded at a time."""
        if self._prover is None:
            from stp.models.backend import open_generator

            settings = self.settings.model
            pool = self.pool  # starts while the model loads
            self._share_cores()
            generator = open_generator(settings, self.model_dir(number))
            style = prompt_format(settings.prompt_format)
            self._prover = Prover(generator, style, pool, settings, self.settings.verify)
        elif self._loaded != number:
            self._prover.generator.use(self.model_dir(number))
            self._share_cores()
        self._loaded = number
        return self._prover

    def release(self) -> None:
        """Leaves the generator's memory to the training."""
        if self._prover and self._loaded is not None:
            self._prover.generator.release()
            self._loaded = None

    def _share_cores(self) -> None:
        """Leaves the checkers their cores."""
        _use_cores(max(1, (os.cpu_count() or 1) - self.pool.workers))

    def close(self) -> None:
        """Ends the generator and the checkers."""
        if self._prover:
            self._prover.generator.close()
        if self._pool:
            self._pool.close()


def _use_cores(threads: int) -> None:
    """Cores for torch: the checkers have the others, and a thread that waits for a core slows all."""
    import torch

    torch.set_num_threads(threads)


def _settle(store: Store, folder: Path, settings: Settings) -> None:
    """Writes the settings of a new run; refuses to go on with others."""
    values = settings.model_dump(mode="json")
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
    began = store.meta("settings")
    if began is not None and began != values:
        changed = [
            f"{section}.{key}: began with {began.get(section, {}).get(key)!r}, now {value!r}"
            for section, keys in values.items()
            if isinstance(keys, dict)
            for key, value in keys.items()
            if not isinstance(began.get(section), dict) or began[section].get(key) != value
        ]
        raise UsageError(
            f"{folder}: the run began with other settings ({'; '.join(changed) or 'seed'}); go on "
            "with those, or choose another RUN"
        )
    with store.atomic():
        store.set_meta("settings", values)
        store.set_meta("settings_digest", digest)
        store.set_meta("band_high", settings.select.band_high)
    (folder / "settings.json").write_text(json.dumps({"digest": digest, **values}, indent=2) + "\n")
