"""The store of a run: the only door to its database."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from stp.store.connection import Row
from stp.store.proofs import Proofs
from stp.store.rounds import Rounds
from stp.store.statements import Statements

#: What makes two runs equal: never times, messages, toolchains or the order of insertion.
_EQUAL = {
    "statements": "key, system, header, name, text, source, origin, parents, split, round",
    "proofs": "key, statement, text",
    "attempts": "stage, round, statement, proof, count",
    "checks": "proof, verdict",
    "conjectures": "round, input, sample, seed, seed_proof, lemma_name, lemma_statement, text, outcome,"
    " statement",
    "examples": "round, role, statement, proof, input, sample, free, weight",
    "evaluations": "round, dataset, statement, samples, proved, tokens",
    "rounds": "round, stage, finished_at IS NULL",
}
_SHOWN = 3
_SHOWN_CHARS = 120


class Store(Statements, Proofs, Rounds):
    """Everything that a run keeps, in one SQLite file; `Store()` is one in memory.

    Every method commits what it writes, as a whole; `with store.atomic():` makes several of them one.
    Whatever is written again under the same key changes nothing. Everything comes back in an order
    that depends on the keys alone, so that two runs are equal.
    """

    def digest(self) -> str:
        """A hash of all that makes two runs equal: equal digests, equal runs."""
        total = hashlib.sha256()
        for table in _EQUAL:
            total.update(self._table_digest(table).encode())
        return total.hexdigest()

    def differences(self, other: Store) -> list[str]:
        """Where two runs are not equal: a line a table, with the first rows of either side."""
        lines = []
        for table in _EQUAL:
            if self._table_digest(table) == other._table_digest(table):
                continue
            ours, theirs = set(self._equal_rows(table)), set(other._equal_rows(table))
            for side, rows in (("here", ours - theirs), ("there", theirs - ours)):
                if rows:
                    shown = "; ".join(str(row)[:_SHOWN_CHARS] for row in sorted(rows, key=str)[:_SHOWN])
                    lines.append(f"{table}: {len(rows)} rows only {side}: {shown}")
        return lines

    def _table_digest(self, table: str) -> str:
        digest = hashlib.sha256(table.encode())
        for row in self._equal_rows(table):
            digest.update(json.dumps(row).encode() + b"\n")
        return digest.hexdigest()

    def _equal_rows(self, table: str) -> Iterator[Row]:
        columns = _EQUAL[table]
        with self._explained():
            yield from self._db.execute(f"SELECT {columns} FROM {table} ORDER BY {columns}")
