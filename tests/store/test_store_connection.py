"""Opening, locking, transactions and failures, on real files and with real processes."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_values import statement

from stp.errors import StoreError
from stp.store.rows import Tally, proof_key
from stp.store.schema import MIGRATIONS, migrate
from stp.store.store import Store
from stp.types import CheckResult, Verdict


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "stp.sqlite"


def _python(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_what_was_written_is_there_when_opened_again(path: Path) -> None:
    with Store(path) as store:
        store.add_statements([statement("a")], round=0)
    with Store(path) as store:
        assert store.statement("a") == statement("a")


def test_a_second_process_learns_who_holds_the_run(path: Path) -> None:
    code = (
        "import sys, stp.store.store as s; held = s.Store(sys.argv[1]);"
        "print('open', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    with pytest.raises(StoreError, match=f"in use by process {holder.pid}:"):
        Store(path)
    Store(path, read_only=True).close()
    holder.kill()
    holder.communicate()
    Store(path).close()


def test_a_closed_store_gives_its_lock_back(path: Path) -> None:
    store = Store(path)
    with pytest.raises(StoreError, match=str(os.getpid())):
        Store(path)
    store.close()
    store.close()
    Store(path).close()


def test_a_reader_sees_whole_transactions_only_and_cannot_write(path: Path) -> None:
    with Store(path) as writer, Store(path, read_only=True) as reader:
        with writer.atomic():
            writer.add_statements([statement("a")], round=0)
            assert reader.statements() == []
        assert reader.statements() == [statement("a")]
        with pytest.raises(StoreError, match="readonly"):
            reader.add_statements([statement("b")], round=0)


def test_killed_writers_leave_whole_batches(path: Path) -> None:
    code = """
import sys, itertools
sys.path.insert(0, sys.argv[2])
from store_values import statement
from stp.store.store import Store
store = Store(sys.argv[1])
for batch in itertools.count(store.meta("batches") or 0):
    with store.atomic():
        keys = [f"{batch}-{i}" for i in range(8)]
        store.add_statements(map(statement, keys), round=0)
        store.add_attempts(1, "attempt", [(key, f"by {n}", 2, 0) for key in keys for n in range(16)])
        store.set_meta("batches", batch + 1)
    print(batch, flush=True)
