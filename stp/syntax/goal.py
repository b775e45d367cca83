"""An open goal, as Lean prints it, as a signature of its own.

What cannot be said so (definitions among the hypotheses, elided parts) gives None; what is said wrongly does
not elaborate, which the gates find out.
"""

from __future__ import annotations

import re

_TURNSTILE = "⊢ "
_UNIVERSE = re.compile(r"\bu_\d+\b")
_INACCESSIBLE = re.compile(r"([\w.']+)✝([⁰¹²³⁴⁵⁶⁷⁸⁹]*)")
_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")


def goal_signature(goal: str) -> str | None:
    """`n : Nat ⏎ h : n < 2 ⏎ ⊢ n ≠ 2` gives `(n : Nat) (h : n < 2) : n ≠ 2`; only the first goal counts.

    Names that Lean made (`a✝¹`) become ordinary ones, universes are declared, instances stay instances.
    """
    lines = goal.split("\n\n")[0].splitlines()
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
    binders = []
    for entry in entries[:-1]:
        names, colon, type_ = entry.partition(" : ")
        if not colon or ":=" in entry:
            return None
        opener, closer = "[]" if names.startswith("inst") else "()"
        binders.append(f"{opener}{names} : {type_}{closer}")
    text = " ".join([*binders, ": " + entries[-1].removeprefix(_TURNSTILE)])
    text = _INACCESSIBLE.sub(lambda m: f"{m[1]}_{int(m[2].translate(_DIGITS) or 0) + 1}", text)
    universes = sorted(set(_UNIVERSE.findall(text)))
    return f".{{{', '.join(universes)}}} {text}" if universes else text
