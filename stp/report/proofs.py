"""What a proof search found: the record that the table, results.json and the page of `stp prove` show.

Rates are over all problems of the benchmark, those that do not elaborate here included: too low rather than
too high. A problem is solved by a strictly checked proof, and never by one whose check is not in the store.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from stp.datasets.decontaminate import Copy
from stp.datasets.problems import Problem
from stp.datasets.registry import Dataset
from stp.report.rates import mean_pass_at_k
from stp.report.table import laid_out
from stp.search.portfolio import closing
from stp.search.premises import premises_for
from stp.store.rows import Try
from stp.store.store import Store
from stp.types import VOID, Statement, Verdict

SCHEMA = 1
_BLOCKS_MIN = 2

State = Literal["solved", "unsolved", "bad_statement", "no_theorem"]


@dataclass(frozen=True, slots=True)
class Solved:
    """One problem and what the search made of it."""

    name: str
    split: str
    state: State
    tries: int
    tokens: int
    solved_at: int | None
    """The first try that holds, counted from 1."""
    solved_by: str
    """The strategy that this try was of."""
    correct: int
    """Tries that hold."""
    proof: str | None
    """The first proof that holds."""
    axioms: tuple[str, ...]
    toolchain: str
    reason: str
    """Why there is nothing to prove."""
    known_bad: str
    """What is known to be wrong with the statement, or ""."""
    copy_of: str
    """The training statement that it copies, or ""; of a model whose training corpus is known."""
    statement: str


@dataclass(frozen=True, slots=True)
class PassAtK:
    """pass@k of the run. `solved` counts problems whose first k tries hold a proof."""

    k: int
    solved: int
    rate: float
    unbiased: float | None
    """The unbiased estimate, where every problem had all its tries and these are independent samples."""
    error: float | None
    """Its standard error over problems."""
    block_mean: float | None
    """The mean over disjoint blocks of k tries, likewise."""
    block_spread: float | None
    """The standard deviation over those blocks; None where there is one."""
    blocks: int


@dataclass(frozen=True, slots=True)
class ProveRecord:
    """A run of `stp prove` on a benchmark."""

    dataset: str
    split: str
    strategy: str
    model: str
    k: int
    seconds: float
    problems: list[Solved]
    pass_at_k: list[PassAtK]
    verdicts: dict[str, int]
    lost: str
    """Why the model wrote no more: its server was lost. "" where it was not."""
    published: str
    settings: dict[str, Any]

    @property
    def total(self) -> int:
        return len(self.problems)

    @property
    def solved(self) -> int:
        return self.count("solved")

    def count(self, state: State) -> int:
        return sum(problem.state == state for problem in self.problems)

    @property
    def unseen(self) -> list[Solved]:
        """Problems that copy nothing that the model is known to have learnt from."""
        return [problem for problem in self.problems if not problem.copy_of]

    @property
    def sound(self) -> list[Solved]:
        """Problems whose statements are not known to be wrong."""
        return [problem for problem in self.problems if not problem.known_bad]


def read_proofs(
    store: Store, dataset: Dataset, settings: dict[str, Any], copies: Mapping[str, Copy]
) -> ProveRecord:
    """The record of what the store holds now, which may be a search that goes on; `copies` are those of
    training statements, by key."""
    by_key: dict[str, list[Try]] = defaultdict(list)
    tokens: Counter[str] = Counter()
    for row in store.tries("evaluate"):
        tokens[row.statement] += row.tokens
        if row.verdict is None:
            continue  # behind the first proof, or still to be checked
        by_key[row.statement].append(row)
    strategy = str(settings["strategy"])
    problems = [
        _solved(
            problem,
            by_key.get(problem.statement.key, []) if problem.statement else [],
            tokens[problem.statement.key] if problem.statement else 0,
            dataset,
            strategy,
            copies.get(problem.statement.key) if problem.statement else None,
        )
        for problem in dataset.problems
    ]
    verdicts = Counter(row.verdict.value for rows in by_key.values() for row in rows if row.verdict)
    mark = store.stage(0, "search")
    k = int(settings["k"])
    independent = bool(settings["all"]) and strategy == "sample"
    return ProveRecord(
        dataset=dataset.entry.name,
        split=settings["split"] or "all",
        strategy=strategy,
        model=settings["model"],
        k=k,
        seconds=round(mark.elapsed_s, 1) if mark else 0.0,
        problems=problems,
        pass_at_k=_curve(problems, _outcomes(dataset.problems, by_key), k, independent),
        verdicts=dict(verdicts.most_common()),
        lost=store.meta("lost") or "",
        published=dataset.entry.published,
        settings=settings,
    )


def results_json(record: ProveRecord) -> str:
    """`results.json`: `total`, `solved` and the curve `pass_at_k` at the top level; fields are only added."""
    sound = record.sound
    values = {
        "schema": SCHEMA,
        "dataset": record.dataset,
        "split": record.split,
        "strategy": record.strategy,
        "model": record.model,
        "k": record.k,
        "total": record.total,
        "solved": record.solved,
        "unsolved": record.count("unsolved"),
        "bad_statements": record.count("bad_statement"),
        "no_theorems": record.count("no_theorem"),
        "without_known_bad": {"total": len(sound), "solved": sum(p.state == "solved" for p in sound)},
        "without_copies": {
            "total": len(record.unseen),
            "solved": sum(p.state == "solved" for p in record.unseen),
        },
        "pass_at_k": [asdict(point) for point in record.pass_at_k],
        "verdicts": record.verdicts,
        "tokens": sum(problem.tokens for problem in record.problems),
        "seconds": record.seconds,
        "lost": record.lost,
        "settings": record.settings,
        "problems": [asdict(problem) for problem in record.problems],
    }
    return json.dumps(values, ensure_ascii=False, indent=1) + "\n"


def summary(record: ProveRecord) -> str:
    """A plain table for the terminal."""
    sound = record.sound
    lines = [
        f"{record.dataset} {record.split}: {record.solved} of {record.total} proved"
        f" ({percent(record.solved, record.total)}), strictly checked, in {record.seconds / 60:.1f} min",
        f"  strategy {record.strategy}, model {record.model}, up to {record.k} tries each",
    ]
    if record.lost:
        lines.append(f"  not all was tried: {record.lost}; the same command goes on from here")
    if len(sound) < record.total:
        solved = sum(problem.state == "solved" for problem in sound)
        lines.append(
            f"  without those known to be wrong ({record.total - len(sound)}): {solved} of {len(sound)}"
            f" ({percent(solved, len(sound))})"
        )
    if len(unseen := record.unseen) < record.total:
        solved = sum(problem.state == "solved" for problem in unseen)
        lines.append(
            f"  without copies of what the model learnt from ({record.total - len(unseen)}): {solved} of"
            f" {len(unseen)} ({percent(solved, len(unseen))})"
        )
    for state, said in (("bad_statement", "do not elaborate"), ("no_theorem", "are no theorems")):
        if names := [problem.name for problem in record.problems if problem.state == state]:
            lines.append(f"  {len(names)} {said}: {', '.join(names[:3])}{', …' if len(names) > 3 else ''}")
    shown = [point for point in record.pass_at_k if point.k & (point.k - 1) == 0 or point.k == record.k]
    rows = [("k", "proved", "pass@k", "unbiased", "blocks")]
    rows += [
        (
            str(point.k),
            str(point.solved),
            f"{100 * point.rate:.1f}%",
            _plus_minus(point.unbiased, point.error),
            _plus_minus(point.block_mean, point.block_spread),
        )
        for point in shown
    ]
    if not any(point.unbiased is not None for point in shown):
        rows = [row[:3] for row in rows]  # type: ignore[misc]
    lines += ["", *laid_out(rows)]
    if record.verdicts:
        lines += ["", "tries: " + ", ".join(f"{n} {verdict}" for verdict, n in record.verdicts.items())]
    return "\n".join(lines)


def percent(part: int, whole: int) -> str:
    """A share in percent, or a dash of nothing."""
    return f"{100 * part / whole:.1f}%" if whole else "-"


def _plus_minus(value: float | None, spread: float | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.1f}%" + (f" ± {100 * spread:.1f}" if spread is not None else "")


def _solved(
    problem: Problem, rows: Sequence[Try], tokens: int, dataset: Dataset, strategy: str, copy: Copy | None
) -> Solved:
    """What became of a problem: its checked tries, and the tokens of all."""
    proved = [row for row in rows if row.verdict is Verdict.PROVED]
    bad = next((row for row in rows if row.verdict is Verdict.BAD_STATEMENT), None)
    state: State = "solved" if proved else "unsolved"
    if problem.statement is None:
        state = "no_theorem"
    elif bad is not None:
        state = "bad_statement"
    first = proved[0] if proved and state == "solved" else None
    return Solved(
        name=problem.name,
        split=problem.split,
        state=state,
        tries=len(rows),
        tokens=tokens,
        solved_at=first.number if first else None,
        solved_by=_solved_by(strategy, first.proof, problem.statement) if first and problem.statement else "",
        correct=len(proved),
        proof=first.proof if first else None,
        axioms=first.axioms if first else (),
        toolchain=first.toolchain if first else "",
        reason=problem.reason or (bad.reason if bad else ""),
        known_bad=dataset.entry.bad.get(problem.name, ""),
        copy_of=copy.of if copy else "",
        statement=problem.text,
    )


def _solved_by(strategy: str, proof: str, statement: Statement) -> str:
    """Of strategies in turns, the one whose proof it is; the portfolio's are a fixed list."""
    names = strategy.split("+")
    if "portfolio" in names and len(names) > 1:
        of_portfolio = proof in closing(statement, premises_for([statement]))
        names = ["portfolio"] if of_portfolio else [n for n in names if n != "portfolio"]
    return "+".join(names)


