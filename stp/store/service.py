"""What the verifier service keeps: its clients' keys, and long batches with the answers given so far.

An accepted batch is on disk before its sender hears of it, and an answer before anybody can read it. So
whatever is killed, the next start goes on with what is unanswered, and checks nothing twice that was.
"""

from __future__ import annotations

import fcntl
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sqlite_utils import Database

from stp.errors import StoreError

_APPLICATION_ID = 0x53545053  # "STPS"
_TABLES = """
CREATE TABLE keys (
    name TEXT PRIMARY KEY, salt BLOB NOT NULL, hash BLOB NOT NULL, scopes TEXT NOT NULL,
    jobs_per_minute INTEGER NOT NULL, created REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE batches (
    id TEXT PRIMARY KEY, client TEXT NOT NULL, digest TEXT NOT NULL, priority INTEGER NOT NULL,
    total INTEGER NOT NULL, created REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE items (
    batch TEXT NOT NULL REFERENCES batches ON DELETE CASCADE, number INTEGER NOT NULL, job TEXT NOT NULL,
    answer INTEGER, result TEXT, PRIMARY KEY (batch, number)
) WITHOUT ROWID;
CREATE INDEX unanswered ON items (batch, number) WHERE answer IS NULL;
CREATE UNIQUE INDEX answers ON items (batch, answer) WHERE answer IS NOT NULL;
"""


@dataclass(frozen=True, slots=True)
class KeyRow:
    """An API key as it is kept: no one can tell the key from it."""

    name: str
    salt: bytes
    hash: bytes
    scopes: frozenset[str]
    jobs_per_minute: int
    """0: no quota."""
    created: float


@dataclass(frozen=True, slots=True)
class Batch:
    """A long batch: whose it is, and how much of it is answered."""

    id: str
    client: str
    digest: str
    """Of the request: sending the same batch again is no second batch."""
    priority: int
    total: int
    answered: int
    created: float


