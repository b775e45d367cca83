"""`stp prove`: what is denied early, the search, the reports in the run's folder; or a user's own file.

A run is a folder with `stp.sqlite`, `results.json` and `report.html`. The same command goes on with it after
a kill; a larger budget goes on with what is unsolved.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stp.datasets import registry
from stp.datasets.decontaminate import Copy, trained_on
from stp.datasets.problems import Problem
from stp.datasets.registry import Dataset
from stp.download import digest
from stp.errors import ModelServerError, UsageError
from stp.files import write_file
from stp.models.cores import share_cores
from stp.models.prompts import prompt_format
from stp.report.proofs import ProveRecord, read_proofs, results_json
from stp.search.holes import HoleReport, Searcher
from stp.search.portfolio import Portfolio
from stp.search.premises import premises_for
from stp.search.prove import Budget, Search, Target, check_budget
from stp.search.repair import Repair
from stp.search.strategy import STRATEGIES, Sampling, Strategy, Turns
from stp.search.theory_holes import fill_theory
from stp.search.tree import Tree
from stp.selfplay.seed_model import TINY, seed_model
from stp.settings import PLACEMENT, Section, Settings
from stp.store.store import Store
from stp.syntax.isabelle_file import commands
from stp.syntax.lean_file import restates, theorems
from stp.types import Job, Statement, System
from stp.verify.isabelle import toolchain as isabelle
from stp.verify.lean import toolchain
from stp.verify.pool import Pool, default_cache, open_pool

#: Settings of a run that a later call may change.
_BUDGET = frozenset({"k", "tokens", "seconds"})


@dataclass(frozen=True, slots=True)
class Request:
    """What to prove, and how."""

    dataset: str
    split: str | None
    strategy: str
    budget: Budget
    source: Path | None = None
    """Where the benchmark's file is; None: where it always is."""
    temperature: float = 1.0


def prove(settings: Settings, request: Request, out: Path) -> ProveRecord:
    """Searches for proofs of a benchmark's problems and writes the reports; goes on with a run in `out`.

    Raises:
        UsageError: nothing can come of it: no such data, a prover that is not there, other settings than
            those that the run in `out` began with.
    """
    check_budget(request.budget)
    names = strategy_names(request.strategy)
    given = registry.load(request.dataset, request.split, request.source)
    dataset = replace(given, problems=[_told_apart(problem) for problem in given.problems])
    settings = _for_system(settings, _system(dataset), names)
    deny_early(dataset, settings)
    values = _values(settings, request, dataset)
    statements = [problem.statement for problem in dataset.problems if problem.statement]
    with Store(out / "stp.sqlite") as store:
        _settle(store, out, values)
        with open_pool(settings.verify, cache=default_cache()) as pool:
            copies = _copies(given, dataset, values)  # takes seconds: while the checkers start, not at Ctrl-C
            try:
                title = f"{dataset.entry.name} {request.split or ''}"
                _search(store, pool, settings, names, request, statements, title)
            finally:
                record = read_proofs(store, dataset, values, copies)
                write_reports(record, out)
    return record


def _told_apart(problem: Problem) -> Problem:
    """The problem with a key of all that its meaning hangs on: a statement's own key leaves out its header,
    and the same words behind another definition are another theorem."""
    if (statement := problem.statement) is None:
        return problem
    whole = f"{statement.system}\0{statement.header}\0{statement.text}\0{statement.origin or ''}"
    key = hashlib.sha256(whole.encode()).hexdigest()[:24]
    return replace(problem, statement=replace(statement, key=key))


def _copies(given: Dataset, dataset: Dataset, values: dict[str, Any]) -> dict[str, Copy]:
    """The statements that copy what the run's model learnt from; known for the tiny model alone. `given` is
    the dataset by the statements' own keys, by which copies are found."""
    if values["model"] != TINY:
        return {}
    pairs = [(a.statement, b.statement) for a, b in zip(given.problems, dataset.problems, strict=True)]
    copies = trained_on().copies([own for own, _ in pairs if own])
    return {apart.key: copies[own.key] for own, apart in pairs if own and apart and own.key in copies}


def write_reports(record: ProveRecord, out: Path) -> None:
    """`results.json` and `report.html`, each whole or not at all."""
    from stp.report.proofs_page import render

    write_file(out / "results.json", results_json(record))
    write_file(out / "report.html", render(record))


def strategy_names(strategy: str) -> list[str]:
    """The strategies of `a+b`, one after the other.

    Raises:
        UsageError: one of them is unknown.
    """
    names = strategy.split("+")
    for name in names:
        if name not in STRATEGIES:
            raise UsageError(
                f"--strategy {strategy!r}: expected {', '.join(STRATEGIES)}, or several joined by +"
            )
    return names


def deny_early(dataset: Dataset, settings: Settings) -> None:
    """Refuses a benchmark whose prover or library is not there, before anything is sampled.

    Raises:
        UsageError: says what is missing, in one line.
    """
    name = dataset.entry.name
    if settings.verify.system is System.ISABELLE:
        isabelle.find(settings.verify.session, allow_tainted_heap=settings.verify.allow_tainted_heap)
    else:
        toolchain.require_library(name, {p.before for p in dataset.problems}, settings.verify.toolchain)
    if dataset.path is not None and (said := registry.problem_with(dataset.entry, dataset.path)):
        print(f"note: {said}", file=sys.stderr)


