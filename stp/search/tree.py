"""Best-first search over tactics.

A node is a sequence of steps that fails for nothing but goals left open: the checker's own report says so,
and what is left. Its children are the same steps and one more: a step that closes all goals, steps that fit
the goal, and what a model writes for it. The nodes with the least left to prove come first.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

from stp.search.strategy import Draft, Sampling, Task, unlike, written
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
        written = self._written(tasks, [frontier[0] for frontier in frontiers])
        found = []
        for task, frontier, (bodies, tokens) in zip(tasks, frontiers, written, strict=True):
            best = [
                Draft(block([*frontier[0].steps, *body.proof.splitlines()]), body.tokens) for body in bodies
            ]
            # Every node is to be closed before any is gone on from.
            closing = [Draft(block([*node.steps, end])) for node in frontier for end in (CLOSE, CLOSE_PLAIN)]
            known = {one.proof for one in task.tried}
            further = [
                Draft(block([*node.steps, step])) for node in frontier for step in _untried(node, known)
            ]
            drafts = unlike([*closing[:2], *best, *closing[2:], *further], task.tried)[:most]
            if drafts:  # what the model wrote for those left out was written all the same
                left_out = tokens - sum(draft.tokens for draft in drafts)
                drafts[0] = replace(drafts[0], tokens=drafts[0].tokens + left_out)
            found.append(drafts)
        return found

    def _written(self, tasks: Sequence[Task], best: Sequence[Node]) -> list[tuple[list[Draft], int]]:
        """For each task what the model writes for the first goal of its best node, as steps, the likeliest
        first: a node takes only some children in a visit. And all tokens that it took."""
        sampling = self.sampling
        goals = [node.goals[0].statement for node in best]
        prompts = [
            sampling.style.prover(replace(task.statement, text=goal))
            for goal, task in zip(goals, tasks, strict=True)
        ]
        samples = sampling.write(prompts, _SAMPLES, tasks[0].tries)
        found = []
        for goal, texts in zip(goals, samples, strict=True):
            likeliest = sorted(texts, key=lambda text: -text.logprob)
            proofs = [(lines_of(written(sampling.style, text, goal)), text.tokens) for text in likeliest]
            drafts = [Draft("\n".join(steps), tokens) for steps, tokens in proofs if steps]
            found.append((drafts, sum(text.tokens for text in texts)))
        return found


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


def _untried(node: Node, known: Set[str]) -> list[str]:
    """A node's next steps beside the proofs known, so few that no node takes all of a visit."""
    steps = [step for step in steps_for(node.goals[0]) if block([*node.steps, step]) not in known]
    return steps[:_WIDTH]
