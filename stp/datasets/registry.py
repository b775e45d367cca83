"""The benchmarks that `stp prove` knows by name, and where their statements are on this machine.

`data/datasets.toml` has an entry each: address, commit, licence, digest, statements known to be wrong. The
statements are never part of the project: they are read from --from PATH, from the folder `STP_DATA_DIR`, or
from the cache that `stp data fetch NAME` fills, in this order.
"""

from __future__ import annotations

import functools
import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stp.datasets import lean_core
from stp.datasets.files import data_dir
from stp.datasets.problems import Problem, behind, read_problems
from stp.download import digest
from stp.errors import UsageError
from stp.files import cache_dir
from stp.types import Statement, System

MANIFEST = "datasets.toml"
#: Comes with the embedded Lean, not with a file.
LEAN_CORE = "lean-core"
_ITS_OWN = frozenset({"bad", "note", "published"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One benchmark of the manifest."""

    name: str
    system: System
    file: str
    source: str
    licence: str
    prover: str
    """What its statements were written for."""
    commit: str = ""
    sha256: str = ""
    """Of `file`, the form with one JSON object a line."""
    address: str = ""
    """What `stp data fetch` reads; "" where there is no single file to read."""
    members: str = ""
    """Of an archive at `address`: its Lean files, one for each problem, in folders named for their sides."""
    of: str = ""
    """The benchmark that it is a choice of, behind headers of its own: those of `data/NAME.toml`."""
    download_sha256: str = ""
    header: str = ""
    """What stands before each statement where its rows do not say."""
    published: str = ""
    """The table of published results that it can be held against."""
    open: bool = False
    """A corpus to train on, of which only what `sides` holds out is held out."""
    note: str = ""
    bad: dict[str, str] = field(default_factory=dict)
    """Statements known to be wrong, each with what is wrong."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """The problems of a benchmark or of a file, in their order."""

    entry: Entry
    path: Path | None
    """None: `lean-core`, which is no file."""
    problems: list[Problem]


def entries() -> dict[str, Entry]:
    """The manifest's entries by name, and `lean-core`."""
    table = tomllib.loads((data_dir() / MANIFEST).read_text(encoding="utf-8"))
    core = Entry(
        LEAN_CORE, System.LEAN, "", "the embedded Lean", "Apache-2.0", "Lean 4.28.0, no Mathlib",
        open=True,
    )  # fmt: skip
    return {LEAN_CORE: core, **{name: _entry(name, row, table) for name, row in table.items()}}


def _entry(name: str, row: dict[str, Any], table: dict[str, dict[str, Any]]) -> Entry:
    """An entry of the manifest; a choice of another one has what it does not say itself from that one."""
    values = {
        key: value for key, value in table.get(row.get("of", ""), {}).items() if key not in _ITS_OWN
    } | row
    return Entry(name, **values | {"system": System(values["system"])})


def find(entry: Entry, source: Path | None = None) -> Path:
    """The file of an entry: in `source` (a file or a folder), in `STP_DATA_DIR`, or in the cache.

    Raises:
        UsageError: it is in none of them; says what would bring it.
    """
    if source is not None and source.is_file():
        return source
    folders = [source] if source else [*_data_dirs(), cached(entry).parent]
    for folder in folders:
        if (folder / entry.file).is_file():
            return folder / entry.file
    bring = f"run: stp data fetch {entry.name}" if entry.address else f"get it from {entry.source}"
    raise UsageError(
        f"{entry.name}: expected {entry.file} in {' or '.join(map(str, folders))}, found none; {bring}, or "
        "name its folder with --from or STP_DATA_DIR"
    )


def is_here(entry: Entry) -> bool:
    """Can its statements be read on this machine?"""
    try:
        return not entry.file or find(entry).is_file()
    except UsageError:
        return False


def load(name: str, split: str | None = None, source: Path | None = None) -> Dataset:
    """The problems of one side of a benchmark, or of all; `name` may also be a file or folder of your own.

    Raises:
        UsageError: no such benchmark, file or split, or what is there cannot be read.
    """
    known = entries()
    if name == LEAN_CORE:
        found = Dataset(known[name], None, _lean_core())
    elif name in known:
        entry, path = known[name], find(known[name], source)
        problems = read_problems(path, entry.system, entry.header)
        found = Dataset(entry, path, _chosen(name, problems) if entry.of else problems)
    elif (own := Path(name)).exists():
        entry = Entry(own.stem, System.LEAN, own.name, str(own), "yours", "not said")
        found = Dataset(entry, own, read_problems(own, System.LEAN, ""))
    else:
        raise UsageError(f"no dataset {name!r}: expected {', '.join(known)}, or a file or folder of your own")
    splits = sorted({problem.split for problem in found.problems})
    if split is not None and split not in splits:
        raise UsageError(f"--split {split!r}: {found.entry.name} has {', '.join(splits)}")
    chosen = [problem for problem in found.problems if split in (None, problem.split)]
    return Dataset(found.entry, found.path, chosen)


@functools.cache
def sides(name: str) -> tuple[list[Statement], list[Statement]]:
    """A dataset's statements for self-play, to train on and held out, each key once and sorted by key: its
    own split `test` is held out, or, where it has none, a tenth by the hash of the key.

    Raises:
        UsageError: no such dataset, or one that is not Lean's.
    """
    if name == LEAN_CORE:
        return lean_core.load("train"), lean_core.load("test")
    dataset = load(name)
    if dataset.entry.system is not System.LEAN:
        raise UsageError(
            f"data.dataset: {name} is {dataset.entry.system.title()}'s: of that system take isabelle-main"
        )
    has_test = any(problem.split == "test" for problem in dataset.problems)
    train: dict[str, Statement] = {}
    held_out: dict[str, Statement] = {}
    for problem in dataset.problems:
        if (found := problem.statement) and problem.name not in dataset.entry.bad:
            is_test = problem.split == "test" if has_test else lean_core.split_of(found.key) == "test"
            (held_out if is_test else train).setdefault(found.key, found)
    return [train[key] for key in sorted(train.keys() - held_out.keys())], [
        held_out[key] for key in sorted(held_out)
    ]


def claims(name: str) -> list[tuple[Statement, str]]:
    """The published proofs of a dataset's statements to train on, unchecked.

    Raises:
        UsageError: see `sides`.
    """
    if name == LEAN_CORE:
        return []
    found = {statement.key: statement for statement in sides(name)[0]}
    return [
        (found[problem.statement.key], proof)
        for problem in load(name).problems
        if problem.statement and problem.statement.key in found
        for proof in problem.proofs
    ]


def problem_with(entry: Entry, path: Path) -> str | None:
    """Why the file is not the entry's, or None. A file as its authors publish it has a digest of its own."""
    if path.is_dir():
        return None  # a user's own
    known = [value for value in (entry.sha256, entry.download_sha256) if value]
    found = digest(path)
    if path == cached(entry) and (recorded := _recorded(path)):
        known.append(recorded)
    if known and found not in known:
        return f"{path}: expected sha256 {known[0][:12]}…, found {found[:12]}…: another version, or damaged"
    return None


def cached(entry: Entry) -> Path:
    """Where `stp data fetch` puts the entry's file."""
    return cache_dir() / "datasets" / (entry.of or entry.name) / entry.file


def _chosen(name: str, problems: list[Problem]) -> list[Problem]:
    """Those that `data/NAME.toml` names, in its order, each behind the header that it gives them."""
    parts = tomllib.loads((data_dir() / f"{name}.toml").read_text(encoding="utf-8")).values()
    headers = {problem: part["header"] for part in parts for problem in part["problems"]}
    known = {problem.name: problem for problem in problems}
    return [behind(header, known[name]) for name, header in headers.items() if name in known]


def _recorded(path: Path) -> str:
    """The digest that the download had, where it was fetched without one that was known beforehand."""
    mark = path.with_name(path.name + ".sha256")
    return mark.read_text(encoding="ascii").strip() if mark.is_file() else ""


def _data_dirs() -> list[Path]:
    override = os.environ.get("STP_DATA_DIR")
    return [Path(override)] if override else []


def _lean_core() -> list[Problem]:
    return [
        Problem(statement.name, split, statement.header, statement.text, " := by", "", System.LEAN, statement)
        for split in ("train", "test")
        for statement in lean_core.load(split)
    ]
