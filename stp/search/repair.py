"""Repair: a failed proof tells where it fails, and what the next one may keep of it.

A proof that leaves goals gets a closing step; one whose step fails loses that step and what follows, and gets
a closing step in its place. In between a model samples new proofs, whose failures are mended in turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stp.search.strategy import Draft, Strategy, Task, Tried, unlike
from stp.search.tactics import CLOSE, CLOSE_PLAIN, block, leaves_goals, lines_of, parts_of
from stp.types import Verdict


class Repair:
    """Mends what was tried; half of each visit, and all of the first, are new drafts of `base`."""

    looks = True

    def __init__(self, base: Strategy) -> None:
        self.base = base

    def propose(self, tasks: Sequence[Task], most: int) -> list[list[Draft]]:
        """See `Strategy.propose`."""
        mended = [unlike(map(Draft, _mended(task.tried)), task.tried)[: (most + 1) // 2] for task in tasks]
        fresh = self.base.propose(tasks, most)
        return [[*drafts, *new[: most - len(drafts)]] for drafts, new in zip(mended, fresh, strict=True)]


def _mended(tried: Sequence[Tried]) -> Iterator[str]:
    """Proofs to try instead of those that failed: of the ones that came furthest first."""
    failed = [one for one in tried if one.result.verdict in (Verdict.REJECTED, Verdict.TIMED_OUT)]
    for one in sorted(failed, key=lambda one: (not leaves_goals(one.result), _left(one), one.number)):
        yield from mend(one)


def _left(one: Tried) -> int:
    """How much is left to prove: characters of open goals."""
    return sum(len(goal.text) for goal in one.result.goals)


def mend(one: Tried) -> Iterator[str]:
    """What one failed proof becomes; nothing where it is no proof by tactics."""
    steps = lines_of(one.proof)
    if not steps or one.proof.count("first |") > 1:
        return
    if leaves_goals(one.result):
        yield block([*steps, CLOSE])
        yield block([*steps, CLOSE_PLAIN])
        return
    if len(steps) > 1:
        kept = steps[: _failing(one, len(steps))]
        if kept:
            yield block([*kept, CLOSE])
    parts = parts_of(steps[-1])
    if len(parts) > 1:
        yield block([*steps[:-1], *parts[:1], CLOSE])


def _failing(one: Tried, steps: int) -> int:
    """The step at which the first error stands; the last one where that is not known. The statement is on one
    line, `by` at its end, and each step begins a line."""
    lines = [message.line for message in one.result.messages if message.severity == "error"]
    return min(steps - 1, max(0, min(lines, default=steps + 1) - 2))
