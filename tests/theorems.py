"""Statements for tests that need no more of one than its text."""

from stp.syntax.lean import make_statement
from stp.types import Source, Statement


def theorem(text: str, header: str = "") -> Statement:
    """The statement `theorem NAME SIGNATURE` behind a header."""
    return make_statement(text, header, Source.DATASET)
