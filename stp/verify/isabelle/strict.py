"""The second opinion of `strict`: a fresh `isabelle build` of a job, in a sandbox without network.

Nothing of the server's state counts there: the session's heap is loaded, the theories are read, the audit
writes its line to a file in the build's own folder, and the build must succeed. ROOT and options are ours.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from dataclasses import replace
from pathlib import Path

from stp.types import CheckResult, Job, Verdict
from stp.verify.isabelle.server import bounded, private_environment
from stp.verify.isabelle.theories import AUDIT, Batch, Submission, make_header, prepare
from stp.verify.isabelle.toolchain import IsabelleToolchain, isolated

_START_S = 120.0


def confirm(toolchain: IsabelleToolchain, job: Job, result: CheckResult) -> CheckResult:
    """The result, which says proved, if a fresh build says the same; or else why not."""
    header = make_header(job.header)
    prepared = prepare(job, header)
    if not isinstance(prepared, Submission):
        return replace(result, verdict=prepared[0], reason=f"strict: {prepared[1]}")
    folder = Path(tempfile.mkdtemp(prefix="stp-isabelle-build-"))
    try:
        verdict, reason = _build(toolchain, Batch(header, [prepared]), folder, job.limits.wall_s)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if verdict is Verdict.PROVED:
        return result
    return replace(result, verdict=verdict, reason=f"strict: {reason}")


def root(session: str, parent: str, batch: Batch, timeout_s: float) -> str:
    """The ROOT of the build: only the theory that states the goal may use `sorry`."""
    proofs = " ".join(batch.proof(i) for i in range(len(batch.submissions)))
    return (
        f"session {session} = {parent} +\n"
        f"  options [document = false, quick_and_dirty = false, timeout = {timeout_s:.0f}]\n"
        '  sessions "HOL-Library" "HOL-Computational_Algebra" "HOL-Number_Theory"\n'
        f"  theories {AUDIT} {batch.header.name}\n"
        f"  theories [quick_and_dirty] {batch.spec}\n"
        f"  theories {proofs} {batch.check}\n"
    )


def _build(toolchain: IsabelleToolchain, batch: Batch, folder: Path, wall_s: float) -> tuple[Verdict, str]:
    session = f"STP_{uuid.uuid4().hex}"
    record = folder / "verdict"
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
        return Verdict.TIMED_OUT, f"the build took longer than {wall_s + _START_S:g} s"
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    line = record.read_text(encoding="utf-8").strip() if record.is_file() else ""
    if child.returncode == 0 and line == f"STP {batch.nonce} 0 proved":
        return Verdict.PROVED, ""
    if line.startswith(f"STP {batch.nonce} 0 refused"):
        return Verdict.CHEATED, "; ".join(line.split("\n")[1:])
    return Verdict.REJECTED, f"the build ended with {child.returncode}: {output.strip()[-300:]}"
