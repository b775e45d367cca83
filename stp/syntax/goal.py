"""The goals that a failed proof left open, as Lean prints them: each as a signature of its own, and the proof
with a step more for each.

What cannot be said so (definitions among the hypotheses, elided parts) gives None; what is said wrongly does
not elaborate, which the checker finds out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import dedent, indent

_TURNSTILE = "⊢ "
_UNIVERSE = re.compile(r"\bu_\d+\b")
_INACCESSIBLE = re.compile(r"([\w.']+)✝([⁰¹²³⁴⁵⁶⁷⁸⁹]*)")
_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


@dataclass(frozen=True, slots=True)
class OpenGoal:
    """A goal as a statement without a name."""

    signature: str
    unnamed: tuple[str, ...]
    """What the signature calls the hypotheses that Lean gave names that cannot be written, in order."""


def open_goals(message: str) -> tuple[OpenGoal, ...] | None:
    """All goals of a message, which stand apart by blank lines; None where one cannot be said."""
    goals = [open_goal(part) for part in message.split("\n\n") if part.strip()]
    said = tuple(goal for goal in goals if goal)
    return said if said and len(said) == len(goals) else None


def open_goal(goal: str) -> OpenGoal | None:
    """`n : Nat ⏎ h : n < 2 ⏎ ⊢ n ≠ 2` gives `(n : Nat) (h : n < 2) : n ≠ 2`.

    Names that Lean made (`a✝¹`) become ordinary ones, universes are declared, instances stay instances.
    """
    lines = goal.splitlines()
    if lines and lines[0].startswith("case "):
        lines = lines[1:]
    entries: list[str] = []
    for line in lines:
        if line.startswith(" ") and entries:
            entries[-1] += " " + line.strip()
        else:
            entries.append(line.strip())
    if not entries or not entries[-1].startswith(_TURNSTILE) or any("⋯" in entry for entry in entries):
        return None
    binders: list[str] = []
    unnamed: list[str] = []
    for entry in entries[:-1]:
        names, colon, type_ = entry.partition(" : ")
        if not colon or ":=" in entry:
            return None
        opener, closer = "[]" if names.startswith("inst") else "()"
        binders.append(f"{opener}{names} : {type_}{closer}")
        unnamed += [_writable(name) for name in names.split() if "✝" in name]
    text = _writable(" ".join([*binders, ": " + entries[-1].removeprefix(_TURNSTILE)]))
    universes = sorted(set(_UNIVERSE.findall(text)))
    return OpenGoal(f".{{{', '.join(universes)}}} {text}" if universes else text, tuple(unnamed))


def _writable(text: str) -> str:
    return _INACCESSIBLE.sub(lambda m: f"{m[1]}_{int(m[2].translate(_DIGITS) or 0) + 1}", text)


def completed(proof: str, closings: Sequence[tuple[OpenGoal, str]]) -> str | None:
    """The proof with a step more for each goal that it left open, in their order, from a proof of each.

    `by simp`, which left `h✝ : p ⏎ ⊢ q`, and `by exact f h_1` give a block of `simp` and
    `next h_1 => exact f h_1`. None where a proof is no tactic block whose steps stand in one column.
    """
    if (steps := _steps(proof)) is None:
        return None
    for goal, closing in closings:
        if (closes := _steps(closing)) is None:
            return None
        names = "".join(f" {name}" for name in goal.unnamed)
        steps += f"\nnext{names} =>\n{indent(closes, '  ')}"
    return f"by\n{indent(steps, '  ')}"


def _steps(proof: str) -> str | None:
    """What follows `by`, its first step at the left margin."""
    first, _, rest = proof.partition("\n")
    if not (first + " ").startswith("by "):
        return None
    if not rest.strip():
        return first.removeprefix("by").strip() or None
    return None if first.removeprefix("by").strip() else dedent(rest).rstrip()
