"""The driver of a proof search: batches over statements, checks beside generation, all of it in the store.

In the store the n-th try at a statement is its attempt of round n, stage `evaluate`. Drafts are committed
before they are checked, verdicts as they come, so a kill at any moment costs the batch in flight and the same
call goes on. Drafts behind the first proof of a statement are left unchecked. Every check is strict: what the
store calls proved, a second process accepted.

Unsolved statements get more, the least tried first: after the first visit each doubles what was spent on the
statement so far, up to the budget.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from stp.errors import UsageError
from stp.search.strategy import Strategy, Task, Tried
from stp.store.rows import AttemptStage, proof_key
from stp.store.store import Store
from stp.types import VOID, CheckResult, Job, Statement, Verdict
from stp.verify.pool import Pool

STAGE: AttemptStage = "evaluate"
_FIRST_VISIT = 4
_DRAFTS_A_BATCH = 256
#: Checks under way from which on no more is proposed.
_IN_FLIGHT = 512
#: Checks under way that keep a checker busy.
_BUSY = 8


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent: tries for each statement; tokens and seconds on all of them, kills included."""

    tries: int
    tokens: int | None = None
    seconds: float | None = None
    all_tries: bool = False
    """Go on with a statement that is proved: for rates that need as many tries of each."""


@dataclass(frozen=True, slots=True)
class Target:
    """A statement to prove and how a proof of it is checked."""

    statement: Statement
    job: Callable[[str], Job]
    """The strict check of a proof."""
    enough: frozenset[Verdict] = frozenset({Verdict.PROVED})
    """Verdicts that solve it."""


@dataclass(slots=True)
class _Work:
    """A target under way."""

    target: Target
    task: Task
    solved: bool = False
    closed: bool = False
    """No more tries: its statement does not elaborate, or the strategy has nothing left."""
    pending: int = 0
    drafts: deque[tuple[int, str]] = field(default_factory=deque)
    """Numbers and proofs of its tries that are still to be checked."""


