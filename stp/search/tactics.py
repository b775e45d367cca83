"""Tactic blocks as text: what a proof is made of, what may come next, what closes goals."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from stp.syntax.goals import Goal
from stp.syntax.lean_tokens import Token, closes, opens, tokens
from stp.types import CheckResult, Verdict

#: Closes every goal that is left, or fails.
CLOSE = (
    "all_goals first | omega | grind | (simp_all; done) | (simp_all; omega) | (subst_vars; grind) | decide"
)
#: The same for goals whose hypotheses `simp` would spoil.
CLOSE_PLAIN = "all_goals (intros; first | omega | grind | (constructor <;> grind) | assumption)"
#: Steps that make sense at any goal.
_STEPS = (
    "intros", "constructor", "subst_vars", "simp_all", "simp at *", "split", "ext", "exfalso",
    "refine ⟨?_, ?_⟩", "norm_cast at *", "left", "right", "exists 0", "exists 1",
    "apply Classical.byContradiction; intro",
)  # fmt: skip
_INDUCTIVE = frozenset({"Nat", "List", "Option", "Bool", "Array", "Fin", "Vector", "Prod", "Sum", "Int"})
_NAME = re.compile(r"[^\W\d][\w'.]*")
_VARIABLES = 3


def block(lines: Sequence[str]) -> str:
    """`by` and the lines below it."""
    return "by\n  " + "\n  ".join(lines)


def lines_of(proof: str) -> list[str]:
    """The steps of a proof by tactics, one after the other; empty for any other proof."""
    stripped = proof.strip()
    if not stripped.startswith("by") or stripped[2:3].isalnum():
        return []
    body = stripped[2:]
    rows = [row for row in body.splitlines() if row.strip()]
    if len(rows) < 2:
        return [body.strip()] if body.strip() else []
    margin = min(len(row) - len(row.lstrip()) for row in rows if row[0] == " ") if rows[0][0] == " " else 0
    steps: list[str] = []
    for row in rows:
        if steps and len(row) - len(row.lstrip()) > margin:
            steps[-1] += "\n  " + row[margin:]
        else:
            steps.append(row.strip())
    return steps


def parts_of(step: str) -> list[str]:
    """A step cut at each `<;>` outside brackets."""
    try:
        parts = list(tokens(step))
    except Exception:
        return [step]
    return [step[start:end].strip() for start, end in _between(parts, len(step))]


def leaves_goals(result: CheckResult) -> bool:
    """Is all that is wrong with the proof that goals are left?"""
    errors = [message for message in result.messages if message.severity == "error"]
    return result.verdict is Verdict.REJECTED and bool(errors) and len(errors) == len(result.goals)


def steps_for(goal: Goal) -> Iterator[str]:
    """What may come next at a goal, in a fixed order: general steps, then cases on what it talks about."""
    yield from _STEPS
    splits, variables = [], []
    for names, type_ in goal.hypotheses:
        if "✝" in names:
            continue
        named = _NAME.findall(names)
        if any(sign in type_ for sign in ("∧", "∃", "∨", "↔", "∣")):
            split = "cases {}" if "∨" in type_ else "rcases {} with ⟨_, _⟩"
            splits += [split.format(name) for name in named]
        elif type_.split()[0] in _INDUCTIVE:
            variables += named
    yield from splits
    for name in variables[:_VARIABLES]:
        yield f"cases {name}"
        yield f"induction {name}"


def _between(parts: list[Token], length: int) -> Iterator[tuple[int, int]]:
    depth, start = 0, 0
    for token in parts:
        depth += opens(token) - closes(token)
        if token.text == "<;>" and depth == 0:
            yield start, token.start
            start = token.end
    yield start, length
