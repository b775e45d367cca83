"""`lean-core`: theorems of Lean's own library, stated again as goals.

The statements are not in the repository: they are read from the embedded Lean (a minute, then cached),
also where a native one checks proofs: a benchmark does not change with what is installed.
What is committed is the index: the names whose printed statements elaborate again, each with its key and
its side of the split. The split goes by the key's hash, so that a statement is on one side whatever it is
called; statements of equal key count once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from stp.datasets.files import data_dir, read_rows, write_rows
from stp.errors import MachineryError, ToolchainError, UsageError
from stp.files import cache_dir
from stp.settings import VerifySettings
from stp.syntax.lean import make_statement
from stp.types import Job, Limits, Source, Statement, Verdict
from stp.verify.lean import toolchain
from stp.verify.lean.library import ask
from stp.verify.pool import Pool, default_cache, open_pool

INDEX = "lean-core/index.jsonl.gz"
#: Theorems that `grind` finds no pattern in: one such parameter and it refuses the whole call.
NO_PATTERN = "lean-core/no-pattern.jsonl.gz"
MODULES = tuple(
    f"Init.Data.{name}"
    for name in ("Nat", "Int", "List", "Option", "Bool", "Fin", "Prod", "Sum", "Array", "Vector")
)
#: Modules that hold the data of decision procedures.
DECISION_PROCEDURES = tuple(
    f"Init.Data.{name}"
    for name in ("Int.Linear", "Int.OfNat", "Int.Cooper", "Nat.Linear", "Nat.SOM", "Nat.Simproc", "List.Impl")
)
#: Modules that state no goals: those, and the three conventions of integer division, hundreds of
#: near-copies of each other.
_NO_GOALS = (*DECISION_PROCEDURES, "Init.Data.Int.DivMod")
TEST_FRAC = 0.1
_MAX_CHARS = 300
#: Last name parts of what Lean makes for itself.
_GENERATED = frozenset(
    {"injEq", "sizeOf_spec", "eq_def", "induct", "congr_simp", "noConfusion", "brecOn", "below", "hcongr",
     "fun_cases", "induct_unfolding", "fun_cases_unfolding", "mutual_induct", "inj"}
)  # fmt: skip
#: What a printed statement may not contain: elided proofs, unnameable variables, Lean's own helpers.
_UNWANTED = ("⋯", "✝", "._")


@dataclass(frozen=True, slots=True)
class LibraryTheorem:
    """A theorem of the embedded Lean's library: its full name, its module, its signature as printed."""

    name: str
    module: str
    signature: str

    @property
    def text(self) -> str:
        """Name and signature, as a lemma is shown."""
        return f"{self.name} {self.signature}"


def library() -> dict[str, LibraryTheorem]:
    """The theorems of `MODULES`, by name; read from the embedded Lean once, then from the cache."""
    lean = toolchain.find("embedded")
    program = (lean.project / "STP" / "Library.lean").read_bytes()
    mark = hashlib.sha256(str(lean.root.name).encode() + program + repr(MODULES).encode()).hexdigest()[:16]
    path = cache_dir() / "lean-core" / f"library-{mark}.jsonl.gz"
    if not path.is_file():
        write_rows(path, [
            {"name": t.name, "module": t.module, "signature": t.signature} for t in _read_library(lean)
        ])  # fmt: skip
    return _read(path)


@cache
def _read(path: Path) -> dict[str, LibraryTheorem]:
    return {row["name"]: LibraryTheorem(**row) for row in read_rows(path)}


def load(split: Literal["train", "test"] | None = None) -> list[Statement]:
    """The statements of one side of the split, or all, sorted by key.

    Raises:
        ToolchainError: the library does not state what the index says.
    """
    theorems = library()
    rows = [row for row in read_rows(data_dir() / INDEX) if split is None or row["split"] == split]
    statements = [_indexed(theorems.get(row["name"]), row["name"], row["key"]) for row in rows]
    return sorted(statements, key=lambda statement: statement.key)


