"""Results of checks that this user has paid for before, in any run.

Only verdicts that the same text gets again on any machine are kept. A cache is never an error: what
cannot be read is checked again, what cannot be written is not kept, and a damaged file is set aside.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path

from sqlite_utils import Database

from stp.types import CheckResult, Job, Message, Premise, Verdict

_log = logging.getLogger(__name__)
#: Part of every key: a new form of the values makes the old ones unknown.
_FORM = 2
#: Results kept, some 4 GB; what was put in first goes first.
_MOST = 4_000_000
_DAMAGED = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}


def cache_key(toolchain_digest: str, job: Job) -> str:
    """The key of all that decides a repeatable verdict; wall clock and memory do not."""
    text = (job.system, job.header, job.statement, job.proof, job.origin, job.theorem)
    wanted = (job.limits.heartbeats, job.premises, job.strict)
    parts = json.dumps([_FORM, toolchain_digest, *text, *wanted])
    return hashlib.sha256(parts.encode()).hexdigest()[:40]


class ResultCache:
    """A file of results by `cache_key`, shared by any number of processes and threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mutex = threading.Lock()
        self._db: Database | None = None
        self._file: int | None = None
        """The file that is open, by inode: another process may have put a new one in its place."""
        with self._mutex:
            self._open()

    def close(self) -> None:
        with self._mutex:
            self._close()

    def get_many(self, keys: Collection[str]) -> dict[str, CheckResult]:
        """What is known of the keys. The `id` of a result is its key: replace it by the job's."""
        found: dict[str, CheckResult] = {}
        with self._mutex:
            try:
                if self._db is not None:
                    rows = self._db.execute(
                        "SELECT key, value FROM results WHERE key IN (SELECT value FROM json_each(?))",
                        [json.dumps([*keys])],
                    )
                    found = {key: _load(key, value) for key, value in rows}
            except (sqlite3.Error, ValueError, TypeError, KeyError) as error:
                self._give_up(error)
        return found

    def put_many(self, results: Mapping[str, CheckResult]) -> None:
        """Keep those results whose verdict is repeatable."""
        rows = [(key, _dump(result)) for key, result in results.items() if result.repeatable]
        with self._mutex:
            try:
                if self._db is not None and rows:
                    with self._db.conn as transaction:
                        transaction.executemany("INSERT OR REPLACE INTO results VALUES (?, ?)", rows)
                        transaction.execute(
                            "DELETE FROM results WHERE rowid <= (SELECT max(rowid) FROM results) - ?", [_MOST]
                        )
            except sqlite3.Error as error:
                self._give_up(error)

    def _open(self) -> None:
        for last in (False, True):
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._db = Database(
                    sqlite3.connect(self.path, check_same_thread=False), execute_plugins=False
                )
                self._db.execute("PRAGMA busy_timeout = 10000")
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = NORMAL")
                self._db.execute("CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, value TEXT)")
                self._file = self.path.stat().st_ino
                return
            except (sqlite3.Error, OSError) as error:
                self._close()
                if last or not _is_damage(error):
                    _log.warning("%s: %s: going on without a cache of results", self.path, error)
                    return
                self._set_aside()

    def _give_up(self, error: Exception) -> None:
        """After a failure: a damaged file is replaced, anything else is tried again next time."""
        _log.warning("%s: %s: these results are checked again", self.path, error)
        if not _is_damage(error):
            return
        self._close()
        with suppress(OSError):
            if self.path.stat().st_ino == self._file:
                self._set_aside()
        self._open()

    def _set_aside(self) -> None:
        # The log first: SQLite would read a log found beside a new file into that file.
        with suppress(OSError):
            for suffix in ("-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            self.path.replace(self.path.with_name(self.path.name + ".damaged"))

    def _close(self) -> None:
        if self._db is not None:
            self._db.conn.close()
            self._db = None


def _is_damage(error: Exception) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED
    return False


def _dump(result: CheckResult) -> str:
    premises = [astuple(premise) for premise in result.premises]
    messages = [astuple(message) for message in result.messages]
    return json.dumps(
        [
            *(result.verdict, result.reason, messages, result.axioms, premises),
            *(result.heartbeats, result.times_ms, result.toolchain),
        ]
    )


def _load(key: str, value: str) -> CheckResult:
    verdict, reason, messages, axioms, premises, heartbeats, times_ms, toolchain = json.loads(value)
    return CheckResult(
        id=key,
        verdict=Verdict(verdict),
        reason=reason,
        messages=tuple(Message(*fields) for fields in messages),
        axioms=tuple(axioms),
        premises=tuple(Premise(*fields) for fields in premises),
        heartbeats=heartbeats,
        times_ms=times_ms,
        toolchain=toolchain,
    )