@dataclass
class Search:
    """One search. `run` may be called again on the same store, and goes on."""

    store: Store
    pool: Pool
    strategy: Strategy
    targets: Sequence[Target]
    budget: Budget
    title: str = "prove"
    spent_ms: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("strategy", "checks", "all"), 0.0)
    )
    """Where the time of this call went: what is left of `all` is the search's own."""
    _works: dict[str, _Work] = field(default_factory=dict)
    _flying: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    """By statement and proof, the numbers of the tries that wait for this check."""
    _futures: dict[Future[CheckResult], tuple[str, str]] = field(default_factory=dict)
    _known: dict[tuple[str, str], CheckResult] = field(default_factory=dict)
    _ready: list[tuple[int, str]] = field(default_factory=list)
    """A heap of (tries, statement): open works with no check under way."""
    _bar: Any = None
    _tokens: int = 0
    _solved: int = 0
    _done: int = 0
    _stopped: bool = False

    def run(self) -> None:
        """Spends the budget, or stops when all is proved.

        Raises:
            WorkerError: the checkers failed for good; what was checked before is kept.
        """
        started, self._stopped = time.monotonic(), False
        self.store.begin_stage(0, "search")
        with tqdm(
            total=self.budget.tries * len(self.targets), desc=self.title, unit="try", miniters=1
        ) as self._bar:
            self._load()
            while (self._ready or self._futures) and not self._over(started):
                if self._ready and len(self._futures) < _IN_FLIGHT:
                    self._propose(self._next_batch())
                    self._collect(block=False)
                else:
                    self._collect(block=True)
            # Out of time, or done: what no checker has begun is left for the next call.
            self._stopped = True
            for future in [future for future in self._futures if future.cancel()]:
                del self._futures[future]
            while self._futures:
                self._collect(block=True)
        self.spent_ms["all"] += 1e3 * (time.monotonic() - started)

    def _load(self) -> None:
        """What the store says of each target; drafts that a kill left unchecked, or on which a checker
        crashed, go to the pool again."""
        self.store.add_statements([target.statement for target in self.targets], 0, "test")
        self._works = {t.statement.key: _Work(t, Task(t.statement)) for t in self.targets}
        for row in self.store.tries(STAGE):
            if (work := self._works.get(row.statement)) is None:
                continue  # a folder of one's own that lost a file
            work.task.tries = row.number
            self._tokens += row.tokens
            self._bar.update()
            verdict = row.verdict if row.verdict not in VOID else None
            if verdict is not None:
                self._settle(work, verdict)
            if verdict is not None and not self.strategy.looks:
                said = CheckResult("", verdict, row.reason)
                self._known[row.statement, row.proof] = said
                work.task.tried.append(Tried(row.number, row.proof, said))
            else:
                # One that looks must see what the checker said: the result cache still has it.
                work.drafts.append((row.number, row.proof))
        for work in self._works.values():
            self._feed(work)

    def _next_batch(self) -> list[_Work]:
        """The works to propose for next, all with as many tries; there is one that is ready."""
        tries = self._ready[0][0]
        batch: list[_Work] = []
        while (
            self._ready and self._ready[0][0] == tries and len(batch) * self._visit(tries) < _DRAFTS_A_BATCH
        ):
            batch.append(self._works[heapq.heappop(self._ready)[1]])
        return batch

    def _feed(self, work: _Work) -> None:
        """Has its next drafts checked, one by one: the first proof spares the rest. A work without drafts
        and checks is put in its place for the next visit, or counts as done."""
        if self._stopped:
            return
        # Few works left: several drafts of each, so that no checker is idle.
        width = max(1, _BUSY * self.pool.workers // max(1, len(self._works) - self._done))
        while work.drafts and not self._is_done(work) and (work.pending < width or self.budget.all_tries):
            number, proof = work.drafts.popleft()
            self._submit(work, proof, number)
        if self._is_done(work):
            work.drafts.clear()
        if work.pending or work.drafts:
            return
        if self._is_open(work):
            heapq.heappush(self._ready, (work.task.tries, work.target.statement.key))
        else:
            self._done += 1
            self._bar.update(self.budget.tries - work.task.tries)

    def _is_done(self, work: _Work) -> bool:
        return work.closed or (work.solved and not self.budget.all_tries)

    def _is_open(self, work: _Work) -> bool:
        return not self._is_done(work) and work.task.tries < self.budget.tries

    def _visit(self, tries: int) -> int:
        """Tries of a visit after so many: the first one small, each later one as much as all before."""
        return min(max(_FIRST_VISIT, tries), self.budget.tries - tries)

    def _over(self, started: float) -> bool:
        mark = self.store.stage(0, "search")
        elapsed = max(time.monotonic() - started, mark.elapsed_s if mark else 0.0)
        return (self.budget.seconds is not None and elapsed >= self.budget.seconds) or (
            self.budget.tokens is not None and self._tokens >= self.budget.tokens
        )

    def _propose(self, batch: list[_Work]) -> None:
        """Asks the strategy for a batch, commits what it drafts, and submits that."""
        began, before = time.monotonic(), batch[0].task.tries
        for work in batch:
            work.task.tried.sort(key=lambda one: one.number)
        proposed = self.strategy.propose([work.task for work in batch], self._visit(before))
        self.spent_ms["strategy"] += 1e3 * (time.monotonic() - began)
        with self.store.atomic():
            for at in range(max(map(len, proposed))):
                rows = [
                    (work.target.statement.key, drafts[at].proof, 1, drafts[at].tokens)
                    for work, drafts in zip(batch, proposed, strict=True)
                    if at < len(drafts)
                ]
                self.store.add_attempts(before + at + 1, STAGE, rows)
        for work, drafts in zip(batch, proposed, strict=True):
            work.closed = work.closed or not drafts
            work.task.tries += len(drafts)
            self._bar.update(len(drafts))
            for number, draft in enumerate(drafts, before + 1):
                self._tokens += draft.tokens
                work.drafts.append((number, draft.proof.strip()))
            self._feed(work)

    def _submit(self, work: _Work, proof: str, number: int) -> None:
        """Has a proof checked; one that was checked before, or is being checked, only counts once more."""
        key = (work.target.statement.key, proof)
        if (known := self._known.get(key)) is not None:
            self._take(work, proof, known, [number])
        elif key in self._flying:
            self._flying[key].append(number)
        else:
            work.pending += 1
            self._flying[key] = [number]
            self._futures[self.pool.submit(work.target.job(proof))] = key

    def _collect(self, *, block: bool) -> None:
        began = time.monotonic()
        done, _ = wait(self._futures, timeout=None if block else 0, return_when=FIRST_COMPLETED)
        self.spent_ms["checks"] += 1e3 * (time.monotonic() - began)
        found = [(self._futures.pop(future), future.result()) for future in done]
        self.store.add_checks((proof_key(*key), result) for key, result in found)
        for (statement, proof), result in found:
            work = self._works[statement]
            work.pending -= 1
            self._take(work, proof, result, self._flying.pop((statement, proof)))
            self._feed(work)
        self._bar.set_postfix(proved=self._solved, refresh=False)

    def _take(self, work: _Work, proof: str, result: CheckResult, numbers: list[int]) -> None:
        self._known[work.target.statement.key, proof] = result
        work.task.tried += [Tried(number, proof, result) for number in numbers]
        self._settle(work, result.verdict)

    def _settle(self, work: _Work, verdict: Verdict) -> None:
        if verdict in work.target.enough and not work.solved:
            work.solved, self._solved = True, self._solved + 1
        work.closed = work.closed or verdict is Verdict.BAD_STATEMENT


def check_budget(budget: Budget) -> None:
    """Refuses a budget that buys nothing.

    Raises:
        UsageError: names the option.
    """
    for option, value in (("-k", budget.tries), ("--tokens", budget.tokens), ("--seconds", budget.seconds)):
        if value is not None and value <= 0:
            raise UsageError(f"{option}: expected more than 0, found {value}")
