"""Goals as Lean prints them, turned back into statements.

Nothing rests on this reading: what is said wrongly does not elaborate, which the checker finds out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from stp.syntax.lean import named, split_theorem
from stp.syntax.lean_tokens import closing, tokens

_HYPOTHESIS = re.compile(r"(?P<names>[^:⊢]+?)\s+:\s+(?P<type>.+)", re.DOTALL)
_UNIVERSE = re.compile(r"\bu_\d+\b")
_INACCESSIBLE = re.compile(r"([\w.']+)✝([⁰¹²³⁴⁵⁶⁷⁸⁹]*)")
_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


@dataclass(frozen=True, slots=True)
class Goal:
    """One goal: hypotheses as (names, type), and the target; names as Lean prints them, `a✝` among them."""

    hypotheses: tuple[tuple[str, str], ...]
    target: str
    whole: bool = True
    """Nothing of it was left out: no value of a hypothesis, no part that Lean elides."""

    @property
    def signature(self) -> str:
        """`(a b : Nat) (h : a = b) : b = a`, names that Lean made as ordinary ones, universes declared."""
        binders = [
            f"[{names} : {type_}]" if names.startswith("inst") else f"({names} : {type_})"
            for names, type_ in self.hypotheses
        ]
        text = _writable(" ".join([*binders, f": {self.target}"]))
        universes = sorted(set(_UNIVERSE.findall(text)))
        return f".{{{', '.join(universes)}}} {text}" if universes else text

    @property
    def unnamed(self) -> list[str]:
        """What the signature calls the hypotheses that Lean named, in order."""
        return [_writable(name) for names, _ in self.hypotheses for name in names.split() if "✝" in name]

    @property
    def statement(self) -> str:
        """`theorem goal (a b : Nat) (h : a = b) : b = a`."""
        return named("goal", self.signature)


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
        end = closing(parts, at)
        group = parts[at + 1 : end]
        colon = next((token for token in group if token.text == ":"), None)
        if parts[at].text in ("(", "{", "⦃") and colon is not None:
            names = signature[parts[at].end : colon.start].strip()
            hypotheses.append((names, " ".join(signature[colon.end : parts[end].start].split())))
        at = end + 1
    target = signature[parts[at].end :] if at < len(parts) else signature
    return Goal(tuple(hypotheses), " ".join(target.split()))


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
    found = [_HYPOTHESIS.fullmatch(line.strip()) for line in lines]
    read = [match for match in found if match]
    hypotheses = tuple((match["names"], match["type"].partition(" := ")[0]) for match in read)
    whole = len(read) == len(found) and " := " not in before and "⋯" not in text
    return Goal(hypotheses, " ".join(target.split()), whole)


def _writable(text: str) -> str:
    """Names that Lean made (`a✝¹`) as names that can be written (`a_2`)."""
    return _INACCESSIBLE.sub(lambda m: f"{m[1]}_{int(m[2].translate(_DIGITS) or 0) + 1}", text)
