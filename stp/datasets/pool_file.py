"""A pool as a file of statement keys, one a line; its digest names it, and is to be written down before the
first run on it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from stp.errors import UsageError


def read(path: Path) -> list[str]:
    """The keys of a pool, sorted.

    Raises:
        UsageError: the file cannot be read or has no keys.
    """
    try:
        keys = sorted({line.strip() for line in path.read_text(encoding="utf-8").splitlines()} - {""})
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"data.pool: {path}: not a readable pool ({error}); stp data pool makes one"
        ) from None
    if not keys:
        raise UsageError(f"data.pool: {path}: expected keys of statements, one a line, found none")
    return keys


def digest(keys: list[str]) -> str:
    """What names the pool."""
    return hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()
