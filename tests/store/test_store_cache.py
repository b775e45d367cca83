"""The cache of check results: what it keeps, what its key covers, and that it is never an error."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stp.store.cache import ResultCache, cache_key
from stp.types import CheckResult, Job, Limits, Message, Premise, System, Verdict

_JOB = Job("1", "open Nat", "theorem t : 1 = 1", "rfl", origin="Nat.rfl")
_RESULT = CheckResult(
    *("job", Verdict.PROVED, "why", (Message("warning", 1, 2, 3, 4, "message"),), ("propext",)),
    (Premise("a", "b", "c ≤ d"),),
    *(12, {"proof": 1.5}, "digest"),
)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ResultCache]:
    cache = ResultCache(tmp_path / "user" / "results.sqlite")
    yield cache
    cache.close()


def test_a_result_comes_back_whole_under_its_key(cache: ResultCache) -> None:
    cache.put_many({"k": _RESULT})
    assert cache.get_many(["k", "unknown"]) == {"k": replace(_RESULT, id="k")}


def test_only_repeatable_verdicts_are_kept(cache: ResultCache) -> None:
    results = {verdict.value: replace(_RESULT, verdict=verdict, heartbeats=9) for verdict in Verdict}
    results["stalled"] = replace(_RESULT, verdict=Verdict.TIMED_OUT, heartbeats=0)
    cache.put_many(results)
    lost = {Verdict.CRASHED.value, Verdict.OUT_OF_MEMORY.value, "stalled"}
    assert set(cache.get_many(list(results))) == results.keys() - lost


@pytest.mark.parametrize(
    "changed",
    [
        replace(_JOB, system=System.ISABELLE),
        replace(_JOB, header=""),
        replace(_JOB, statement="theorem u : 1 = 1"),
        replace(_JOB, proof="by simp"),
        replace(_JOB, origin=None),
        replace(_JOB, limits=Limits(heartbeats=1)),
        replace(_JOB, premises=True),
        replace(_JOB, header="", statement="open Natt" + _JOB.statement[1:]),
    ],
)
def test_what_decides_a_verdict_is_in_the_key(changed: Job) -> None:
    assert cache_key("d", changed) != cache_key("d", _JOB)
    assert cache_key("e", _JOB) != cache_key("d", _JOB)


def test_what_does_not_decide_a_verdict_is_not_in_the_key() -> None:
    assert cache_key("d", replace(_JOB, id="2", limits=Limits(wall_s=1, memory_mb=1))) == cache_key("d", _JOB)


def test_a_damaged_file_is_set_aside_when_opened(cache: ResultCache) -> None:
    cache.put_many({"k": _RESULT})
    cache.close()
    cache.path.write_bytes(b"this is no database at all\n" * 100)
    again = ResultCache(cache.path)
    assert again.get_many(["k"]) == {}
    again.put_many({"k": _RESULT})
    assert set(again.get_many(["k"])) == {"k"}
    assert cache.path.with_name("results.sqlite.damaged").read_bytes().startswith(b"this is no")
    again.close()


def test_damage_met_while_reading_is_set_aside_too(cache: ResultCache) -> None:
    cache.put_many({str(i): _RESULT for i in range(500)})
    cache.close()
    content = bytearray(cache.path.read_bytes())
    content[4096:] = bytes(byte ^ 0x5A for byte in content[4096:])
    cache.path.write_bytes(content)
    again = ResultCache(cache.path)
    assert again.get_many([str(i) for i in range(500)]) == {}
    again.put_many({"k": _RESULT})
    assert set(again.get_many(["k", "3"])) == {"k"}
    assert cache.path.with_name("results.sqlite.damaged").exists()
    again.close()


def test_an_unreadable_value_is_checked_again_and_replaced(cache: ResultCache) -> None:
    assert cache._db is not None
    cache.put_many({"k": _RESULT})
    cache._db.execute("UPDATE results SET value = '[1'")
    assert cache.get_many(["k"]) == {}
    cache.put_many({"k": _RESULT})
    assert set(cache.get_many(["k"])) == {"k"}


def test_a_cache_that_cannot_be_made_is_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = ResultCache(tmp_path / "file" / "results.sqlite")
    cache.put_many({"k": _RESULT})
    assert cache.get_many(["k"]) == {}


def test_processes_share_it(cache: ResultCache) -> None:
    code = """
import sys
from pathlib import Path
from stp.store.cache import ResultCache
from stp.types import CheckResult, Verdict
cache = ResultCache(Path(sys.argv[1]))
for i in range(100):
    cache.put_many({f"{sys.argv[2]}-{i}": CheckResult("x", Verdict.REJECTED)})
"""
    writers = [subprocess.Popen([sys.executable, "-c", code, cache.path, name]) for name in "pq"]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert len(cache.get_many([f"{name}-{i}" for name in "pq" for i in range(100)])) == 200


def test_the_oldest_results_make_room(cache: ResultCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stp.store.cache._MOST", 10)
    for i in range(25):
        cache.put_many({str(i): _RESULT})
    assert set(cache.get_many([str(i) for i in range(25)])) == {str(i) for i in range(15, 25)}
