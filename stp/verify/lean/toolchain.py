"""Which Lean checks the proofs: the embedded one, or a native one with a built `lean_project`."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from stp.errors import ToolchainError, UsageError
from stp.syntax import lean_tokens
from stp.verify.lean import install, machine_code

#: Lean's own default, 8 MB, is overflown by `grind` on one library statement in fifty, which in
#: WebAssembly ends the process.
_STACK_KB = 65_536

#: What the embedded Lean's library holds.
_EMBEDDED_ROOTS = frozenset({"Init", "Std", "Lean", "Lake"})
#: Words that may stand ahead of a file's first command.
_BEFORE_COMMANDS = frozenset({"module", "prelude", "public", "meta", "import", "all"})

Kind = Literal["auto", "embedded", "native"]


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A Lean that can run the programs of `lean_project`. Picklable: workers get it as it is."""

    kind: Literal["embedded", "native"]
    project: Path
    """The folder `lean_project`, with `STP/Checker.lean`."""
    root: Path
    """The installed package (embedded) or the folder of the `lake` command (native)."""
    digest: str
    """Changes with anything that could change a verdict: Lean's version and the checker's text."""
    trusting: bool = False
    """May headers and specs run code of their own?"""

    @property
    def sandbox(self) -> str:
        """What keeps a submission's code from the machine; "" where nothing does."""
        if self.kind == "embedded":
            return "WebAssembly: two read-only folders, no network, no processes"
        return "bubblewrap: read-only root, no network, private /tmp" if shutil.which("bwrap") else ""

    def command(self, program: str) -> list[str]:
        """The command that runs `STP/PROGRAM.lean` with standard input and output."""
        if self.kind == "native":
            lean = [str(self.root / "lake"), "env", "lean", "--run", f"STP/{program}.lean"]
            return isolated(lean, self.project) if self.sandbox else lean
        return [
            *install.node_command(),
            *machine_code.NODE_FLAGS,
            str(Path(__file__).with_name("launcher.js")),
            *(str(self.root / name) for name in ("glue.js", "lean.wasm", "lib")),
            str(self.project),
            str(machine_code.file_in(self.root)),
            f"--tstack={_STACK_KB}",
            "--run",
            f"/project/STP/{program}.lean",
        ]


def isolated(command: list[str], project: Path) -> list[str]:
    """The command under bubblewrap: it reads everything but /tmp, and `project` there too; it writes nothing,
    sees no network and no other process, and ends with its parent."""
    return [
        "bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp",
        "--ro-bind", str(project), str(project),
        "--unshare-all", "--die-with-parent", "--new-session", *command,
    ]  # fmt: skip


def project_dir() -> Path:
    """`lean_project`: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parents[2]
    for folder in (package / "lean_project", package.parent / "lean_project"):
        if (folder / "STP" / "Checker.lean").is_file():
            return folder
    raise ToolchainError(
        f"expected lean_project/STP/Checker.lean in or beside {package}, found none: install it again"
    )


def find(kind: Kind = "auto", *, install_missing: bool = True, trusting: bool = False) -> Toolchain:
    """The Lean to use; `auto` takes a native one that is ready, or else the embedded one.

    Raises:
        ToolchainError: the one asked for is not ready, and why.
    """
    if trusting:
        found = find(kind, install_missing=install_missing)
        return replace(found, trusting=True, digest=f"{found.digest}-trusting")
    if kind in ("auto", "native"):
        reason = _native_missing()
        if reason is None:
            return _native()
        if kind == "native":
            raise ToolchainError(f"no native Lean to use: {reason}; run: make lean")
    if install_missing:
        install.install()
        found = _embedded()
        machine_code.keep(found.root, found.command("Checker"), found.project)
        return found
    if not install.is_installed():
        raise ToolchainError("the embedded Lean is not installed; run: stp toolchain install lean")
    return _embedded()


def require_library(name: str, headers: Iterable[str], kind: Kind) -> None:
    """Refuses what the Lean to use cannot read, before anything is sampled.

    Raises:
        UsageError: the headers import what the embedded Lean lacks.
        ToolchainError: see `find`.
    """
    missing = frozenset[str]().union(*map(roots, headers)) - _EMBEDDED_ROOTS
    if missing and find(kind).kind == "embedded":
        raise UsageError(
            f"{name}: imports {', '.join(sorted(missing))}, which the embedded Lean lacks: it needs a native "
            "Lean with that library (make lean); minif2f-core and lean-core need none"
        )


def roots(header: str) -> frozenset[str]:
    """The first parts of the modules that a header imports."""
    found: set[str] = set()
    importing = False
    for token in lean_tokens.tokens(header):
        if importing and token.text != "all" and token.kind is lean_tokens.Kind.NAME:
            found.add(token.text.partition(".")[0])
        elif token.text not in _BEFORE_COMMANDS:
            break
        importing = token.text in ("import", "all")
    return frozenset(found)


def _embedded() -> Toolchain:
    project = project_dir()
    folder = install.embedded_dir()
    return Toolchain("embedded", project, folder, _digest((folder.name, *_sources(project))))


def _native_missing() -> str | None:
    for name in ("lake", "lean"):
        if shutil.which(name) is None:
            return f"{name} is not on PATH"
    built = _built(project_dir()) / "STP" / "Checker.olean"
    return None if built.is_file() else f"{built} is missing"


def _built(project: Path) -> Path:
    return project / ".lake" / "build" / "lib" / "lean"


def _native() -> Toolchain:
    project = project_dir()
    lake = Path(shutil.which("lake") or "lake")
    try:
        version = subprocess.run(
            [str(lake), "env", "lean", "--version"],
            cwd=project, capture_output=True, text=True, check=True, timeout=120,
        ).stdout  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolchainError(f"native Lean does not answer `lean --version` in {project}: {error}") from None
    manifest = project / "lake-manifest.json"
    # An import of what is not built yet is a bad statement, until it is built.
    built = (_built(project) / "Slim.olean").is_file()
    parts = (version, manifest.read_text() if manifest.is_file() else "", str(built), *_sources(project))
    return Toolchain("native", project, lake.parent, _digest(parts))


def _sources(project: Path) -> tuple[str, ...]:
    here = Path(__file__).parent
    names = ("launcher.js", "throws.js", "worker.py")
    files = (project / "STP" / "Checker.lean", project / "Slim.lean", *(here / name for name in names))
    return tuple(file.read_text(encoding="utf-8") for file in files)


def _digest(parts: tuple[str, ...]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
