"""One round of self-play, from top to bottom.

    seeds → conjectures → gates → attempts ↔ checks → selection → re-weighting → training → evaluation

Each stage reads and writes the store only, leaves out what it did before, and sets its end mark last, so that
after a kill at any moment the same call goes on where it stopped. Round 0 is the seed corpus and the seed
model; rounds are counted from 1. All random streams derive from (run seed, round, purpose).
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stp.datasets.corpora import Corpus, corpora
from stp.models.base import Generator
from stp.models.cores import share_cores, use_all_cores
from stp.models.prompts import PromptFormat, prompt_format, two_roles
from stp.report.experiment import fewest_steps
from stp.report.report import summary, write_html, write_metrics
from stp.search.evaluate import evaluate, evaluate_fixed, proved_by_portfolio
from stp.search.sample import Draws, Prover, attempt
from stp.selfplay import seeds
from stp.selfplay.balance import balance_score, next_temperature
from stp.selfplay.conjecture import conjecture
from stp.selfplay.disprove import disprove, disproved
from stp.selfplay.folder import make_folder, model_dir, settle
from stp.selfplay.gates import gate
from stp.selfplay.learn import Readers, choose_examples, train_final, train_round
from stp.selfplay.logs import check_logs, log_round
from stp.selfplay.needs import require
from stp.selfplay.salvage import complete, lacked, salvage
from stp.selfplay.seed_model import seed_model, start_model
from stp.selfplay.select import attempt_targets
from stp.settings import Settings
from stp.store.rows import Tally
from stp.store.store import Store
from stp.types import Source
from stp.verify.pool import Checkers, default_cache, open_pools

Stats = dict[str, Any]


def selfplay(settings: Settings, folder: Path, rounds: int, tokens: int = 0) -> None:
    """Plays until the run in `folder` has `rounds` rounds, then reports. Doing it again only reports.

    With `tokens` above 0 no round begins once so many were generated: methods are compared at equal cost.

    Raises:
        UsageError: the run began with other settings, its model is for proof search alone, or its judge's
            prompt format has no words for a system, or `salvage` is asked of Isabelle alone.
        ToolchainError: a prover is absent.
        StoreError: the folder cannot be used, or another process plays this run.
    """
    check_logs(settings.report.logs)
    if not (folder / "stp.sqlite").exists():
        require(settings)  # or the folder would be of a run that nobody could play
    make_folder(folder)
    with Store(folder / "stp.sqlite") as store:
        settle(store, folder, settings)
        play = Play(store, folder, settings)
        try:
            play.round(0, play.first_stages())
            number = 0
            while number < rounds and not (tokens and store.tokens_before(number + 1) >= tokens):
                number += 1
                play.round(number, play.stages())
            if number and settings.refresh.at_end:
                play.round(number, {"refresh": play.refresh})
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
    _pool: Checkers | None = None
    _prover: Prover | None = None
    _loaded: int | None = None
    """The round whose model the prover has; None: its generator has given back its memory."""

    def round(self, number: int, stages: dict[str, Callable[[int], Stats]]) -> None:
        """Runs the stages that have no end mark yet."""
        for name, run in stages.items():
            if self.store.begin_stage(number, name):
                stats = run(number)
                self.store.finish_stage(number, name, stats)

    def first_stages(self) -> dict[str, Callable[[int], Stats]]:
        """Round 0."""
        return {"seeds": self.fill, "train": self.seed_model, "evaluate": self.evaluate, **self._logging()}

    def stages(self) -> dict[str, Callable[[int], Stats]]:
        """What a round does; a baseline is a round that does less, by its settings."""
        conjecture = {"conjecture": self.conjecture, "gate": self.gate}
        learn = {"select": self.select, "train": self.train}
        settings = self.settings.conjecture
        return {
            **(conjecture if settings.mode != "off" else {}),
            "attempt": self.attempt,
            **({"complete": self.complete} if settings.mode != "off" and settings.salvage else {}),
            **(learn if self.settings.train.enabled else {}),
            "evaluate": self.evaluate,
            **self._logging(),
        }

    def _logging(self) -> dict[str, Callable[[int], Stats]]:
        return {"log": self.log} if self.settings.report.logs else {}

    def fill(self, number: int) -> Stats:
        """Round 0: statements and seed proofs into the store."""
        stats = dict(seeds.fill(self.store, self.settings, lambda: self.pool))
        if self.settings.attempt.disprove:
            stats |= disprove(self.store, self.pool, self.settings)
        return stats

    def seed_model(self, number: int) -> Stats:
        """Round 0: the model that the run starts from."""
        taught = start_model(self.settings, self.model_dir(0), self.stream(number, "train"))
        return {"examples": taught} if taught else {}

    def conjecture(self, number: int) -> Stats:
        """Steps 1 and 2."""
        prover, settings = self.prover(number - 1), self.settings
        use_all_cores()  # no checker is busy meanwhile
        inputs = conjecture(
            self.store, prover.generator, prover.style, number, settings.conjecture, settings.model,
            self.stream(number, "conjecture"),
        )  # fmt: skip
        share_cores(self.pool.workers)
        salvaged = salvage(self.store, prover, number, most) if (most := settings.conjecture.salvage) else {}
        return {"inputs": inputs, **salvaged}

    def gate(self, number: int) -> Stats:
        """Step 3; at most as many are kept as statements are unproved, so the budget is split evenly."""
        pooled = self.earlier(number)
        unproved = sum(key not in pooled or pooled[key].proved == 0 for key in self.to_prove())
        wanted = min(self.settings.conjecture.keep, unproved)
        return dict(gate(self.store, self.pool, number, self.settings, wanted, self.stream(number, "gate")))

    def attempt(self, number: int) -> Stats:
        """Steps 4 and 5: K proofs of each statement, in two parts for conjectures where K is adaptive."""
        settings, store = self.settings.attempt, self.store
        prover, temperature = self.prover(number - 1), self.temperature(number)
        stream = self.stream(number, "retry")
        targets = set(attempt_targets(self.to_prove(), self.earlier(number), settings, stream))
        dataset = [s for s in store.statements(source=Source.DATASET, split="train") if s.key in targets]
        conjectures = store.statements(source=Source.CONJECTURE, round=number)
        conjectures += lacked(store, number, self.settings.conjecture.salvage)
        plan = [(dataset + conjectures, settings.samples)]
        if 0 < settings.probe_samples < settings.samples:
            draws = Draws(settings.probe_samples, temperature, self.stream(number, "probe"))
            attempt(store, prover, number, "probe", conjectures, draws)
            easy = above_band(store.tallies(number, "probe"), self.settings)
            hard = [s for s in conjectures if s.key not in easy]
            plan = [(dataset, settings.samples), (hard, settings.samples - settings.probe_samples)]
        for statements, samples in plan:
            draws = Draws(samples, temperature, self.stream(number, "attempt"))
            attempt(store, prover, number, "attempt", statements, draws)
        return {
            "statements": len(dataset) + len(conjectures),
            "temperature": temperature,
            "balance": self.balance(number),
            **{v.value: n for v, n in store.verdicts(number).items()},
        }

    def complete(self, number: int) -> Stats:
        """Failed proofs of the last round whose open goals are proved by now, tried with those proofs."""
        return dict(complete(self.store, self.prover(number - 1), number, self.settings.gates))

    def select(self, number: int) -> Stats:
        """Steps 6 to 8."""
        judge = self.judge if self.settings.judge.base else None
        readers = Readers(lambda earlier: self.prover(earlier).generator, judge)
        return choose_examples(self.store, readers, number, self.settings, self.stream(number, "reweight"))

    def train(self, number: int) -> Stats:
        """Step 9."""
        self._make_room()
        models = self.model_dir(0), self.model_dir(number - 1)
        return train_round(
            self.store, number, self.settings, models, self.model_dir(number), self.stream(number, "train")
        )

    def refresh(self, number: int) -> Stats:
        """The last training, from the seed model; what it makes stands beside the rounds' models."""
        self._make_room()
        final = self.folder / "models" / f"final-{number}"
        return train_final(
            self.store, number, self.settings, self.model_dir(0), final, self.stream(number, "refresh")
        )

    def evaluate(self, number: int) -> Stats:
        """Held-out pass@k of the round's model; in round 0 also the portfolio's, with as many checks.

        Every round draws from the same random stream, so that what differs is the model: one that never
        learns keeps the numbers of round 0.
        """
        settings, names = self.settings.evaluate, {corpus.name for corpus in self.corpora}
        if number and not self.settings.train.enabled:
            rows = [replace(e, round=number, tokens=0) for e in self.store.evaluations(0)
                    if e.dataset in names]  # fmt: skip
            self.store.add_evaluations(rows)
            return {"solved": sum(r.proved > 0 for r in rows), "statements": len(rows), **self.easy(number)}
        held_out = self.store.statements(split="test")
        draws = Draws(settings.samples, settings.temperature, self.stream(0, "evaluate"))
        prover = self.prover(number)
        rows = []
        for corpus in self.corpora:
            statements = [s for s in held_out if s.system is corpus.system]
            rows += evaluate(self.store, prover, number, corpus.name, statements, draws)
            if number == 0:
                rows += evaluate_fixed(prover, number, corpus.name, statements, settings.samples)
        self.store.add_evaluations(rows)
        return {
            "solved": sum(r.proved > 0 for r in rows if r.dataset in names),
            "statements": len(held_out),
            **self.easy(number),
        }

    def easy(self, number: int) -> Stats:
        """Of the dataset's statements that this round proved first, and in several steps, those that the
        portfolio proves too."""
        first, steps = self.store.first_proved(), fewest_steps(self.store, number, number)
        new = [
            s
            for s in self.store.statements(source=Source.DATASET, split="train")
            if first.get(s.key) == number and steps[s.key] > 1
        ]
        return {"portfolio_proves": sorted(proved_by_portfolio(self.prover(number), new)) if new else []}

    def log(self, number: int) -> Stats:
        """Tells the round's numbers to whoever else is to show them."""
        log_round(self.store, self.folder, self.settings.report.logs, number)
        return {}

    def to_prove(self) -> list[str]:
        """Keys of the dataset's training statements, without those that were found to be false."""
        false = disproved(self.store)
        keys = [s.key for s in self.store.statements(source=Source.DATASET, split="train")]
        return [key for key in keys if key not in false]

    def earlier(self, number: int) -> dict[str, Tally]:
        """What each statement got in the rounds before this one."""
        return self.store.pooled_rates(1, number - 1)

    def temperature(self, number: int) -> float:
        """Of this round's attempts: the setting, or where its balancing has led to."""
        settings = self.settings.attempt
        if not settings.balance_step:
            return settings.temperature
        marks = (self.store.stage(earlier, "attempt") for earlier in range(1, number))
        history = [(m.stats["temperature"], m.stats["balance"]) for m in marks if m]
        return next_temperature(history, settings.temperature, settings.balance_step)

    def balance(self, number: int) -> float:
        """How many and how different the round's correct proofs are, of each attempted statement."""
        distinct = Counter(p.statement for p in self.store.correct_proofs(number, number) if p.count)
        rates = self.store.pooled_rates(number, number)
        wanted = max(1, round(self.settings.select.band_high * self.settings.attempt.samples))
        return balance_score([(tally.proved, distinct[key]) for key, tally in rates.items()], wanted)

    def model_dir(self, number: int) -> Path:
        """The folder of the model that a round ended with."""
        return model_dir(self.folder, number, self.settings.train.enabled)

    def stream(self, number: int, purpose: str) -> int:
        """The seed of one random stream."""
        text = f"{self.settings.seed}/{number}/{purpose}"
        return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)

    @property
    def corpora(self) -> list[Corpus]:
        return corpora(self.settings.data)

    @property
    def pool(self) -> Checkers:
        if self._pool is None:
            systems = [corpus.system for corpus in self.corpora]
            self._pool = open_pools(self.settings.verify, systems, cache=default_cache())
            self._note_checkers(self._pool.digest)
        return self._pool

    def _note_checkers(self, digest: str) -> None:
        """All toolchains that checked this run's proofs, in their order: a check that is made stands."""
        before = self.store.meta("toolchain") or ""
        if before.rpartition(", ")[2] != digest:
            self.store.set_meta("toolchain", f"{before}, {digest}" if before else digest)

    def prover(self, number: int) -> Prover:
        """The prover with the model of a round; one is loaded at a time."""
        if self._prover is None:
            from stp.models.backend import open_generator

            settings = self.settings.model
            pool = self.pool  # starts while the model loads
            share_cores(self.pool.workers)
            generator = open_generator(settings, self.model_dir(number))
            style = two_roles(settings)
            self._prover = Prover(generator, style, pool, settings, self.settings.verify)
        elif self._loaded != number:
            self._prover.generator.use(self.model_dir(number))
            share_cores(self.pool.workers)
        self._loaded = number
        return self._prover

    @contextmanager
    def judge(self) -> Iterator[tuple[Generator, PromptFormat]]:
        """What scores conjectures, and its prompts. The prover's generator is ended for it, as even one that
        gave back its memory may keep the cluster's GPUs to itself."""
        from stp.models.backend import open_generator

        settings = self.settings.judge
        self._end_generator()
        with closing(open_generator(settings, seed_model(settings, "judge"))) as opened:
            yield opened, prompt_format(settings.prompt_format)

    def release(self) -> None:
        """Leaves the generator's memory to the training."""
        if self._prover and self._loaded is not None:
            self._prover.generator.release()
            self._loaded = None

    def _make_room(self) -> None:
        """For a training, which wants the memory of the loaded model and every core."""
        self.release()
        use_all_cores()

    def close(self) -> None:
        """Ends the generator and the checkers."""
        self._end_generator()
        if self._pool:
            self._pool.close()

    def _end_generator(self) -> None:
        if self._prover:
            self._prover.generator.close()
        self._prover = self._loaded = None


def above_band(tallies: dict[str, Tally], settings: Settings) -> set[str]:
    """Keys of those proved so often in the probe that K samples cannot end in the band any more."""
    most = settings.select.band_high * settings.attempt.samples
    return {key for key, tally in tallies.items() if tally.proved > most}
