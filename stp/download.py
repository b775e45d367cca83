"""One download for all: resumable, and held against a digest before anybody uses it."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from tqdm import tqdm

from stp.errors import MachineryError

_CHUNK_BYTES = 1 << 20


def download(address: str, part: Path, expected: str = "", *, title: str, algorithm: str = "sha256") -> str:
    """Downloads to `part`, going on behind what it already holds, and gives its digest as `digest` writes it.

    The caller renames `part` into place, so that what has the final name is whole.

    Raises:
        MachineryError: the network, or another digest than the expected one; then `part` is removed.
        OSError: the disk.
    """
    _fetch(address, part, title)
    found = digest(part, algorithm)
    if expected and found != expected:
        part.unlink()
        raise MachineryError(
            f"{address}: expected the digest {expected[:20]}…, got {found[:20]}…: another file than "
            "the pinned one; nothing was kept, try again or ask where it is published"
        )
    return found


def digest(path: Path, algorithm: str = "sha256") -> str:
    """A file's digest: sha256 in hexadecimal, sha512 as npm writes it."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, algorithm)
    return (
        found.hexdigest() if algorithm == "sha256" else f"sha512-{base64.b64encode(found.digest()).decode()}"
    )


def _fetch(address: str, part: Path, title: str) -> None:
    import httpx

    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    try:
        with httpx.stream("GET", address, headers=headers, follow_redirects=True, timeout=60) as response:
            if have and response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # it was whole already
            response.raise_for_status()
            if response.status_code != httpx.codes.PARTIAL_CONTENT:
                have = 0
            size = int(response.headers.get("Content-Length", 0)) + have
            with (
                part.open("ab" if have else "wb") as file,
                tqdm(
                    total=size or None, initial=have, unit="B", unit_scale=True, desc=title, leave=False
                ) as bar,
            ):
                for chunk in response.iter_bytes(_CHUNK_BYTES):
                    file.write(chunk)
                    bar.update(len(chunk))
    except httpx.HTTPError as error:
        raise MachineryError(
            f"cannot download {address}: {error}; check the network, then run the same command again: the "
            "download goes on where it stopped"
        ) from None
