"""The course of a run: values of the run, end marks of stages, training examples, evaluations."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from stp.store.connection import Connection
from stp.store.rows import (
    ConjecturerExample,
    ConjecturerText,
    Evaluation,
    ProverExample,
    ProverText,
    StageMark,
)
from stp.store.statements import statement_columns, to_statement


class Rounds(Connection):
    """The part of `Store` for what a round leaves behind besides statements and proofs."""

    def __init__(self, path: Path | str | None = None, *, read_only: bool = False) -> None:
        super().__init__(path, read_only=read_only)
        self._running: tuple[int, str, float] | None = None
        """Round, stage and the clock at which its time was last written down."""

    def meta(self, key: str) -> Any:
        """The value of that key; None where there is none."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", key)
        return json.loads(rows[0][0]) if rows else None

    def set_meta(self, key: str, value: Any) -> None:
        """Keep a value that JSON can say; the view `barely_provable` reads `band_high`."""
        self._write(
            "INSERT INTO meta (key, value) VALUES (?, ?)"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [(key, json.dumps(value, sort_keys=True))],
        )

    def begin_stage(self, round: int, name: str) -> bool:
        """Start a stage or go on with it; False where its end mark is set and nothing is left to do.

        From here on every commit adds the time since the last one to the stage's `elapsed_s`.
        """
        self._write(
            "INSERT INTO rounds (round, stage, started_at) VALUES (?, ?, ?)"
            " ON CONFLICT (round, stage) DO NOTHING",
            [(round, name, _now())],
        )
        if any(mark.finished_at for mark in self._marks(round, name)):
            return False
        self._running = (round, name, time.monotonic())
        return True

    def finish_stage(self, round: int, name: str, stats: dict[str, Any]) -> None:
        """Set the end mark, behind the stage's last write.

        Raises:
            KeyError: the stage was never begun, or is finished already.
        """
        with self.atomic():
            self._write_elapsed()
            changed = self._write(
                "UPDATE rounds SET finished_at = ?, stats = ?"
                " WHERE round = ? AND stage = ? AND finished_at IS NULL",
                [(_now(), json.dumps(stats, sort_keys=True), round, name)],
            )
            if not changed:
                raise KeyError(f"round {round}, stage {name}: not running")

    def _before_commit(self) -> None:
        self._write_elapsed()

    def _write_elapsed(self) -> None:
        if self._running is None:
            return
        round, name, since = self._running
        now = time.monotonic()
        self._db.execute(
            "UPDATE rounds SET elapsed_s = elapsed_s + ?"
            " WHERE round = ? AND stage = ? AND finished_at IS NULL",
            (now - since, round, name),
        )
        self._running = (round, name, now)

    def stage(self, round: int, name: str) -> StageMark | None:
        return next(iter(self._marks(round, name)), None)

    def stages(self) -> list[StageMark]:
        """Every stage begun so far, in the order in which they began."""
        return self._marks(None, None)

    def _marks(self, round: int | None, name: str | None) -> list[StageMark]:
        rows = self._rows(
            "SELECT round, stage, started_at, finished_at, elapsed_s, stats FROM rounds"
            " WHERE (?1 IS NULL OR round = ?1) AND (?2 IS NULL OR stage = ?2) ORDER BY rowid",
            round,
            name,
        )
        return [StageMark(*(*columns, json.loads(stats))) for *columns, stats in rows]

    def add_examples(self, round: int, examples: Iterable[ProverExample | ConjecturerExample]) -> int:
        """Add examples of a round and return how many were new.

        One a proof for the prover, one a statement for the conjecturer: the first one stands.
        """
        return self._write(
            "INSERT INTO examples (round, role, statement, proof, input, sample, free, weight)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (
                (round, "prover", e.statement, e.proof, None, None, False, e.weight)
                if isinstance(e, ProverExample)
                else (round, "conjecturer", e.statement, None, e.input, e.sample, e.free, e.weight)
                for e in examples
            ),
        )

    def prover_texts(self, round: int) -> list[ProverText]:
        """The round's examples for the prover, in the order (statement, proof key)."""
        rows = self._rows(
            f"SELECT p.text, e.weight, {statement_columns('s')} FROM examples e"
            " JOIN proofs p ON p.key = e.proof JOIN statements s ON s.key = e.statement"
            " WHERE e.round = ? AND e.role = 'prover' ORDER BY e.statement, e.proof",
            round,
        )
        return [ProverText(to_statement(statement), text, weight) for text, weight, *statement in rows]

    def conjecturer_texts(self, round: int) -> list[ConjecturerText]:
        """The round's examples for the conjecturer, in the order of their statements."""
        rows = self._rows(
            f"SELECT {statement_columns('s')}, p.text, IIF(e.free, NULL, c.lemma_statement),"
            f" {statement_columns('t')}, e.weight FROM examples e"
            " JOIN conjectures c ON (c.round, c.input, c.sample) = (e.round, e.input, e.sample)"
            " JOIN statements s ON s.key = c.seed LEFT JOIN proofs p ON p.key = c.seed_proof"
            " JOIN statements t ON t.key = e.statement"
            " WHERE e.round = ? AND e.role = 'conjecturer' ORDER BY e.statement",
            round,
        )
        return [
            ConjecturerText(*(to_statement(row[:8]), *row[8:10], to_statement(row[10:18]), row[18]))
            for row in rows
        ]

    def add_evaluations(self, evaluations: Iterable[Evaluation]) -> int:
        """Add those whose (round, dataset, statement) is new, and return how many were."""
        return self._write(
            "INSERT INTO evaluations (round, dataset, statement, samples, proved, tokens)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (round, dataset, statement) DO NOTHING",
            ((e.round, e.dataset, e.statement, e.samples, e.proved, e.tokens) for e in evaluations),
        )

    def evaluations(self, round: int | None = None) -> list[Evaluation]:
        """Evaluations of one round, or of all, in the order (round, dataset, statement)."""
        rows = self._rows(
            "SELECT round, dataset, statement, samples, proved, tokens FROM evaluations"
            " WHERE ?1 IS NULL OR round = ?1 ORDER BY round, dataset, statement",
            round,
        )
        return [Evaluation(*row) for row in rows]

    def view(
        self, name: Literal["pass_rates", "barely_provable", "rounds_summary", "tallies"]
    ) -> list[dict[str, Any]]:
        """The rows of one of the views for people."""
        with self._explained():
            return list(self._db.query(f"SELECT * FROM {name}"))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
