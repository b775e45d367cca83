"""The second opinion of `strict`: a fresh `isabelle build` of a job, in a sandbox without network.

Nothing of the server's state counts there: the session's heap is loaded, the theories are read, the audit
writes its line to a file in the build's own folder, and the build must succeed. ROOT and options are ours.
"""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

from stp.syntax.isabelle_screen import Finding
from stp.types import Job, Verdict
from stp.verify.child import bounded
from stp.verify.isabelle.server import kill_tree, make_folder, private_environment
from stp.verify.isabelle.session import INCLUDED
from stp.verify.isabelle.theories import (
    AUDIT,
    Submission,
    TheoryBatch,
    make_header,
    prepare,
    said_in,
    verdict,
)
from stp.verify.isabelle.toolchain import IsabelleToolchain, isolated

_START_S = 120.0
#: What a build's exit status says where its record says nothing: 1, a theory is wrong; 142, its time was
#: out. Any other is the machine's failure: killed, no space.
_ENDS = {0: Verdict.REJECTED, 1: Verdict.REJECTED, 142: Verdict.TIMED_OUT}


def confirm(toolchain: IsabelleToolchain, jobs: Sequence[Job]) -> list[Finding]:
    """What a fresh build says of jobs with one header, PROVED among it; all in one build, and each in its own
    where that does not prove all."""
    header = make_header(jobs[0].header, toolchain.session)
    prepared = [prepare(job, header) for job in jobs]
    ready = [[one] for one in prepared if isinstance(one, Submission)]
    together = _build(toolchain, TheoryBatch(header, ready)) if len(ready) == len(jobs) > 1 else []
    if together and all(verdict is Verdict.PROVED for verdict, _ in together):
        return together
    return [
        _build(toolchain, TheoryBatch(header, [[one]]))[0] if isinstance(one, Submission) else one
        for one in prepared
    ]


def root(session: str, parent: str, batch: TheoryBatch, timeout_s: float) -> str:
    """The ROOT of the build: only the theory that states the goal may use `sorry`."""
    sessions = " ".join(f'"{name}"' for name in INCLUDED)
    return (
        f"session {session} = {parent} +\n"
        f"  options [document = false, quick_and_dirty = false, timeout = {timeout_s:.0f}]\n"
        f"  sessions {sessions}\n"
        f"  theories {AUDIT} {batch.header.name}\n"
        f"  theories [quick_and_dirty] {batch.spec}\n"
        f"  theories {' '.join(batch.proofs)} {batch.check}\n"
    )


def _build(toolchain: IsabelleToolchain, batch: TheoryBatch) -> list[Finding]:
    folder, lock = make_folder()
    try:
        return _run(toolchain, batch, folder)
    finally:
        lock.close()
        shutil.rmtree(folder, ignore_errors=True)


def _run(toolchain: IsabelleToolchain, batch: TheoryBatch, folder: Path) -> list[Finding]:
    session = f"STP_{uuid.uuid4().hex}"
    record = folder / "verdict"
    wall_s = sum(submission.job.limits.wall_s for submission in batch.submissions)
    texts = {**batch.theories(str(record)), batch.header.name: batch.header.theory()}
    for name, text in texts.items():
        (folder / f"{name}.thy").write_text(text, encoding="utf-8")
    shutil.copy(toolchain.project / f"{AUDIT}.thy", folder)
    (folder / "ROOT").write_text(root(session, toolchain.session, batch, wall_s), encoding="utf-8")
    command = [str(toolchain.program), "build", "-d", str(folder), session]
    child = subprocess.Popen(
        isolated(command, toolchain, folder, network=False),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder,
        start_new_session=True, preexec_fn=bounded, env=private_environment(toolchain, folder / "home"),
    )  # fmt: skip
    try:
        output, _ = child.communicate(timeout=wall_s + _START_S)
    except subprocess.TimeoutExpired:
        late = Verdict.TIMED_OUT, f"the build took longer than {wall_s + _START_S:g} s"
        return [late] * len(batch.submissions)
    finally:
        kill_tree(child)
    why = f"the build ended with {child.returncode}: {output.strip()[-300:]}"
    ended = _ENDS.get(child.returncode, Verdict.CRASHED), why
    blocks = record.read_text(encoding="utf-8").split("\n\n") if record.is_file() else []
    lines = said_in(blocks, batch.nonce)
    found = [verdict(lines, str(i), "") or ended for i in range(len(batch.submissions))]
    return [ended if one[0] is Verdict.PROVED and child.returncode != 0 else one for one in found]
