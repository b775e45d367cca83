"""Best-first search over tactics.

A node is a sequence of steps that fails for nothing but goals left open: the checker's own report says so,
and what is left. Its children are the same steps and one more: a step that closes all goals, steps that fit
the goal, and what a model writes for it. The nodes with the least left to prove come first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stp.search.strategy import Draft, Sampling, Task, stream
from stp.search.tactics import CLOSE, CLOSE_PLAIN, block, leaves_goals, lines_of, steps_for
from stp.syntax.goals import Goal, goal_of, goals_in

_DEPTH = 6
#: Children of one node in one visit, so that no node takes it all.
_WIDTH = 6
_SAMPLES = 4


@dataclass(frozen=True, slots=True)
class Node:
    """Steps taken, and the goals that they leave."""

    steps: tuple[str, ...]
    goals: tuple[Goal, ...]

    @property
    def left(self) -> tuple[int, int]:
        """Goals, and characters of them, with something for each step taken."""
        size = sum(len(goal.statement) for goal in self.goals)
        return len(self.goals) + len(self.steps), size


class Tree:
    """The search; a model's share of the children is what `sampling` writes."""

    looks = True

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling

    def propose(self, tasks: Sequence[Task], most: int) -> list[list[Draft]]:
        """See `Strategy.propose`; nothing once no node has an untried child."""
        frontiers = [nodes_of(task) for task in tasks]
        written = self._written(tasks, [frontier[0] if frontier else None for frontier in frontiers])
        found = []
        for task, frontier, bodies in zip(tasks, frontiers, written, strict=True):
            known = {one.proof for one in task.tried}
            drafts: list[Draft] = []
            for node in frontier:
                children = [Draft(block([*node.steps, step])) for step in _steps(node)]
                if node is frontier[0]:
                    children[2:2] = [
                        Draft(block([*node.steps, *body.proof.splitlines()]), body.tokens) for body in bodies
                    ]
                fresh = [child for child in children if child.proof not in known][:_WIDTH]
                drafts += fresh
                known.update(child.proof for child in fresh)
            found.append(drafts[:most])
        return found

    def _written(self, tasks: Sequence[Task], best: Sequence[Node | None]) -> list[list[Draft]]:
        """For each task what the model writes for the first goal of its best node, as steps, the likeliest
        first: a node takes only some children in a visit."""
        sampling, generator = self.sampling, self.sampling.generator
        asked = [node for node in best if node is not None and node.goals]
        if not asked:
            return [[] for _ in best]
        prompts = [sampling.style.prover(node.goals[0].statement) for node in asked]
        samples = iter(
            generator.generate(
                prompts, n=_SAMPLES, temperature=sampling.temperature, max_tokens=sampling.max_tokens,
                seed=stream(sampling.seed, tasks[0].tries),
            )
        )  # fmt: skip
        return [
            [
                Draft("\n".join(steps), sample.tokens)
                for sample in sorted(next(samples), key=lambda sample: -sample.logprob)
                if sample.finished and (steps := lines_of(sample.text))
            ]
            if node is not None and node.goals
            else []
            for node in best
        ]


def nodes_of(task: Task) -> list[Node]:
    """The root and every node that was reached, the most promising first; of nodes with the same goals the
    one that was reached first."""
    root = Node((), (goal_of(task.statement.text),))
    nodes, seen = [root], {tuple(goal.statement for goal in root.goals)}
    for one in task.tried:
        steps = tuple(lines_of(one.proof))
        if not steps or len(steps) > _DEPTH or not leaves_goals(one.result):
            continue
        goals = tuple(goal for message in one.result.goals for goal in goals_in(message.text))
        mark = tuple(goal.statement for goal in goals)
        if goals and mark not in seen:
            seen.add(mark)
            nodes.append(Node(steps, goals))
    return sorted(nodes, key=lambda node: node.left)


def _steps(node: Node) -> Iterator[str]:
    yield CLOSE
    yield CLOSE_PLAIN
    yield from steps_for(node.goals[0])
