"""Where the project's own data lies, and how its files are written: gzipped JSON lines, reproducible."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stp.errors import MachineryError


def data_dir() -> Path:
    """`data`: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "data"
    return inside if inside.is_dir() else package.parent / "data"


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Writes rows whole or not at all; equal rows give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)
    part = path.with_suffix(".part")
    part.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    part.replace(path)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file.

    Raises:
        MachineryError: it is missing or damaged.
    """
    try:
        lines = gzip.decompress(path.read_bytes()).decode().split("\n")
        return [json.loads(line) for line in lines if line]
    except (OSError, EOFError, ValueError) as error:
        raise MachineryError(
            f"{path}: expected gzipped JSON lines, found {error}; build or fetch it again"
        ) from None
