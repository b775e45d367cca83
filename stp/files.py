"""Files and folders that are there whole or not at all, and where what is fetched and made is kept."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from stp.errors import StoreError


def cache_dir() -> Path:
    """The folder for what is downloaded or computed once a user; `STP_CACHE_DIR` overrides it."""
    override = os.environ.get("STP_CACHE_DIR")
    return Path(override) if override else platformdirs.user_cache_path("stp-prover")


def write_file(path: Path, text: str) -> None:
    """Writes a text whole or not at all.

    Raises:
        StoreError: it cannot be written there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # A lone surrogate in a text must not cost the whole report.
            temporary.write_text(text, encoding="utf-8", errors="replace")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}: name a folder that can be written") from error


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, which is `out` at the end. What a kill leaves is thrown away at the next try."""
    work = out.with_name(out.name + ".work")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    yield work
    work.rename(out)