def _system(dataset: Dataset) -> System:
    systems = {problem.system for problem in dataset.problems}
    if len(systems) > 1:
        raise UsageError(
            f"{dataset.entry.name}: expected statements of one system, found Lean's and Isabelle's"
        )
    return systems.pop() if systems else System.LEAN


def _for_system(settings: Settings, system: System, names: Sequence[str]) -> Settings:
    """The settings with the checkers of a system.

    Raises:
        UsageError: a strategy reads Lean, or samples a model that is not there or has not learnt Isabelle.
    """
    if system is System.ISABELLE:
        if lean := [name for name in names if name not in ("portfolio", "sample")]:
            raise UsageError(f"--strategy {lean[0]} reads Lean; Isabelle: --strategy portfolio, or sample")
        model = settings.model
        can_write = model.base != TINY and system in prompt_format(model.prompt_format).templates
        if "sample" in names and not can_write:
            raise UsageError(
                f"--strategy sample: {model.base} in format {model.prompt_format} writes Lean; Isabelle: "
                "--strategy portfolio, or a --model that has learnt it"
            )
    if any(STRATEGIES[name] for name in names):
        seed_model(settings.model)
    verify = settings.verify.model_copy(update={"system": system})
    return settings.model_copy(update={"verify": verify})


class FileProver:
    """Fills the holes of one Lean file or Isabelle theory, as often as it changes: checkers and model start
    with the first hole and serve all later ones."""

    def __init__(
        self, settings: Settings, path: Path, strategy: str, budget: Budget, temperature: float
    ) -> None:
        """
        Raises:
            UsageError: neither a Lean file nor a theory by its name, or a strategy that it cannot have.
        """
        check_budget(budget)
        names = strategy_names(strategy)
        if path.suffix not in (".lean", ".thy"):
            raise UsageError(f"{path}: expected a Lean file, NAME.lean, or a theory of Isabelle, NAME.thy")
        self._is_theory = path.suffix == ".thy"
        if self._is_theory and names != ["portfolio"]:
            raise UsageError(f"{path}: a theory's holes are filled by --strategy portfolio, found {strategy}")
        system = System.ISABELLE if self._is_theory else System.LEAN
        self._settings = _for_system(settings, system, names)
        self._path, self._names, self._budget, self._temperature = path, names, budget, temperature
        self._pool: Pool | None = None
        self._strategy: Strategy | None = None
        self._sampling: Sampling | None = None

    @property
    def has_lost_model(self) -> bool:
        """Did the model's server go away, so that the search went on without it?"""
        return self._sampling is not None and bool(self._sampling.lost)

    def read(self) -> str:
        """The file's text.

        Raises:
            UsageError: no such file, or none of text.
        """
        try:
            return self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{self._path}: expected a readable file of UTF-8 text: {error}") from None

    def fill(self, text: str) -> Iterator[tuple[str, list[HoleReport]]]:
        """After each hole, in order of position: the text as it stands now, and the reports on all so far.

        Raises:
            UsageError: it is no text of its system, or imports what is not there.
        """
        limits = self._settings.verify.limits
        if self._is_theory:
            has_holes = any(command.holes for command in commands(text)[1])
            filled = fill_theory(self._open(), limits, text) if has_holes else iter(())
        else:
            toolchain.require_library(str(self._path), {text}, self._settings.verify.toolchain)
            has_holes = any(theorem.holes for theorem in theorems(text))
            filled = self._searcher().fill(text) if has_holes else iter(())
        reports: list[HoleReport] = []
        for now, report in filled:
            reports.append(report)
            # Text that filled one hole is proved with the last hole of its theorem. A theory's holes are
            # proved together or not at all, and its theorems without a name have one name.
            proved = {r.theorem for r in reports if r.state == "proved" and not self._is_theory}
            whole = [r.state == "filled" and r.theorem in proved for r in reports]
            yield now, [replace(r, state="proved") if w else r for r, w in zip(reports, whole, strict=True)]

    def _open(self) -> Pool:
        if self._pool is None:
            self._pool = open_pool(self._settings.verify, cache=default_cache())
        return self._pool

    def _searcher(self) -> Searcher:
        pool = self._open()
        if self._strategy is None:
            sampling = open_sampling(self._names, self._settings, self._temperature, pool)
            self._strategy, self._sampling = make_strategy(self._names, sampling), sampling
        return Searcher(pool, self._strategy, self._budget, self._settings.verify.limits)

    def close(self) -> None:
        """Ends checkers and model."""
        if self._sampling:
            self._sampling.close()
        if self._pool:
            self._pool.close()


def proved_path(path: Path) -> Path:
    """Where the filled copy of a file goes: `FILE.proved.lean`."""
    return path.with_name(f"{path.stem}.proved{path.suffix}")


