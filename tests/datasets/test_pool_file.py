"""Pools: a file of keys and its digest."""

from __future__ import annotations

from pathlib import Path

import pytest

from stp.datasets import pool_file
from stp.datasets.files import read_rows, write_rows
from stp.errors import UsageError


def test_a_digest_names_the_keys_and_not_their_order(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("k2\nk1\n\n")
    (tmp_path / "b").write_text("k1\nk2\nk2\n")
    a, b = pool_file.read(tmp_path / "a"), pool_file.read(tmp_path / "b")
    assert a == b == ["k1", "k2"]
    assert pool_file.digest(a) == pool_file.digest(b) != pool_file.digest(["k1"])


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe", None])
def test_an_empty_or_unreadable_pool_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "pool").write_bytes(content)
    with pytest.raises(UsageError, match=r"data\.pool") as caught:
        pool_file.read(tmp_path / "pool")
    assert "\n" not in str(caught.value)


def test_rows_come_back_whatever_stands_in_them(tmp_path: Path) -> None:
    rows = [{"text": f"a{mark}b"} for mark in ("\u2028", "\x85", "\x0c", "\n")]
    write_rows(tmp_path / "rows.jsonl.gz", rows)
    assert read_rows(tmp_path / "rows.jsonl.gz") == rows