def _outcomes(problems: Iterable[Problem], by_key: dict[str, list[Try]]) -> list[list[bool]]:
    """Of each problem, whether each try holds; crashes say nothing of a proof and are left out."""
    return [
        [
            row.verdict is Verdict.PROVED
            for row in (by_key.get(problem.statement.key, []) if problem.statement else [])
            if row.verdict not in VOID
        ]
        for problem in problems
    ]


def _curve(
    problems: Sequence[Solved], outcomes: Sequence[Sequence[bool]], most: int, independent: bool
) -> list[PassAtK]:
    points = []
    counts = [(len(tries), sum(tries)) for tries in outcomes]
    for k in range(1, most + 1):
        solved = sum(problem.solved_at is not None and problem.solved_at <= k for problem in problems)
        rate = solved / len(problems) if problems else 0.0
        estimate = mean_pass_at_k(counts, k) if independent else None
        # Every k would take time in the square of K.
        drawn = k & (k - 1) == 0 or k == most
        blocks = _blocks(outcomes, k, most) if independent and drawn else []
        mean = sum(blocks) / len(blocks) if blocks else None
        spread = None
        if mean is not None and len(blocks) >= _BLOCKS_MIN:
            spread = (sum((block - mean) ** 2 for block in blocks) / (len(blocks) - 1)) ** 0.5
        points.append(
            PassAtK(
                k, solved, rate, estimate.mean if estimate else None, estimate.error if estimate else None,
                mean, spread, len(blocks),
            )
        )  # fmt: skip
    return points


def _blocks(outcomes: Sequence[Sequence[bool]], k: int, most: int) -> list[float]:
    """Rates of disjoint blocks: tries 1 to k, k + 1 to 2k and so on, as if each were a run of its own."""
    return [
        sum(any(tries[first : first + k]) for tries in outcomes) / len(outcomes)
        for first in range(0, most - k + 1, k)
        if outcomes
    ]