"""
    batches = 0
    for delay_s in (0.0, 0.013, 0.04):
        writer = _python(code, path, Path(__file__).parent)
        assert writer.stdout is not None
        said = int(writer.stdout.readline())
        time.sleep(delay_s)
        writer.send_signal(signal.SIGKILL)
        rest = writer.communicate()[0].split()
        said = int(rest[-1]) if rest else said
        with Store(path, read_only=True) as store:
            done = store.meta("batches")
            assert done > said >= batches, "a batch that was reported is lost"
            assert store._rows("SELECT COUNT(*) FROM statements") == [(done * 8,)]
            assert store._rows("SELECT COUNT(*), SUM(count) FROM attempts") == [(done * 128, done * 256)]
            assert store._rows("PRAGMA foreign_key_check") == []
        batches = done


def test_a_full_disk_is_one_clear_line_and_loses_only_the_batch(path: Path) -> None:
    with Store(path) as store:
        store.add_statements([statement("a")], round=0)
        ((pages,),) = store._rows("PRAGMA page_count")
        store._rows(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(StoreError, match="no space left: free some") as caught:
            store.add_statements((statement(str(i)) for i in range(10_000)), round=0)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert store.statements() == [statement("a")]
        store._rows("PRAGMA max_page_count = 1000000")
        assert store.add_statements([statement("b")], round=0) == 1


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("not a database, but long enough to be read as one\n" * 40)
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(StoreError, match="expected an stp store"):
            Store(path, read_only=read_only)
    assert path.read_bytes() == before


def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE recipes (name)")
    connection.close()
    with pytest.raises(StoreError, match="expected an stp store, found another program's"):
        Store(path)


def test_a_damaged_store_says_so(path: Path) -> None:
    with Store(path) as store:
        store.add_statements((statement(str(i)) for i in range(2_000)), round=0)
    content = bytearray(path.read_bytes())
    content[4096:] = bytes(byte ^ 0x5A for byte in content[4096:])
    path.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"), Store(path) as store:
        store.statements()


def test_a_newer_store_is_refused_by_version(path: Path) -> None:
    with Store(path) as store:
        store._rows(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(StoreError, match=f"expected store version {len(MIGRATIONS)}, found .*: update stp"):
        Store(path)
    assert (path.parent / "stp.sqlite.lock").exists()


def test_reading_what_is_not_there_creates_nothing(path: Path) -> None:
    with pytest.raises(StoreError, match="no store there"):
        Store(path, read_only=True)
    assert not path.exists()


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="name a run folder"):
        Store(tmp_path / "file" / "stp.sqlite")


def test_a_failed_migration_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    monkeypatch.setattr(
        "stp.store.schema.MIGRATIONS", ("CREATE TABLE one (a);", "CREATE TABLE two (a); nonsense;")
    )
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, 0)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("one",)]
    assert connection.execute("PRAGMA user_version").fetchall() == [(1,)]
    assert not connection.in_transaction


def test_a_store_of_the_first_version_keeps_what_it_has(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as then:
        then.setattr("stp.store.schema.MIGRATIONS", MIGRATIONS[:1])
        then.setattr("stp.store.connection.MIGRATIONS", MIGRATIONS[:1])
        with Store(path) as store:
            store.add_statements([statement("a")], 0, "train")
            store.add_attempts(1, "attempt", [("a", "by simp", 3, 9)])
            store.add_checks([(proof_key("a", "by simp"), CheckResult("", Verdict.REJECTED))])
    with pytest.raises(StoreError, match="open it for writing once to upgrade it"):
        Store(path, read_only=True)
    with Store(path) as store:
        assert store.pooled_rates(1, 1) == {"a": Tally(3, 0)}
        assert store.generated_tokens() == {1: 9}
        store.add_attempts(1, "complete", [("a", "by simp; omega", 1, 0)])
        store.add_checks([(proof_key("a", "by simp; omega"), CheckResult("", Verdict.PROVED))])
        assert store.pooled_rates(1, 1) == {"a": Tally(4, 1)}
        assert store.first_proved() == {"a": 1}
        assert [proof.text for proof in store.correct_proofs(1, 1)] == ["by simp; omega"]


def test_a_fault_of_ours_is_not_blamed_on_the_disk() -> None:
    with pytest.raises(sqlite3.IntegrityError):
        Store().add_attempts(1, "attempt", [("unknown", "by simp", 1, 0)])


#: A tree of blocks: each is a list of inner blocks, and whether it fails once they are done.
_BLOCKS = st.recursive(
    st.tuples(st.just(()), st.booleans()),
    lambda inner: st.tuples(st.lists(inner, max_size=3).map(tuple), st.booleans()),
    max_leaves=8,
)


@given(_BLOCKS)
def test_blocks_keep_what_no_failed_block_around_them_undoes(tree: tuple) -> None:  # type: ignore[type-arg]
    expected: set[str] = set()
    with Store() as store:

        def run(block: tuple, name: str, survives: bool) -> None:  # type: ignore[type-arg]
            inner, fails = block
            survives = survives and not fails
            try:
                with store.atomic():
                    store.set_meta(name, 1)
                    if survives:
                        expected.add(name)
                    for number, child in enumerate(inner):
                        run(child, f"{name}{number}", survives)
                    if fails:
                        raise ZeroDivisionError
            except ZeroDivisionError:
                assert fails

        run(tree, "m", True)
        assert {key for (key,) in store._rows("SELECT key FROM meta")} == expected