@cache
def _indexed(theorem: LibraryTheorem | None, name: str, key: str) -> Statement:
    """Remembered: a run asks again and again, and reading a statement's key takes 0.3 ms."""
    if theorem is None or (statement := restate(theorem)) is None or statement.key != key:
        raise ToolchainError(
            f"{name}: expected the statement with key {key} in the embedded Lean, found another or none; "
            "the index belongs to another version: stp data build lean-core"
        )
    return statement


def restate(theorem: LibraryTheorem) -> Statement | None:
    """The library's theorem as a goal of its own, or None where its printed form is no signature."""
    name = "core_" + "".join(c if c.isalnum() or c in "_'" else "_" for c in theorem.name)
    try:
        return make_statement(
            f"theorem {name} {theorem.signature}", "", Source.DATASET, name=name, origin=theorem.name
        )
    except UsageError:
        return None


def build() -> Path:
    """Writes the index anew: every statement elaborated again, with no proof, by the checker."""
    statements: dict[str, Statement] = {}
    for theorem in sorted(library().values(), key=lambda t: (len(t.name), t.name)):
        statement = restate(theorem) if _is_wanted(theorem) else None
        if statement is not None:
            statements.setdefault(statement.key, statement)
    chosen = sorted(statements.values(), key=lambda s: s.key)
    by_key = {s.key: s for s in chosen}
    jobs = [Job(s.key, s.header, s.text, "by sorry", limits=Limits(heartbeats=50_000)) for s in chosen]
    with open_pool(VerifySettings(pool="local", toolchain="embedded"), cache=default_cache()) as pool:
        results = tqdm(pool.check(jobs), total=len(jobs), desc="lean-core", unit="statement")
        kept = {result.id for result in results if result.verdict is Verdict.INCOMPLETE}
        _write_without_pattern(pool)
    path = data_dir() / INDEX
    write_rows(path, [
        {"name": by_key[key].origin, "key": key, "split": split_of(key)} for key in sorted(kept)
    ])  # fmt: skip
    return path


@cache
def without_pattern() -> frozenset[str]:
    """Names of the theorems that `grind` does not take as parameters."""
    return frozenset(row["name"] for row in read_rows(data_dir() / NO_PATTERN))


def _write_without_pattern(pool: Pool) -> None:
    limits = Limits(heartbeats=20_000)
    jobs = [Job(n, "", "theorem t : True", f"by grind [{n}]", limits=limits) for n in library()]
    results = tqdm(pool.check(jobs), total=len(jobs), desc="patterns", unit="theorem")
    refused = sorted(result.id for result in results if not result.proved)
    write_rows(data_dir() / NO_PATTERN, [{"name": name} for name in refused])


def split_of(key: str) -> Literal["train", "test"]:
    """The side of a statement, by its key alone."""
    share = int(hashlib.sha256(f"lean-core/{key}".encode()).hexdigest()[:8], 16) / 16**8
    return "test" if share < TEST_FRAC else "train"


def _is_wanted(theorem: LibraryTheorem) -> bool:
    last = theorem.name.rpartition(".")[2]
    if last in _GENERATED or (last.startswith("eq_") and last[3:].isdigit()):
        return False
    if theorem.module.startswith(_NO_GOALS):
        return False
    return len(theorem.signature) <= _MAX_CHARS and not any(part in theorem.signature for part in _UNWANTED)


def _is_read(module: str) -> bool:
    return module in MODULES or module.startswith(tuple(f"{part}." for part in MODULES))


def _read_library(lean: toolchain.Toolchain) -> list[LibraryTheorem]:
    modules = tqdm(ask(lean, "", "statements", _is_read), desc="reading Lean's library", unit="module")
    theorems = [
        LibraryTheorem(name, module, text.removeprefix(name).strip())
        for module, found in modules
        for name, text in found
    ]
    if not theorems:
        raise MachineryError(f"expected theorems in {MODULES[0]} and others, found none in this Lean")
    return theorems
