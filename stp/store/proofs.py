"""Proofs: how often each was sampled, what the checker said, and the rates that follow."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator

from stp.store.connection import Connection
from stp.store.rows import NO_INPUT, AttemptStage, CorrectProof, Tally, Try, proof_key
from stp.store.statements import statement_columns, to_statement
from stp.types import CheckResult, Premise, Statement, Verdict

_PAGE_ROWS = 4096
#: Checks that said something of the machine alone: another time may say otherwise.
_OF_THE_MACHINE = "verdict IN ('crashed', 'out_of_memory') OR (verdict = 'timed_out' AND heartbeats = 0)"
#: What rates count: the attempts of a round.
_TRIED = "('probe', 'attempt', 'complete')"
#: Correct proofs of attempts and seeds, of the rounds from one to another, of conjectures too or not.
_CORRECT = (
    "FROM attempts a CROSS JOIN checks c ON c.proof = a.proof"
    " CROSS JOIN proofs p ON p.key = a.proof CROSS JOIN statements s ON s.key = a.statement"
    f" WHERE a.stage IN {_TRIED[:-1]}, 'seed') AND a.round BETWEEN ? AND ?"
    " AND c.verdict = 'proved' AND s.split IS NOT 'test'"
    " AND (? OR s.source NOT IN ('conjecture', 'negation'))"
)


class Proofs(Connection):
    """The part of `Store` for proofs, attempts and checks. A round range includes both its ends."""

    def add_attempts(self, round: int, stage: AttemptStage, rows: Iterable[tuple[str, str, int, int]]) -> int:
        """Add (statement key, proof text, count, tokens) rows and return how many attempts that were.

        `tokens` is what the model wrote for them all.

        A statement's attempts of a round and stage come all in one call: what comes for a statement
        that already has some is a batch done again, and is left out.
        """
        counts: Counter[tuple[str, str]] = Counter()
        spent: Counter[tuple[str, str]] = Counter()
        for statement, text, count, tokens in rows:
            counts[statement, text.strip()] += count
            spent[statement, text.strip()] += tokens
        with self.atomic():
            done = self._attempted_among({statement for statement, _ in counts}, round, stage)
            new = [
                (statement, text, count, spent[statement, text])
                for (statement, text), count in sorted(counts.items())
                if statement not in done
            ]
            self._add(round, stage, new)
        return sum(count for _, _, count, _ in new)

    def add_completions(self, round: int, proofs: Iterable[tuple[str, str]]) -> None:
        """Add (statement key, proof text) pairs as attempts of the stage `complete`, which cost no tokens.
        They may come in any number of calls; what is there already is left out."""
        with self.atomic():
            self._add(round, "complete", [(statement, text.strip(), 1, 0) for statement, text in proofs])

    def _add(self, round: int, stage: AttemptStage, rows: list[tuple[str, str, int, int]]) -> None:
        keys = [proof_key(statement, text) for statement, text, _, _ in rows]
        self._write(
            "INSERT INTO proofs (statement, key, text) VALUES (?, ?, ?) ON CONFLICT (key) DO NOTHING",
            ((row[0], key, row[1]) for key, row in zip(keys, rows, strict=True)),
        )
        self._write(
            "INSERT INTO attempts (statement, proof, round, stage, count, tokens)"
            " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (stage, round, statement, proof) DO NOTHING",
            ((row[0], key, round, stage, *row[2:]) for key, row in zip(keys, rows, strict=True)),
        )

    def _attempted_among(self, statements: set[str], round: int, stage: AttemptStage) -> set[str]:
        rows = self._rows(
            "SELECT value FROM json_each(?) WHERE EXISTS"
            " (SELECT 1 FROM attempts WHERE stage = ? AND round = ? AND statement = value)",
            json.dumps(sorted(statements)),
            stage,
            round,
        )
        return {statement for (statement,) in rows}

    def attempted(self, round: int, stage: AttemptStage) -> set[str]:
        """Keys of the statements whose attempts of this round and stage are stored."""
        rows = self._rows(
            "SELECT DISTINCT statement FROM attempts WHERE stage = ? AND round = ?", stage, round
        )
        return {statement for (statement,) in rows}

    def unchecked(self, round: int, stage: AttemptStage) -> Iterator[tuple[str, Statement, str]]:
        """(proof key, statement, proof text) of what has no final check yet, in the order of the keys.

        Read a page at a time, so that checks can be added and attempts go on while it is read.
        """
        statement = proof = ""
        while True:
            page = self._rows(
                f"SELECT p.key, p.text, {statement_columns('s')} FROM attempts a"
                " CROSS JOIN proofs p ON p.key = a.proof CROSS JOIN statements s ON s.key = a.statement"
                " WHERE a.stage = ? AND a.round = ? AND (a.statement, a.proof) > (?, ?)"
                f" AND NOT EXISTS (SELECT 1 FROM checks WHERE proof = a.proof AND NOT ({_OF_THE_MACHINE}))"
                " ORDER BY a.statement, a.proof LIMIT ?",
                *(stage, round, statement, proof, _PAGE_ROWS),
            )
            for key, text, *columns in page:
                found = to_statement(columns)
                yield key, found, text
                statement, proof = found.key, key
            if len(page) < _PAGE_ROWS:
                return

    def tries(self, stage: AttemptStage) -> list[Try]:
        """All attempts of a stage, a statement's rounds being its tries, in the order (number, statement)."""
        rows = self._rows(
            "SELECT a.statement, a.round, p.text, a.tokens, c.verdict, c.reason, c.axioms, c.heartbeats,"
            " c.toolchain FROM attempts a CROSS JOIN proofs p ON p.key = a.proof"
            " LEFT JOIN checks c ON c.proof = a.proof WHERE a.stage = ? ORDER BY a.round, a.statement",
            stage,
        )
        return [
            Try(
                *(statement, number, text, tokens, Verdict(verdict) if verdict else None),
                *(reason or "", tuple(json.loads(axioms or "[]")), heartbeats or 0, toolchain or ""),
            )
            for statement, number, text, tokens, verdict, reason, axioms, heartbeats, toolchain in rows
        ]

    def add_checks(self, checks: Iterable[tuple[str, CheckResult]]) -> int:
        """Add the final check of each proof and return how many were new: the first one stands, unless it
        said something of the machine alone."""
        return self._write(
            "INSERT INTO checks (proof, verdict, reason, heartbeats, elapsed_ms, axioms, premises, toolchain)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (proof) DO UPDATE SET (verdict, reason, heartbeats,"
            " elapsed_ms, axioms, premises, toolchain) = (excluded.verdict, excluded.reason,"
            " excluded.heartbeats, excluded.elapsed_ms, excluded.axioms, excluded.premises,"
            f" excluded.toolchain) WHERE {_OF_THE_MACHINE}",
            (
                (
                    *(key, check.verdict.value, check.reason, check.heartbeats, 1e3 * check.elapsed_s),
                    *(json.dumps(check.axioms), _premises_json(check.premises), check.toolchain),
                )
                for key, check in checks
            ),
        )

    def failed_proofs(self, first: int, last: int) -> list[tuple[Statement, str]]:
        """(statement, text) of the rejected proofs of these rounds, of statements of the dataset and of goals
        that no proof holds for so far, those sampled most often first."""
        rows = self._rows(
            f"SELECT p.text, {statement_columns('s')} FROM attempts a"
            " JOIN checks c ON c.proof = a.proof JOIN proofs p ON p.key = a.proof"
            " JOIN statements s ON s.key = a.statement"
            " WHERE a.stage IN ('probe', 'attempt') AND a.round BETWEEN ?1 AND ?2 AND p.text != ''"
            " AND (s.source = 'dataset' OR s.key IN (SELECT statement FROM conjectures WHERE input = ?3))"
            " AND c.verdict IN ('rejected', 'incomplete')"
            " AND s.key NOT IN (SELECT key FROM pass_rates WHERE proved > 0)"
            " GROUP BY p.key ORDER BY SUM(a.count) DESC, p.key",
            first, last, NO_INPUT,
        )  # fmt: skip
        return [(to_statement(columns), text) for text, *columns in rows]

    def failures(self) -> list[tuple[str, str, str]]:
        """(statement, text, verdict) of the attempts that are no proofs, of statements to train on; those of
        a statement together, the most often sampled first."""
        return self._rows(
            "SELECT p.statement, p.text, c.verdict FROM attempts a CROSS JOIN checks c ON c.proof = a.proof"
            " CROSS JOIN proofs p ON p.key = a.proof CROSS JOIN statements s ON s.key = a.statement"
            f" WHERE a.stage IN {_TRIED} AND c.verdict IN ('rejected', 'incomplete', 'cheated')"
            " AND p.text != '' AND s.split IS NOT 'test'"
            " GROUP BY p.key ORDER BY p.statement, SUM(a.count) DESC, p.key"
        )

    def verdicts(self, round: int) -> dict[Verdict, int]:
        """How many of a round's attempts got each verdict."""
        rows = self._rows(
            "SELECT c.verdict, SUM(a.count) FROM attempts a CROSS JOIN checks c ON c.proof = a.proof"
            f" WHERE a.stage IN {_TRIED} AND a.round = ? GROUP BY c.verdict ORDER BY c.verdict",
            round,
        )
        return {Verdict(verdict): count for verdict, count in rows}

    def tokens(self, round: int, stage: AttemptStage) -> dict[str, int]:
        """What the model wrote for each statement in one round and stage."""
        return dict(
            self._rows(
                "SELECT statement, SUM(tokens) FROM attempts WHERE stage = ? AND round = ?"
                " GROUP BY statement",
                stage,
                round,
            )
        )

    def generated_tokens(self) -> dict[int, int]:
        """What the model wrote in each round, conjectures and attempts together; evaluation is apart."""
        return dict(
            self._rows(
                "SELECT round, SUM(tokens) FROM (SELECT round, tokens FROM conjectures UNION ALL"
                f" SELECT round, tokens FROM attempts WHERE stage IN {_TRIED})"
                " GROUP BY round ORDER BY round"
            )
        )

    def volume(self) -> tuple[int, int, int]:
        """Attempts, distinct proofs among them, and the tokens that the model wrote for them."""
        rows = self._rows(
            f"SELECT SUM(count), COUNT(DISTINCT proof), SUM(tokens) FROM attempts WHERE stage IN {_TRIED}"
        )
        attempts, distinct, tokens = rows[0]
        return attempts or 0, distinct, tokens or 0

    def tokens_before(self, round: int) -> int:
        """What the model wrote in all rounds before this one."""
        return sum(tokens for number, tokens in self.generated_tokens().items() if number < round)

    def verifier_s(self) -> dict[int, float]:
        """What the checks of each round's new attempts took in Lean, cached ones as when they were made."""
        return dict(
            self._rows(
                "SELECT round, SUM(elapsed_ms) / 1000 FROM"
                f" (SELECT proof, MIN(round) AS round FROM attempts WHERE stage IN {_TRIED}"
                " GROUP BY proof) JOIN checks USING (proof) GROUP BY round ORDER BY round"
            )
        )

    def first_proved(self) -> dict[str, int]:
        """Of each statement of the dataset that was proved: the first round in which it was."""
        return dict(
            self._rows(
                "SELECT key, MIN(round) FROM pass_rates WHERE source = 'dataset' AND proved > 0"
                " GROUP BY key ORDER BY key"
            )
        )

    def tallies(self, round: int, stage: AttemptStage) -> dict[str, Tally]:
        """What each statement got in one round and stage, test statements included."""
        rows = self._rows(
            "SELECT statement, attempts, proved FROM tallies WHERE stage = ? AND round = ?"
            " ORDER BY statement",
            stage,
            round,
        )
        return {key: Tally(attempts, proved) for key, attempts, proved in rows}

    def pooled_rates(self, first: int, last: int) -> dict[str, Tally]:
        """What each statement got in all these rounds together; never test or evaluation."""
        rows = self._rows(
            "SELECT key, SUM(attempts), SUM(proved) FROM pass_rates WHERE round BETWEEN ? AND ?"
            " GROUP BY key ORDER BY key",
            first,
            last,
        )
        return {key: Tally(attempts, proved) for key, attempts, proved in rows}

    def best_rates(self, first: int, last: int) -> dict[str, float]:
        """The best pass rate that each statement had in one of these rounds."""
        rows = self._rows(
            "SELECT key, MAX(pass_rate) FROM pass_rates WHERE round BETWEEN ? AND ?"
            " GROUP BY key ORDER BY key",
            first,
            last,
        )
        return dict(rows)

    def correct_proofs(self, first: int, last: int, *, conjectures: bool = True) -> list[CorrectProof]:
        """Distinct correct proofs of these rounds' attempts and seeds, in the order (statement, key);
        `conjectures`: those of conjectures and negations too."""
        rows = self._rows(
            "SELECT p.key, p.statement, p.text, SUM(a.count * (a.stage NOT IN ('seed', 'complete'))),"
            f" c.heartbeats, c.premises {_CORRECT} GROUP BY p.key ORDER BY p.statement, p.key",
            first,
            last,
            conjectures,
        )
        return [CorrectProof(*(*columns, _premises(premises))) for *columns, premises in rows]

    def count_correct(self, round: int, *, conjectures: bool = True) -> int:
        """How many `correct_proofs` a round has."""
        ((count,),) = self._rows(f"SELECT COUNT(DISTINCT p.key) {_CORRECT}", round, round, conjectures)
        return int(count)

    def shortest_proofs(self, first: int, last: int) -> dict[str, str]:
        """Of each statement with correct proofs in these rounds the shortest, of equals the first by key."""
        proofs = self.correct_proofs(first, last)[::-1]
        return {p.statement: p.text for p in sorted(proofs, key=lambda p: -len(p.text))}


def _premises_json(premises: tuple[Premise, ...]) -> str:
    return json.dumps([(p.name, p.module, p.statement) for p in premises])


def _premises(text: str) -> tuple[Premise, ...]:
    return tuple(Premise(*fields) for fields in json.loads(text))
