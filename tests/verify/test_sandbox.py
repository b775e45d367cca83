"""What keeps a submission's code from the machine, tried on real processes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from stp.errors import ToolchainError
from stp.settings import VerifySettings
from stp.verify import pool
from stp.verify.lean import toolchain

NATIVE = toolchain.Toolchain("native", Path("/project"), Path("/bin"), "digest")
needs_bwrap = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")


def isolated(*command: str, project: Path = Path("/usr")) -> str:
    """What the command prints in the sandbox."""
    wrapped = toolchain.isolated(list(command), project)
    return subprocess.run(wrapped, capture_output=True, text=True, timeout=30, check=False).stdout


@needs_bwrap
def test_the_sandbox_lets_nothing_out(tmp_path: Path) -> None:
    script = f"cat /etc/passwd >/dev/null && echo reads; touch {tmp_path}/x && echo writes; ls /tmp | wc -l; "
    script += "ls /proc"
    said = isolated("sh", "-c", script).split()
    assert said[0] == "reads"
    assert "writes" not in said
    assert said[1] == "0"  # another /tmp
    assert not (tmp_path / "x").exists()
    assert sum(word.isdigit() for word in said[2:]) <= 3  # of all processes, only its own


@needs_bwrap
def test_a_project_below_tmp_is_read_and_nothing_beside_it(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    for name in (project / "own", tmp_path / "other"):
        name.write_text(name.name)
    script = f"cat {project}/own {tmp_path}/other; touch {project}/x && echo writes"
    assert isolated("sh", "-c", script, project=project) == "own"
    assert not (project / "x").exists()


@needs_bwrap
def test_the_sandbox_has_no_network() -> None:
    interfaces = isolated("cat", "/proc/net/dev")
    assert [line.split(":")[0].strip() for line in interfaces.splitlines()[2:]] == ["lo"]


def test_a_native_lean_runs_in_bubblewrap_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert NATIVE.command("Checker")[0] == "bwrap"
    assert NATIVE.command("Checker")[-1] == "STP/Checker.lean"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert NATIVE.command("Checker")[0] == "/bin/lake"
    assert NATIVE.sandbox == ""


def test_a_lean_without_a_sandbox_is_refused_where_one_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(toolchain, "find", lambda kind, **_: NATIVE)
    with pytest.raises(ToolchainError, match="install bubblewrap"):
        pool.open_pool(VerifySettings(pool="local", require_sandbox=True))