class ServiceStore:
    """The service's database file, for any number of threads. `serving` takes it for this process alone:
    two services on one file would check every batch twice. The commands for keys need no such lock.

    Raises:
        StoreError: another service has it, or it is no such file.
    """

    def __init__(self, path: Path, *, serving: bool = False) -> None:
        self.path = path
        self._mutex = threading.RLock()
        self._lock: IO[str] | None = None
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if serving:
                self._lock = _locked(path)
            connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            path.chmod(0o600)
            self._db = Database(connection, execute_plugins=False)
            for pragma in ("busy_timeout = 10000", "journal_mode = WAL", "synchronous = NORMAL"):
                self._db.execute(f"PRAGMA {pragma}")
            self._db.execute("PRAGMA foreign_keys = ON")
            with self._transaction():
                ((application,),) = self._db.execute("PRAGMA application_id").fetchall()
                ((tables,),) = self._db.execute("SELECT COUNT(*) FROM sqlite_master").fetchall()
                if application != _APPLICATION_ID:
                    if tables:
                        raise StoreError(
                            f"{path}: expected the service's database, found another: move it away"
                        )
                    for statement in _TABLES.split(";"):
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")

    def close(self) -> None:
        """Closes the file and gives it back."""
        with self._mutex:
            self._db.conn.close()
            if self._lock:
                self._lock.close()

    # Keys

    def put_key(self, key: KeyRow) -> bool:
        """Keeps a new key; False where the name is taken."""
        scopes = " ".join(sorted(key.scopes))
        with self._explained(), self._transaction():
            cursor = self._db.execute(
                "INSERT OR IGNORE INTO keys VALUES (?, ?, ?, ?, ?, ?)",
                [key.name, key.salt, key.hash, scopes, key.jobs_per_minute, key.created],
            )
            return bool(cursor.rowcount == 1)

    def key(self, name: str) -> KeyRow | None:
        """The key of that name."""
        return next(iter(self._keys("WHERE name = ?", [name])), None)

    def key_rows(self) -> list[KeyRow]:
        """All keys by name."""
        return self._keys("ORDER BY name", [])

    def _keys(self, which: str, values: Sequence[str]) -> list[KeyRow]:
        with self._explained(), self._mutex:
            rows = self._db.execute(
                f"SELECT name, salt, hash, scopes, jobs_per_minute, created FROM keys {which}", values
            ).fetchall()
        return [KeyRow(n, salt, hash_, frozenset(s.split()), q, at) for n, salt, hash_, s, q, at in rows]

    def drop_key(self, name: str) -> bool:
        """Revokes a key at once, and forgets its batches: another may get a key of that name. False where
        there is none of that name."""
        with self._explained(), self._transaction():
            self._db.execute("DELETE FROM batches WHERE client = ?", [name])
            return bool(self._db.execute("DELETE FROM keys WHERE name = ?", [name]).rowcount)

    # Batches

    def put_batch(self, batch: Batch, jobs: Sequence[str]) -> None:
        """Accepts a batch of jobs, each as JSON."""
        with self._explained(), self._transaction():
            self._db.execute(
                "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?)",
                [batch.id, batch.client, batch.digest, batch.priority, batch.total, batch.created],
            )
            self._db.conn.executemany(
                "INSERT INTO items (batch, number, job) VALUES (?, ?, ?)",
                ((batch.id, number, job) for number, job in enumerate(jobs)),
            )

    def batches(self, id_: str | None = None) -> list[Batch]:
        """All batches, or the one of that id, oldest first."""
        with self._explained(), self._mutex:
            rows = self._db.execute(
                "SELECT id, client, digest, priority, total,"
                " (SELECT COALESCE(MAX(answer), 0) FROM items WHERE batch = id), created"
                " FROM batches WHERE ?1 IS NULL OR id = ?1 ORDER BY created, id",
                [id_],
            ).fetchall()
        return [Batch(*row) for row in rows]

    def unanswered(self, id_: str, after: int, count: int) -> list[tuple[int, str]]:
        """Numbers and jobs of a batch that are to be checked, behind a number."""
        with self._explained(), self._mutex:
            return self._db.execute(
                "SELECT number, job FROM items WHERE batch = ? AND answer IS NULL AND number > ?"
                " ORDER BY number LIMIT ?",
                [id_, after, count],
            ).fetchall()

    def answer(self, batch: Batch, results: Sequence[tuple[int, str]]) -> None:
        """Keeps results, each as JSON, by the numbers of their jobs. A batch deleted meanwhile is let go, and
        so is one in whose place another has its id."""
        id_ = batch.id
        with self._explained(), self._transaction():
            ((last, same),) = self._db.execute(
                "SELECT (SELECT COALESCE(MAX(answer), 0) FROM items WHERE batch = ?1),"
                " EXISTS (SELECT 1 FROM batches WHERE id = ?1 AND digest = ?2 AND created = ?3)",
                [id_, batch.digest, batch.created],
            ).fetchall()
            if not same:
                return
            self._db.conn.executemany(
                "UPDATE items SET answer = ?, result = ? WHERE batch = ? AND number = ? AND answer IS NULL",
                ((last + i, result, id_, number) for i, (number, result) in enumerate(results, 1)),
            )

    def answers(self, id_: str, after: int, count: int) -> list[tuple[int, str]]:
        """Results of a batch behind an answer's number, in the order in which they were given."""
        with self._explained(), self._mutex:
            return self._db.execute(
                "SELECT answer, result FROM items WHERE batch = ? AND answer > ? ORDER BY answer LIMIT ?",
                [id_, after, count],
            ).fetchall()

    def drop_batch(self, id_: str) -> None:
        """Deletes a batch with its results."""
        with self._explained(), self._transaction():
            self._db.execute("DELETE FROM batches WHERE id = ?", [id_])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._mutex:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.conn.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"{self.path}: {error}: free space or mend the file, or name another --state folder"
            ) from error


def new_batch(id_: str, client: str, digest: str, priority: int, total: int) -> Batch:
    """A batch of which nothing is answered."""
    return Batch(id_, client, digest, priority, total, 0, time.time())


def _locked(path: Path) -> IO[str]:
    file = path.with_name(path.name + ".lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise StoreError(
            f"{path}: another service uses it: stop that one, or name another --state folder"
        ) from None
    return file
