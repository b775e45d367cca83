"""Which Isabelle checks the proofs: the one of ISABELLE_HOME, or the one on PATH."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import stp.syntax
from stp.errors import ToolchainError

#: The oldest release whose server, lexer and ML names this was written for.
OLDEST = 2023
_ANSWER_S = 120
_YEAR = re.compile(r"Isabelle(\d{4})")
_HEAP_DIGEST_BYTES = len("SHA1:") + 40


@dataclass(frozen=True, slots=True)
class IsabelleToolchain:
    """An Isabelle that can be started. Picklable: workers get it as it is."""

    program: Path
    """The command `isabelle`."""
    version: str
    home: Path
    """ISABELLE_HOME: the distribution, with the heaps that came with it."""
    user_home: Path
    """ISABELLE_HOME_USER of whoever runs this, with the heaps that they built."""
    project: Path
    """The folder `isabelle`, with `STP_Audit.thy`."""
    session: str
    allow_tainted_heap: bool
    digest: str
    """Changes with anything that could change a verdict: version, session and its heap, audit, options,
    settings, and the code that screens, asks and judges."""

    kind = "isabelle"

    @property
    def sandbox(self) -> str:
        """What keeps a submission from the machine, beside the screening that lets no ML through; ""
        where nothing does."""
        if shutil.which("bwrap"):
            return "bubblewrap: read-only root, private folder and processes; local network stays"
        return ""

    @property
    def options(self) -> list[str]:
        """The session's options, `name=value`."""
        lines = (self.project / "options").read_text(encoding="utf-8").splitlines()
        return [line for line in lines if line and not line.startswith("#")]


def project_dir() -> Path:
    """`isabelle`: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).parents[2]
    for folder in (package / "isabelle", package.parent / "isabelle"):
        if (folder / "STP_Audit.thy").is_file():
            return folder
    raise ToolchainError(
        f"expected isabelle/STP_Audit.thy in or beside {package}, found none: install it again"
    )


def find(
    session: str = "HOL", *, allow_tainted_heap: bool = False, program: Path | None = None
) -> IsabelleToolchain:
    """The Isabelle to use: that of ISABELLE_HOME or PATH, or the one whose command is `program`.

    Raises:
        ToolchainError: there is none, it is too old, it does not answer, or the session has no heap.
    """
    program = program or _program()
    version = _ask(program, "version")
    year = _YEAR.match(version)
    if year and int(year[1]) < OLDEST:
        raise ToolchainError(f"expected Isabelle{OLDEST} or later, found {version} at {program}")
    home, user_home = (Path(_ask(program, "getenv", "-b", f"ISABELLE_HOME{end}")) for end in ("", "_USER"))
    heaps = sorted(heap for folder in (home, user_home) for heap in folder.glob(f"heaps/*/{session}"))
    if not heaps:
        raise ToolchainError(
            f"{version} has no heap of session {session} in {home}/heaps or {user_home}/heaps; build it once "
            f"with: isabelle build -b {session}"
        )
    project = project_dir()
    texts = [(project / name).read_text(encoding="utf-8") for name in ("STP_Audit.thy", "options")]
    syntax = Path(stp.syntax.__file__).parent
    own = [*Path(__file__).parent.glob("*.py"), *syntax.glob("isabelle*.py")]
    texts += [path.read_text(encoding="utf-8") for path in sorted(own)]
    parts = (version, str(home), session, *map(_heap_digest, heaps), str(allow_tainted_heap), *texts)
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    return IsabelleToolchain(program, version, home, user_home, project, session, allow_tainted_heap, digest)


def _heap_digest(heap: Path) -> str:
    """What a session's heap says of its own content: `SHA1:` and 40 digits, the last bytes that Isabelle
    writes. A session that was built anew is another prover."""
    try:
        with heap.open("rb") as file:
            file.seek(-min(_HEAP_DIGEST_BYTES, heap.stat().st_size), os.SEEK_END)
            return file.read().hex()
    except OSError as error:
        raise ToolchainError(f"{heap}: expected a session's heap that can be read: {error}") from None


def isolated(command: list[str], toolchain: IsabelleToolchain, folder: Path, *, network: bool) -> list[str]:
    """The command under bubblewrap: it reads the file system, writes `folder` and a /tmp of its own, sees no
    other process and ends with its parent. The network of a server stays: its client is outside."""
    if not shutil.which("bwrap"):
        return command
    read = (toolchain.home, toolchain.user_home)  # also where they lie below /tmp
    bound = [part for path in read if path.is_dir() for part in ("--ro-bind", str(path), str(path))]
    return [
        "bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", *bound,
        "--bind", str(folder), str(folder), "--unshare-all", *(["--share-net"] if network else []),
        "--die-with-parent", *command,
    ]  # fmt: skip


def _program() -> Path:
    home = os.environ.get("ISABELLE_HOME")
    if home:
        program = Path(home) / "bin" / "isabelle"
        if not os.access(program, os.X_OK):
            raise ToolchainError(f"ISABELLE_HOME: expected the command {program}, found none")
        return program
    found = shutil.which("isabelle")
    if found is None:
        raise ToolchainError(
            "no Isabelle: `isabelle` is not on PATH and ISABELLE_HOME is not set; install it from "
            "https://isabelle.in.tum.de and see docs/isabelle.md"
        )
    return Path(found)


def _ask(program: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            [str(program), *arguments], capture_output=True, text=True, check=True, timeout=_ANSWER_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolchainError(f"{program} does not answer `isabelle {' '.join(arguments)}`: {error}") from None
    return done.stdout.strip()
