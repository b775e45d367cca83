"""Statements, and the conjectures that some of them were."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from stp.store.connection import Connection
from stp.store.rows import NO_INPUT, Conjecture, Outcome, Split
from stp.types import Source, Statement, System

_COLUMNS = ("system", "header", "name", "text", "key", "source", "origin", "parents")


def statement_columns(table: str) -> str:
    """The columns that `to_statement` reads, of a table or alias of it."""
    return ", ".join(f"{table}.{column}" for column in _COLUMNS)


def to_statement(row: Sequence[Any]) -> Statement:
    """The `Statement` of a row of `statement_columns`."""
    system, header, name, text, key, source, origin, parents = row
    return Statement(
        System(system), header, name, text, key, Source(source), origin, tuple(json.loads(parents))
    )


class Statements(Connection):
    """The part of `Store` for statements and conjectures."""

    def add_statements(self, statements: Iterable[Statement], round: int, split: Split | None = None) -> int:
        """Add those whose key is new, and return how many were: the first of a key stays as it is."""
        rows = (
            (
                *(s.system.value, s.header, s.name, s.text, s.key, s.source.value, s.origin),
                *(json.dumps(s.parents), split, round),
            )
            for s in statements
        )
        return self._write(
            f"INSERT INTO statements ({', '.join(_COLUMNS)}, split, round)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
            rows,
        )

    def statement(self, key: str) -> Statement | None:
        rows = self._rows(f"SELECT {statement_columns('s')} FROM statements s WHERE key = ?", key)
        return to_statement(rows[0]) if rows else None

    def statements(
        self, *, source: Source | None = None, split: Split | None = None, round: int | None = None
    ) -> list[Statement]:
        """Statements in the order of their keys; `round` is the one in which they appeared."""
        rows = self._rows(
            f"SELECT {statement_columns('s')} FROM statements s WHERE (?1 IS NULL OR source = ?1)"
            " AND (?2 IS NULL OR split = ?2) AND (?3 IS NULL OR round = ?3) ORDER BY key",
            source and source.value,
            split,
            round,
        )
        return [to_statement(row) for row in rows]

    def known_keys(self, keys: Iterable[str]) -> set[str]:
        """Those of the keys that a statement already has."""
        rows = self._rows(
            "SELECT key FROM statements WHERE key IN (SELECT value FROM json_each(?))", json.dumps([*keys])
        )
        return {key for (key,) in rows}

    def add_conjectures(self, conjectures: Iterable[Conjecture]) -> int:
        """Add those whose (round, input, sample) is new, and return how many were."""
        return self._write(
            "INSERT INTO conjectures (round, input, sample, seed, seed_proof, lemma_name, lemma_statement,"
            " text, outcome, statement, tokens) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (round, input, sample) DO NOTHING",
            (
                (
                    *(c.round, c.input, c.sample, c.seed, c.seed_proof, c.lemma_name, c.lemma_statement),
                    *(c.text, c.outcome.value, c.statement, c.tokens),
                )
                for c in conjectures
            ),
        )

    def conjectures(self, round: int, outcome: Outcome | None = None) -> list[Conjecture]:
        """A round's conjectures in the order (input, sample)."""
        rows = self._rows(
            "SELECT round, input, sample, seed, seed_proof, lemma_name, lemma_statement, text, outcome,"
            " statement, tokens FROM conjectures WHERE round = ?1 AND (?2 IS NULL OR outcome = ?2)"
            " ORDER BY input, sample",
            round,
            outcome and outcome.value,
        )
        return [Conjecture(*(*row[:8], Outcome(row[8]), *row[9:])) for row in rows]

    def goals(self, last: int, outcomes: Collection[Outcome]) -> set[str]:
        """The goals among the conjectures up to a round that had one of these outcomes, as they were left."""
        rows = self._rows(
            "SELECT DISTINCT text FROM conjectures WHERE input = ? AND round <= ?"
            " AND outcome IN (SELECT value FROM json_each(?))",
            NO_INPUT, last, json.dumps([outcome.value for outcome in outcomes]),
        )  # fmt: skip
        return {text for (text,) in rows}

    def set_outcomes(self, conjectures: Iterable[Conjecture]) -> None:
        """Store the outcome, and for KEPT the statement, of conjectures that were added before.

        Raises:
            KeyError: one of them was never added.
        """
        rows = [(c.outcome.value, c.statement, c.round, c.input, c.sample) for c in conjectures]
        with self.atomic():
            changed = self._write(
                "UPDATE conjectures SET outcome = ?, statement = ?"
                " WHERE round = ? AND input = ? AND sample = ?",
                rows,
            )
            if changed != len(rows):
                raise KeyError(f"{len(rows) - changed} of {len(rows)} conjectures were never added")
