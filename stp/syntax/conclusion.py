"""A statement's parts: what stands before its conclusion, and the conclusion.

For guards and gates only: what is made of the parts is checked like anything else.
"""

from __future__ import annotations

from stp.syntax.lean import named, split_theorem
from stp.syntax.lean_tokens import closes, opens, tokens


def split_conclusion(statement: str) -> tuple[str, str]:
    """Binders and conclusion of `theorem NAME BINDERS : CONCLUSION`.

    Raises:
        UsageError: no theorem.
    """
    signature = split_theorem(statement).signature
    depth = 0
    for token in tokens(signature):
        if depth == 0 and token.text == ":":
            return signature[: token.start].strip(), signature[token.end :].strip()
        depth += opens(token) - closes(token)
    return "", signature


def conclusion(statement: str) -> str:
    """What the theorem says of its binders."""
    return split_conclusion(statement)[1]


def contradiction(statement: str) -> str | None:
    """`theorem contradiction BINDERS : False`, provable where the hypotheses cannot all hold; None where
    there is nothing to contradict."""
    binders, _ = split_conclusion(statement)
    if not binders:
        return None
    return named("contradiction", f"{binders} : False")


def disjunctions(statement: str) -> int:
    """How many `∨` the statement has, hypotheses included."""
    return sum(token.text in ("∨", "\\/") for token in tokens(statement))
