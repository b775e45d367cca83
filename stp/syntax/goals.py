"""Goals as Lean prints them, turned back into statements: what a model is asked, and what templates read.

Nothing rests on this reading: a printed goal need not elaborate again, and a proof is checked in its place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

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
