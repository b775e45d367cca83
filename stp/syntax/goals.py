"""Goals as Lean prints them, turned back into statements: what a model is asked, and what templates read.

Nothing rests on this reading: a printed goal need not elaborate again, and a proof is checked in its place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from stp.syntax.lean import split_theorem
from stp.syntax.lean_tokens import Token, closes, opens, tokens

_HYPOTHESIS = re.compile(r"(?P<names>[^:⊢]+?)\s+:\s+(?P<type>.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal: hypotheses as (names, type), and the target."""

    hypotheses: tuple[tuple[str, str], ...]
    target: str

    @property
    def statement(self) -> str:
        """`theorem goal (a b : Nat) (h : a = b) : b = a`."""
        binders = "".join(
            f" [{type_}]" if names.startswith("inst✝") else f" ({names} : {type_})"
            for names, type_ in self.hypotheses
        )
        return _nameable(f"theorem goal{binders} : {self.target}")


def goals_in(text: str) -> list[Goal]:
    """The goals of a message, which stand apart by blank lines."""
    return [goal for part in re.split(r"\n\s*\n", text) if (goal := _goal(part))]


def goal_of(statement: str) -> Goal:
    """A theorem's text as a goal: its named binders and what it says.

    Raises:
        UsageError: no theorem.
    """
    signature = split_theorem(statement).signature
    parts = list(tokens(signature))
    hypotheses: list[tuple[str, str]] = []
    at = 0
    while at < len(parts) and parts[at].text != ":":
        end = _closing(parts, at)
        group = parts[at + 1 : end]
        colon = next((token for token in group if token.text == ":"), None)
        if parts[at].text in ("(", "{", "⦃") and colon is not None:
            names = signature[parts[at].end : colon.start].strip()
            hypotheses.append((names, " ".join(signature[colon.end : parts[end].start].split())))
        at = end + 1
    target = signature[parts[at].end :] if at < len(parts) else signature
    return Goal(tuple(hypotheses), " ".join(target.split()))


def _closing(parts: list[Token], at: int) -> int:
    depth = 0
    for i in range(at, len(parts)):
        depth += opens(parts[i]) - closes(parts[i])
        if depth == 0:
            return i
    return len(parts) - 1


def _goal(text: str) -> Goal | None:
    before, turnstile, target = text.partition("⊢")
    if not turnstile:
        return None
    lines: list[str] = []
    for line in before.splitlines():
        if line.startswith(" ") and lines:
            lines[-1] += " " + line.strip()
        elif line.strip() and not line.startswith("case "):
            lines.append(line)
    found = [match for line in lines if (match := _HYPOTHESIS.fullmatch(line.strip()))]
    hypotheses = tuple((match["names"], match["type"].partition(" := ")[0]) for match in found)
    return Goal(hypotheses, " ".join(target.split()))


def _nameable(text: str) -> str:
    """Without the daggers of names that cannot be written."""
    return re.sub(r"✝[⁰¹²³⁴⁵⁶⁷⁸⁹]*", "'", text)
