"""Downloads of benchmarks: resumable, checked, and in the cache only when whole."""

from __future__ import annotations

from pathlib import Path

import httpx
from tqdm import tqdm

from stp.datasets.registry import Entry, cached, digest
from stp.errors import MachineryError, UsageError

_CHUNK_BYTES = 1 << 18


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
        _download(entry, part)
        found = digest(part)
        if entry.download_sha256 and found != entry.download_sha256:
            part.unlink()
            raise MachineryError(
                f"{entry.address}: expected sha256 {entry.download_sha256[:12]}…, got {found[:12]}…: another "
                "file than the pinned one; nothing was kept"
            )
        target.with_name(target.name + ".sha256").write_text(found + "\n", encoding="ascii")
        part.replace(target)
    except OSError as error:
        raise MachineryError(
            f"{part}: {error.strerror or error}; make room or choose another folder with STP_CACHE_DIR"
        ) from None
    return target, found


def _download(entry: Entry, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    try:
        with httpx.stream(
            "GET", entry.address, headers=headers, follow_redirects=True, timeout=60
        ) as response:
            if have and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # it was whole already
            response.raise_for_status()
            resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
            size = int(response.headers.get("Content-Length", 0)) + (have if resumed else 0)
            with (
                part.open("ab" if resumed else "wb") as file,
                tqdm(total=size or None, initial=have if resumed else 0, unit="B", unit_scale=True,
                     desc=entry.name, leave=False) as bar,
            ):  # fmt: skip
                for chunk in response.iter_bytes(_CHUNK_BYTES):
                    file.write(chunk)
                    bar.update(len(chunk))
    except httpx.HTTPError as error:
        raise MachineryError(
            f"cannot download {entry.address}: {error}; check the network, then run the same command again: "
            "the download goes on where it stopped"
        ) from None
