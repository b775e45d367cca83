"""Proofs that others published, as training data: STP's corpus and LeanWorkbook.

STP's rows are (prompt, target, weight, iteration, tag): the prompt ends in a Lean file that breaks off behind
the last theorem's `:= by`, the target goes on from there. LeanWorkbook's are (formal_statement, proof, split,
…), where `proof` lists tactics that close the statement. Both were checked by their authors' Lean, another
than this one: nothing here calls them proved. They are to train on. A run's store takes as
proofs only those of its own dataset, and only what its prover accepts (`stp.selfplay.seeds`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stp.datasets.problems import tactic_proof
from stp.datasets.tables import Row, read_table
from stp.errors import UsageError
from stp.syntax.lean import make_statement, split_theorem
from stp.syntax.lean_file import theorems
from stp.types import Source, Statement

_FENCE = "```"
_LEAN = "```lean4\n"


@dataclass(frozen=True, slots=True)
class Published:
    """A statement, its header being what stood before it, a proof as it was published, and what it counts."""

    statement: Statement
    proof: str
    weight: float


def read(path: Path) -> tuple[list[Published], int]:
    """The proofs of a table or a folder of tables, and how many of them are no theorem with its proof.

    Raises:
        UsageError: it cannot be read, or has neither corpus's columns.
    """
    found: list[Published] = []
    unread = 0
    for number, row in enumerate(read_table(path), 1):
        if isinstance(row.get("prompt"), str) and isinstance(row.get("target"), str):
            rows = [_stp(row)]
        elif isinstance(row.get("formal_statement"), str) and isinstance(row.get("proof"), list | str):
            rows = list(_workbook(row))
        else:
            raise UsageError(
                f"{path}: row {number}: expected the columns prompt and target (STP's corpus) or "
                f"formal_statement and proof (LeanWorkbook), found {', '.join(row)}"
            )
        found += [one for one in rows if one]
        unread += rows.count(None)
    if not found:
        raise UsageError(f"{path}: expected theorems with proofs, found none in {unread} rows")
    return found, unread


def _stp(row: Row) -> Published | None:
    _, _, code = row["prompt"].rpartition(_LEAN)
    target, _, _ = row["target"].partition(_FENCE)
    try:
        last = [theorem for theorem in theorems(code + target) if theorem.start < len(code)][-1]
    except (UsageError, IndexError):
        return None
    if last.holes:
        return None
    command = (code + target)[last.start : last.end]
    return _published(command, code[: last.start], float(row.get("weight", 1.0)))


def _workbook(row: Row) -> Iterator[Published | None]:
    proofs = [row["proof"]] if isinstance(row["proof"], str) else row["proof"]
    for proof in proofs:
        try:
            theorem = split_theorem(row["formal_statement"])
        except UsageError:
            yield None
        else:
            command = f"theorem {theorem.name} {theorem.signature} := {tactic_proof(str(proof))}"
            yield _published(command, str(row.get("header") or ""), 1 / len(proofs))


def _published(command: str, header: str, weight: float) -> Published | None:
    try:
        proof = split_theorem(command).proof
        if proof is None or proof.startswith(("|", "where")):
            return None
        return Published(make_statement(command, header, Source.SEED), proof, weight)
    except UsageError:
        return None
