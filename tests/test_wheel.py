"""The wheel carries all that the package needs: it works where there is no checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.programs

ROOT = Path(__file__).parents[1]
#: Folders beside the package in a checkout and inside it in a wheel.
CARRIED = ("lean_project", "data", "isabelle")
#: What git ignores: it must not decide whether the wheel is whole.
IGNORED = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "*.part", "*.tmp")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, so that neither old build folders nor new ones are in the way."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("stp", *CARRIED):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=IGNORED)
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist, so that what the sdist lacks is missing here too."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_every_file_of_the_package_and_of_the_folders_beside_it(
    source: Path, wheel: Path
) -> None:
    wanted = {f"stp/{path.relative_to(source / 'stp')}" for path in files(source / "stp")}
    for name in CARRIED:
        wanted |= {f"stp/{path.relative_to(source)}" for path in files(source / name)}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == wanted, "pyproject.toml, tool.setuptools: list new packages and kinds of files there"
    assert "stp/lean_project/STP/Checker.lean" in held
    assert "stp/verify/lean/launcher.js" in held
    assert "stp/presets/tiny.toml" in held


@pytest.mark.slow
@pytest.mark.lean
def test_an_installed_wheel_proves_a_theorem_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    python = home / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", str(wheel)]
    subprocess.run(install, check=True)
    # The other packages are this environment's own. A .pth inside a folder that a .pth names is not read:
    # an editable install of the checkout stays out of sight.
    site = next((home / "lib").glob("python*/site-packages"))
    (site / "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")

    def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip

    code = (
        "import stp; from stp.datasets.files import data_dir; from stp.settings import presets\n"
        "from stp.verify.lean.toolchain import project_dir\n"
        "print(stp.__file__, data_dir(), project_dir(), presets()['tiny'], sep='\\n')"
    )
    found = run(python, "-c", code)
    assert found.returncode == 0, found.stderr
    assert all(Path(line).is_relative_to(site) for line in found.stdout.split("\n")[:-1]), found.stdout

    statement = "theorem t (a b : Nat) : a + b = b + a"
    proved = run(home / "bin" / "stp", "verify", "--statement", statement, "--proof", "by omega")
    assert (proved.returncode, proved.stdout) == (0, "proved\n"), proved.stderr


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
