"""Downloads of benchmarks: resumable, checked, and in the cache only when whole."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path, PurePosixPath

from stp.datasets.problems import problem_of
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
    part, archive = target.with_name(target.name + ".part"), target.with_name("archive.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        loaded = archive if entry.members else part
        found = download(entry.address, loaded, entry.download_sha256, title=entry.name)
        if entry.members:
            part.write_text(_rows(archive, entry.members), encoding="utf-8")
            archive.unlink()
            found = digest(part)
        target.with_name(target.name + ".sha256").write_text(found + "\n", encoding="ascii")
        part.replace(target)
    except OSError as error:
        raise MachineryError(
            f"{part}: {error.strerror or error}; make room or choose another folder with STP_CACHE_DIR"
        ) from None
    return target, found


def _rows(archive: Path, members: str) -> str:
    """The problems of an archive's Lean files, a JSON object a line, by side and name."""
    rows = []
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if member.isfile() and path.match(members) and (file := tar.extractfile(member)):
                    text = file.read().decode()
                    rows.append(problem_of(path.stem, path.parent.name.lower(), text, member.name))
    except (tarfile.TarError, UnicodeDecodeError, EOFError) as error:
        archive.unlink()
        raise MachineryError(
            f"{archive}: expected an archive of Lean files: {error}; fetch it again"
        ) from None
    if not rows:
        raise MachineryError(f"{archive}: expected files {members} in it, found none")
    rows.sort(key=lambda row: (row["split"], row["name"]))
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
