"""Downloads of benchmarks: resumable, checked, and in the cache only when whole."""

from __future__ import annotations

from pathlib import Path

from stp.datasets.registry import Entry, cached
from stp.download import digest, download
from stp.errors import MachineryError, UsageError


def fetch(entry: Entry) -> tuple[Path, str]:
    """Downloads an entry's file into the cache, unless it is there, and gives it with its sha256.

    A killed download goes on where it stopped. Where no digest is known beforehand, that of the first
    download is written beside the file, and `stp data check` holds the file against it.

    Raises:
        UsageError: the entry has no single file to download.
        MachineryError: the network, the disk, or a digest that differs.
    """
    target = cached(entry)
    if target.is_file():
        return target, digest(target)
    if not entry.address:
        raise UsageError(
            f"{entry.name}: it is published as many files, or behind a login: get it from {entry.source} and "
            f"name the folder that holds {entry.file} with --from or STP_DATA_DIR"
        )
    part = target.with_name(target.name + ".part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        found = download(entry.address, part, entry.download_sha256, title=entry.name)
        target.with_name(target.name + ".sha256").write_text(found + "\n", encoding="ascii")
        part.replace(target)
    except OSError as error:
        raise MachineryError(
            f"{part}: {error.strerror or error}; make room or choose another folder with STP_CACHE_DIR"
        ) from None
    return target, found
