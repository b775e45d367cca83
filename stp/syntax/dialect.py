"""What self-play asks of a system's language, one value a system."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stp.syntax import conclusion, isabelle, isabelle_refute, lean, refute
from stp.types import Statement, System, Verdict


@dataclass(frozen=True, slots=True)
class Dialect:
    """A system's way to read what a model states, and the texts that ask its checker about a statement."""

    make_statement: Callable[..., Statement]
    cut_conjecture: Callable[[str], str | None]
    """What stands behind `theorem NAME ` in a statement, of what a model wrote."""
    conclusion: Callable[[str], str]
    contradiction: Callable[[str], str | None]
    disjunctions: Callable[[str], int]
    refutation: Callable[[str], tuple[str, str] | None]
    """A negation and a proof to try; None where the statement's variables cannot be read."""
    hole: str
    """Stands for a proof where only the statement is of interest."""
    elaborates: Verdict
    """What a statement with that hole gets if there is nothing wrong with it."""


#: Isabelle's screening refuses `sorry` before any statement is read, so its hole is a method that fails.
DIALECTS = {
    System.LEAN: Dialect(
        lean.make_statement, lean.cut_conjecture, conclusion.conclusion, conclusion.contradiction,
        conclusion.disjunctions, refute.refutation, "by sorry", Verdict.INCOMPLETE,
    ),
    System.ISABELLE: Dialect(
        isabelle.make_statement, isabelle.cut_conjecture, isabelle.conclusion, isabelle.contradiction,
        isabelle.disjunctions, isabelle_refute.refutation, "by fail", Verdict.REJECTED,
    ),
}  # fmt: skip
