"""Where in a text something is, as messages say it."""

from __future__ import annotations


def place(text: str, at: int) -> str:
    """Line and column of a position, both counted from 1."""
    return f"line {text.count(chr(10), 0, at) + 1} column {at - text.rfind(chr(10), 0, at)}"
