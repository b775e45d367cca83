"""Machine code that is kept: checkers start with it, refuse what is damaged, and do without."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from stp.doctor import _embedded
from stp.types import Job
from stp.verify.lean import machine_code, toolchain
from stp.verify.lean.toolchain import Toolchain
from stp.verify.lean.worker import LeanWorker

pytestmark = pytest.mark.lean

#: Whether the launcher's first function takes the code of an installed Lean.
_TAKEN = """
const fs = require('fs'), [launcher, ...parameters] = process.argv.slice(1);
let made = 0;
WebAssembly.Module = class { constructor() { made += 1; } };
const text = fs.readFileSync(launcher, 'utf8');
process.argv = ['', '', ...parameters];
const before = text.slice(0, text.indexOf('function keepCode'));
new Function('require', 'module', before + '; compiled()')(
  (name) => name.endsWith('throws.js') ? {} : require(name), {});
console.log(made ? 'compiled' : 'taken');
"""


def how_it_starts(lean: Toolchain) -> str:
    command = lean.command("Checker")
    at = next(i for i, part in enumerate(command) if part.endswith("launcher.js"))
    done = subprocess.run(
        [*command[:at], "-e", _TAKEN, *command[at:]], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def linked(tmp_path: Path) -> Toolchain:
    """The installed Lean in a folder of its own, without machine code."""
    lean = toolchain.find("embedded")
    folder = tmp_path / "lean"
    folder.mkdir()
    for path in lean.root.iterdir():
        if not path.name.startswith("code-"):
            (folder / path.name).symlink_to(path)
    return replace(lean, root=folder)


def test_checkers_start_with_the_code_that_is_kept(lean_pool: object) -> None:
    assert how_it_starts(toolchain.find("embedded")) == "taken"


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "a bit"])
def test_what_is_no_code_of_this_lean_is_not_run(tmp_path: Path, damage: str) -> None:
    lean = linked(tmp_path)
    whole = machine_code.file_in(toolchain.find("embedded").root).read_bytes()
    changed = {
        "empty": b"", "cut": whole[:-1],
        "a bit": whole[:30_000_000] + bytes([whole[30_000_000] ^ 1]) + whole[30_000_001:],
    }  # fmt: skip
    if damage in changed:
        machine_code.file_in(lean.root).write_bytes(changed[damage])
    assert how_it_starts(lean) == "compiled"


def test_code_of_another_v8_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lean = linked(tmp_path)
    whole = machine_code.file_in(toolchain.find("embedded").root)
    # One with another flag is another one.
    monkeypatch.setattr(machine_code, "NODE_FLAGS", (*machine_code.NODE_FLAGS, "--no-wasm-inlining"))
    shutil.copy(whole, machine_code.file_in(lean.root))
    assert how_it_starts(lean) == "compiled"


def test_without_code_a_checker_works_and_one_that_keeps_it_ends(tmp_path: Path) -> None:
    lean = linked(tmp_path)
    worker = LeanWorker(lean, 4096)
    [result] = worker.check([Job("job", "", "theorem foo : True", "trivial")])
    worker.close()
    assert result.proved
    machine_code.keep(lean.root, lean.command("Checker"), lean.project)
    assert how_it_starts(lean) == "taken"
    assert {path.suffix for path in lean.root.glob("code-*")} == {".bin", ".lock"}


def test_a_checker_that_dies_leaves_a_mark_and_is_not_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dies = [sys.executable, "-c", "print('STP1 ready'); print('STP1 reply')"]
    with caplog.at_level(logging.WARNING):
        machine_code.keep(tmp_path, dies, tmp_path)
        machine_code.keep(tmp_path, dies, tmp_path)
    [record] = caplog.records
    assert "checkers start slower: the checker ended after 1 of 300 proofs; to try again" in record.message
    assert machine_code.file_in(tmp_path).read_bytes() == b""


def test_no_room_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        machine_code.keep(tmp_path / "missing", ["true"], tmp_path)
    assert "No such file" in caplog.text


def test_the_doctor_says_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stp.verify.lean.install.embedded_dir", lambda: tmp_path)
    (tmp_path / "installed.json").touch()
    assert _embedded().state == "ok"
    machine_code.file_in(tmp_path).touch()
    found = _embedded()
    assert found.state == "note"
    assert "checkers start slower: to try again delete" in found.text


def test_a_checker_that_is_left_at_work_does_not_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(machine_code, "tqdm", stopped)
    before = psutil.Process().children()
    with pytest.raises(KeyboardInterrupt):
        machine_code.keep(tmp_path, ["sleep", "100"], tmp_path)
    assert psutil.Process().children() == before
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