def job_of(statement: Statement, settings: Settings) -> Callable[[str], Job]:
    """The strict check of a proof of the statement, within the settings' limits. A text that states the
    theorem again, behind lemmas of its own, is checked as a file against a spec."""
    limits = settings.verify.limits
    spec = f"{statement.header}\n{statement.text} := sorry"

    def job(proof: str) -> Job:
        # A proof of what the library has must not use that, which a file's check does not look at.
        if statement.system is System.LEAN and not statement.origin and restates(proof, statement.text):
            file, name = f"{statement.header}\n{proof}", theorems(spec)[-1].full_name
            return Job(statement.key, "", spec, file, limits=limits, strict=True, theorem=name)
        return Job(
            statement.key, statement.header, statement.text, proof, statement.system, statement.origin,
            limits, strict=True,
        )  # fmt: skip

    return job


def open_sampling(
    names: Sequence[str], settings: Settings, temperature: float, pool: Pool
) -> Sampling | None:
    """The model that the strategies of those names need; None: they need none.

    Raises:
        UsageError: it cannot be loaded.
        ModelServerError: its server does not answer, and no strategy goes without it.
    """
    if not any(STRATEGIES[name] for name in names):
        return None
    from stp.models.backend import open_generator

    model = settings.model.model_copy(update={"logprobs": "tree" in names})
    if model.backend != "chat":
        share_cores(pool.workers)
    style = prompt_format(model.prompt_format)
    sampling = Sampling(None, style, temperature, model.max_proof_tokens, settings.seed)
    try:
        sampling.generator = open_generator(model, seed_model(model))
    except ModelServerError as error:
        if all(STRATEGIES[name] for name in names):
            raise
        sampling.lose(error)
    return sampling


def make_strategy(names: Sequence[str], sampling: Sampling | None) -> Strategy:
    """The strategies of those names, in turns."""
    made: list[Strategy] = []
    for name in names:
        if sampling is None or name == "portfolio":
            made.append(Portfolio(premises_for))
        elif name == "sample":
            made.append(sampling)
        else:
            made.append(Repair(sampling) if name == "repair" else Tree(sampling))
    return functools.reduce(lambda second, first: Turns(first, second), reversed(made))


def _search(
    store: Store, pool: Pool, settings: Settings, names: Sequence[str], request: Request,
    statements: Sequence[Statement], title: str,
) -> None:  # fmt: skip
    sampling = open_sampling(names, settings, request.temperature, pool)
    targets = [Target(statement, job_of(statement, settings)) for statement in statements]
    search = Search(store, pool, make_strategy(names, sampling), targets, request.budget, title.strip())
    try:
        search.run()
    finally:
        if sampling:
            sampling.close()
        store.set_meta("lost", sampling.lost if sampling else "")
    store.set_meta("spent_ms", {name: round(spent) for name, spent in search.spent_ms.items()})


def _values(settings: Settings, request: Request, dataset: Dataset) -> dict[str, Any]:
    """What a run is: what it began with, it goes on with, budgets apart."""
    sampled = any(STRATEGIES[name] for name in strategy_names(request.strategy))
    return {
        "keys": "header and text",
        "dataset": request.dataset,
        "split": request.split,
        "sha256": digest(dataset.path) if dataset.path and dataset.path.is_file() else "",
        "strategy": request.strategy,
        "model": settings.model.base if sampled else "none",
        "prompt_format": settings.model.prompt_format if sampled else "",
        "temperature": request.temperature if sampled else None,
        "seed": settings.seed,
        "heartbeats": settings.verify.heartbeats,
        **(_of_run("model", settings.model, {"base", "prompt_format", "logprobs"}) if sampled else {}),
        **_of_run("verify", settings.verify, {"system", "heartbeats", "require_sandbox"}),
        "all": request.budget.all_tries,
        "k": request.budget.tries,
        "tokens": request.budget.tokens,
        "seconds": request.budget.seconds,
    }


def _of_run(name: str, section: Section, named: set[str]) -> dict[str, Any]:
    """The other settings of a section that a run cannot change on its way."""
    return {
        f"{name}.{key}": value
        for key, value in section.model_dump(mode="json").items()
        if key not in named and f"{name}.{key}" not in PLACEMENT
    }


def _settle(store: Store, out: Path, values: dict[str, Any]) -> None:
    """Keeps what a new run is; refuses to go on with another. `k` stays the most tries that a run was ever
    given; a key that came after it is as it was."""
    began = store.meta("prove")
    if began is not None and "keys" not in began:
        raise UsageError(
            f"{out}: this run is of an older STP, which took statements with the same words and other "
            "headers for one; name another --out"
        )
    if began is not None:
        values["k"] = max(values["k"], began["k"])
        for key, value in values.items():
            if key not in _BUDGET and began.get(key, value) != value:
                raise UsageError(
                    f"{out}: this run began with {key} {began.get(key)!r}, now {value!r}; go on with that, "
                    "or name another --out"
                )
    elif store.meta("settings") is not None:
        raise UsageError(f"{out}: a run of self-play is there; name another --out")
    store.set_meta("prove", values)
