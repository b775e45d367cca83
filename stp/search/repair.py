"""Repair: a failed proof tells where it fails, and what the next one may keep of it.

A proof that leaves goals gets a closing step; one whose step fails loses that step and what follows, and gets
a closing step in its place. Beside that the model samples new proofs, whose failures are mended in turn; a
chat model is also shown a proof that failed and what the checker said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stp.models.prompts import Prompt
from stp.search.strategy import Draft, Sampling, Task, Tried, filled, unlike, written
from stp.search.tactics import CLOSE, CLOSE_PLAIN, block, leaves_goals, lines_of, parts_of
from stp.syntax.lean_file import restates
from stp.types import Verdict

_SAID_CHARS = 4000


class Repair:
    """Mends what was tried. Of each visit but the first half are mended texts; of the rest, half are the
    model's answers to a failure, the others new."""

    looks = True

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling

    def propose(self, tasks: Sequence[Task], most: int) -> list[list[Draft]]:
        """See `Strategy.propose`."""
        found = [unlike(map(Draft, _mended(task.tried)), task.tried)[: (most + 1) // 2] for task in tasks]
        for at, drafts in self._answers(tasks, most // 4).items():
            found[at] += drafts
        return filled(found, tasks, most, lambda some, left: self.sampling.propose(some, left, "/repair"))

    def _answers(self, tasks: Sequence[Task], n: int) -> dict[int, list[Draft]]:
        """By place, what the model writes when it is shown the failure that came furthest."""
        sampling = self.sampling
        prompts = {at: prompt for at, task in enumerate(tasks) if (prompt := self._asked(task))}
        if not prompts or not n:
            return {}
        samples = sampling.write([*prompts.values()], n, tasks[0].tries)
        return {
            at: [
                Draft(written(sampling.style, text, tasks[at].statement.text), text.tokens) for text in texts
            ]
            for at, texts in zip(prompts, samples, strict=True)
        }

    def _asked(self, task: Task) -> Prompt | None:
        failed, s = next((one for one in _failed(task.tried) if one.proof), None), task.statement
        if failed is None:
            return None
        said = "\n\n".join(str(message) for message in failed.result.messages)[:_SAID_CHARS]
        is_file = restates(failed.proof, s.text)
        attempt = failed.proof if is_file else f"{s.text} :=\n{failed.proof}"
        return self.sampling.style.repair(attempt, said, s.system, s.header)


def _mended(tried: Sequence[Tried]) -> Iterator[str]:
    """Proofs to try instead of those that failed."""
    for one in _failed(tried):
        yield from mend(one)


def _failed(tried: Sequence[Tried]) -> list[Tried]:
    """Tries that failed, those that came furthest first."""
    failed = [one for one in tried if one.result.verdict in (Verdict.REJECTED, Verdict.TIMED_OUT)]
    return sorted(failed, key=lambda one: (not leaves_goals(one.result), _left(one), one.number))


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
