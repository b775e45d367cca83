"""One open database: its settings, its run lock, its transactions and its errors."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Self

from sqlite_utils import Database

from stp.errors import StoreError
from stp.store.schema import APPLICATION_ID, MIGRATIONS, migrate

Row = tuple[Any, ...]

#: What to do about the failures that come from outside; any other SQLite error is a fault in `stp`.
_ADVICE = {
    sqlite3.SQLITE_FULL: "no space left: free some and run the same command again",
    sqlite3.SQLITE_IOERR: "expected a disk that reads and writes: check it, then run the same command again",
    sqlite3.SQLITE_CANTOPEN: "expected a file in a folder that can be written: name another run folder",
    sqlite3.SQLITE_PERM: "expected a file that may be written: change its permissions",
    sqlite3.SQLITE_READONLY: "expected a file that may be written: change its permissions",
    sqlite3.SQLITE_NOTADB: "expected an stp store: move it away or name another run folder",
    sqlite3.SQLITE_CORRUPT: "damaged: restore it from a copy or begin a new run",
    sqlite3.SQLITE_BUSY: "another program is writing to it: close that program",
    sqlite3.SQLITE_LOCKED: "another program is writing to it: close that program",
}


class Connection:
    """Owns the database file and, while open for writing, the run's lock. For one thread.

    With no path the database is in memory. `read_only` takes no lock, so that a report can read
    beside a running writer, and sees whole transactions only.

    Raises:
        StoreError: locked by another process, unreadable, full, not a store, or of another version.
    """

    def __init__(self, path: Path | str | None = None, *, read_only: bool = False) -> None:
        self.path = Path(path).absolute() if path is not None else None
        self._lock = _lock(self.path) if self.path and not read_only else None
        try:
            with self._explained():
                self._db = Database(_connect(self.path, read_only), execute_plugins=False)
                self._prepare(read_only)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database and give the run's lock back; closing twice is harmless."""
        if hasattr(self, "_db"):
            self._db.conn.close()
        if self._lock:
            self._lock.close()

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """Everything written inside is kept as a whole or not at all. Re-entrant.

        An inner block that fails undoes its own writes; the outer one goes on if it catches that.
        """
        with self._explained():
            outermost = not self._db.conn.in_transaction
            self._db.execute("BEGIN IMMEDIATE" if outermost else "SAVEPOINT inner_block")
            try:
                yield
                if outermost:
                    self._before_commit()
                self._db.execute("COMMIT" if outermost else "RELEASE inner_block")
            except BaseException:
                # A full disk may have ended the transaction already: there is nothing left to undo.
                if self._db.conn.in_transaction:
                    self._db.execute("ROLLBACK" if outermost else "ROLLBACK TO inner_block")
                    if not outermost:
                        self._db.execute("RELEASE inner_block")
                raise

    def _before_commit(self) -> None:
        """Called as the last step of every outermost transaction."""

    def _rows(self, sql: str, *values: object) -> list[Row]:
        with self._explained():
            return self._db.execute(sql, values).fetchall()

    def _write(self, sql: str, rows: Iterable[Row]) -> int:
        """Run `sql` once a row in one transaction; the number of rows of the table it changed."""
        with self.atomic():
            return max(0, self._db.conn.executemany(sql, rows).rowcount)

    def _prepare(self, read_only: bool) -> None:
        execute = self._db.execute
        execute("PRAGMA busy_timeout = 10000")
        ((version,),) = execute("PRAGMA user_version").fetchall()
        ((application,),) = execute("PRAGMA application_id").fetchall()
        ((tables,),) = execute("SELECT COUNT(*) FROM sqlite_master").fetchall()
        if application != APPLICATION_ID and (tables or read_only):
            found = "another program's SQLite database" if tables else "an empty one"
            raise StoreError(f"{self.path}: expected an stp store, found {found}: name another run folder")
        if version > len(MIGRATIONS) or (read_only and version < len(MIGRATIONS)):
            todo = "update stp" if version > len(MIGRATIONS) else "open it for writing once to upgrade it"
            raise StoreError(
                f"{self.path}: expected store version {len(MIGRATIONS)}, found {version}: {todo}"
            )
        if not read_only:
            execute("PRAGMA journal_mode = WAL")
            migrate(self._db.conn, version)
        # A commit survives kill -9; at a power cut the last ones may be lost, but never half of one.
        execute("PRAGMA synchronous = NORMAL")
        execute("PRAGMA foreign_keys = ON")
        execute("PRAGMA cache_size = -65536")
        # 64 MB of log between two checkpoints: keys land in random pages, each then written once, not often.
        execute("PRAGMA wal_autocheckpoint = 16384")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """The one place where SQLite's errors become `StoreError`."""
        try:
            yield
        except sqlite3.Error as error:
            advice = _ADVICE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
            if advice is None:
                raise
            raise StoreError(f"{self.path or 'memory'}: {error}; {advice}") from error


def _connect(path: Path | None, read_only: bool) -> sqlite3.Connection:
    # isolation_level=None: transactions begin where atomic() says, never behind its back.
    if path is None:
        return sqlite3.connect(":memory:", isolation_level=None)
    if read_only and not path.exists():
        raise StoreError(f"{path}: no store there: name the folder of a run that has begun")
    mode = "ro" if read_only else "rwc"
    return sqlite3.connect(f"{path.as_uri()}?mode={mode}", uri=True, isolation_level=None)


def _lock(path: Path) -> IO[str]:
    """The run's lock file, locked and holding our process id; closing it gives the lock back.

    The kernel drops the lock when its process ends, however it ends. The file stays: removing it
    would let two processes lock two different files of one name.
    """
    name = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = name.open("a+", encoding="ascii")
    except OSError as error:
        raise StoreError(f"{name}: {error.strerror}: name a run folder that can be written") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise StoreError(
            f"{path}: this run is in use by process {holder}: wait for it, stop it or name another run folder"
        ) from None
    with suppress(OSError):  # a full disk: the lock holds all the same, without its owner's number
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), str(os.getpid()).encode())
    return file
