"""Downloads of benchmarks from a real server: resumed, held against the digest, whole or not at all."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stp.datasets import registry
from stp.datasets.fetch import fetch
from stp.datasets.problems import read_problems
from stp.errors import MachineryError, UsageError
from stp.types import System

BODY = b'{"name": "a", "formal_statement": "theorem a : 1 = 1 := by"}\n' * 5000
DIGEST = hashlib.sha256(BODY).hexdigest()
ENTRY = registry.Entry("served", System.LEAN, "served.jsonl", "here", "ours", "Lean", download_sha256=DIGEST)


FILES = {
    "Test/late": "import Mathlib\n\nopen Nat\n\ntheorem late (n : ℕ) :\n  n = n := by sorry",
    "Valid/early": "import Mathlib\n\ntheorem early : 1 = 1 := by\n  sorry\n",
    "Notes": "import Mathlib\n",
}


def archive(files: dict[str, str] = FILES) -> bytes:
    """A repository as GitHub gives it: all below one folder."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(f"repository-commit/Problems/{name}.lean")
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return written.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Serves BODY, from where the client asks."""

    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.asked.append(wanted)
        body = {"/served": BODY, "/archive": archive()}.get(self.path)
        if body is None:
            self.send_error(404)
            return
        first = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if first >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body) - first))
        self.end_headers()
        self.wfile.write(body[first:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("STP_CACHE_DIR", str(tmp_path))
    Handler.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/served"
        server.shutdown()
        thread.join()


def test_a_download_goes_on_where_it_stopped_and_is_made_once(address: str) -> None:
    entry = replace(ENTRY, address=address)
    part = registry.cached(entry).with_name("served.jsonl.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(BODY[:1000])
    path, found = fetch(entry)
    assert (path.read_bytes(), found) == (BODY, DIGEST)
    assert Handler.asked == ["bytes=1000-"]
    assert fetch(entry) == (path, found)
    assert len(Handler.asked) == 1
    assert registry.find(entry) == path
    assert not part.exists()


def test_a_part_that_is_whole_already_is_not_loaded_again(address: str) -> None:
    entry = replace(ENTRY, address=address)
    part = registry.cached(entry).with_name("served.jsonl.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(BODY)
    assert fetch(entry)[1] == DIGEST


def test_another_file_than_the_pinned_one_is_not_kept(address: str) -> None:
    entry = replace(ENTRY, address=address, download_sha256="0" * 64)
    with pytest.raises(MachineryError, match="another file than the pinned one"):
        fetch(entry)
    assert [path for path in registry.cached(entry).parent.iterdir()] == []


def test_a_file_changed_after_the_download_is_told(address: str) -> None:
    entry = replace(ENTRY, address=address, download_sha256="")
    path, _ = fetch(entry)
    assert registry.problem_with(entry, path) is None
    path.write_bytes(BODY[:-1])
    assert "another version, or damaged" in str(registry.problem_with(entry, path))


def test_the_lean_files_of_an_archive_become_one_file(address: str) -> None:
    entry = replace(ENTRY, download_sha256="", members="Problems/*/*.lean")
    entry = replace(entry, address=address.replace("/served", "/archive"))
    path, found = fetch(entry)
    assert {kept.name for kept in path.parent.iterdir()} == {"served.jsonl", "served.jsonl.sha256"}
    assert registry.problem_with(entry, path) is None
    problems = read_problems(path, System.LEAN, "")
    assert [(p.name, p.split, p.text, p.hole) for p in problems] == [
        ("late", "test", "theorem late (n : ℕ) :\n  n = n", " := by"),
        ("early", "valid", "theorem early : 1 = 1", " := by"),
    ]
    assert problems[0].before == "import Mathlib\n\nopen Nat\n\n"
    assert fetch(entry) == (path, found)


def test_an_archive_that_is_none_or_of_something_else_is_not_kept(address: str) -> None:
    entry = replace(ENTRY, download_sha256="", members="Problems/*/*.lean", address=address)
    with pytest.raises(MachineryError, match="expected an archive of Lean files"):
        fetch(entry)
    assert [*registry.cached(entry).parent.iterdir()] == []
    entry = replace(entry, address=address.replace("/served", "/archive"), members="Elsewhere/*.lean")
    with pytest.raises(MachineryError, match="found none"):
        fetch(entry)
    assert not registry.cached(entry).exists()


def test_what_cannot_be_downloaded_is_one_line(address: str) -> None:
    with pytest.raises(MachineryError, match="run the same command again"):
        fetch(replace(ENTRY, address=address.replace("/served", "/nothing")))
    with pytest.raises(UsageError, match="STP_DATA_DIR"):
        fetch(replace(ENTRY, address=""))
