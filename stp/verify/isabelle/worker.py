"""One Isabelle server and what keeps it honest: clocks, restarts, memory, retries.

Invariants: each job is answered once, in order; jobs of one header share the theories of a batch; a job that
the audit did not speak for, for whatever reason, is run again, at last alone, and is then timed out or
crashed; nothing but the audit's line in the check theory says *proved*; what a pack does not prove is run as
if there had been none. `close` may come from another thread.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from stp.errors import ToolchainError, UsageError, WorkerError
from stp.syntax.isabelle_file import proof_in, split_spec
from stp.syntax.isabelle_screen import ALLOWED_IN_HEADER, Finding, screen
from stp.types import MAX_SOURCE_CHARS, CheckResult, Job, Verdict
from stp.verify.child import STARTS, DiedAtStartError
from stp.verify.isabelle import strict
from stp.verify.isabelle.client import DeadlineError, RefusedError, ServerDiedError
from stp.verify.isabelle.server import Server
from stp.verify.isabelle.session import Session
from stp.verify.isabelle.theories import (
    AUDIT,
    Header,
    Submission,
    TheoryBatch,
    make_header,
    nodes_of,
    prepare,
    probe,
    results,
    said,
    settled,
)
from stp.verify.isabelle.toolchain import IsabelleToolchain

#: Imports that are not in the heap are loaded with their header, once.
_HEADER_S = 600.0
_MAX_HEADERS = 32
_TOO_LONG: Finding = Verdict.REJECTED, f"the source is longer than {MAX_SOURCE_CHARS} characters"
#: Plain submissions to a theory at most: of 10 lemmas each, a real server went through theories fastest.
PACK = 10
#: Packs where more than this share of the latest jobs was proved: a job that a pack does not prove costs both
#: (docs/decisions/2026-11-25-packed-theories.md).
_PAYS = 0.5
_LATEST_JOBS = 16


class IsabelleWorker:
    """Owns one server with one session. Not for several threads at once; `close` ends the server.

    What runs in its event loop is a class of its own: Ray would take one with coroutines for an actor that
    runs in Ray's loop."""

    def __init__(self, toolchain: IsabelleToolchain, memory_mb: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._checker = _Checker(toolchain, memory_mb)
        self._loop.run_until_complete(self._checker.running())

    @property
    def pid(self) -> int | None:
        """Of the server, while there is one."""
        session = self._checker.session
        return session.server.pid if session else None

    @property
    def memory_mb(self) -> int:
        """Of the server and all that it started; 0 while there is none."""
        session = self._checker.session
        return session.server.memory_mb() if session else 0

    @property
    def restarts(self) -> int:
        """Servers after the first one."""
        return max(0, self._checker.starts - 1)

    def check(self, jobs: Sequence[Job]) -> list[CheckResult]:
        """Results in the order of the jobs; those that nothing could be said of were retried alone.

        Raises:
            ToolchainError: the server cannot be started again.
            WorkerError: the worker was closed.
        """
        return self._loop.run_until_complete(self._checker.check(jobs))

    def close(self) -> None:
        """Ends the server. May be called more than once."""
        self._checker.closed = True
        if session := self._checker.session:
            session.server.kill()
        if not self._loop.is_running() and not self._loop.is_closed():
            self._loop.run_until_complete(self._checker.drop())
            self._loop.close()


class _Checker:
    """The worker's state and its work, in its event loop."""

    def __init__(self, toolchain: IsabelleToolchain, memory_mb: int) -> None:
        self._toolchain = toolchain
        self._memory_mb = memory_mb
        self.session: Session | None = None
        self.starts = 0
        self.closed = False
        self._headers: dict[str, Header] = {}
        self._note = ""
        self._why = Verdict.CRASHED, ""
        """Why the last batch left a job without a result."""
        self._proved_share = 0.0
        """Of the latest jobs."""

    async def check(self, jobs: Sequence[Job]) -> list[CheckResult]:
        found: dict[int, CheckResult] = {}
        plain: dict[int, Job] = {}
        for i, job in enumerate(jobs):
            of_files = _of_files(job) if _size(job) <= MAX_SOURCE_CHARS else _TOO_LONG
            if isinstance(of_files, Job):
                plain[i] = of_files
            else:
                found[i] = CheckResult(job.id, *of_files, toolchain=self._toolchain.digest)
        for text in dict.fromkeys(job.header for job in plain.values()):
            found |= await self._check_on(text, {i: job for i, job in plain.items() if job.header == text})
        await self._confirm(plain, found)
        await self._recycle()
        return [found[index] for index in range(len(jobs))]

    async def _check_on(self, text: str, jobs: dict[int, Job]) -> dict[int, CheckResult]:
        """Results by index of jobs with one header: all in a batch, after one in packs where these pay, then
        those left that do not stand in the others' way, then each alone."""
        found: dict[int, CheckResult] = {}
        ready: dict[int, Submission] = {}
        header = await self._header_or_failure(text)
        for index, job in jobs.items():
            prepared = header if isinstance(header, tuple) else _prepare(job, header)
            if isinstance(prepared, Submission):
                ready[index] = prepared
            else:
                found[index] = CheckResult(job.id, *prepared, toolchain=self._toolchain.digest)
        left = dict(ready)
        if self._proved_share > _PAYS and len(packs := _packs(ready)) < len(ready):
            found |= (await self._run(text, packs))[0]
            left = {index: submission for index, submission in left.items() if index not in found}
        innocent, tries = list(left), 2 if len(left) == 1 else 1
        while len(left) > 1 and len(innocent) > 1:
            more, through = await self._run(text, [{index: left[index]} for index in innocent])
            found |= more
            left = {index: submission for index, submission in left.items() if index not in found}
            innocent = [index for index in through if index in left] if len(innocent) > len(through) else []
        for index, submission in left.items():
            for _ in range(tries):
                if index not in found:
                    found |= (await self._run(text, [{index: submission}]))[0]
            if index not in found:
                found[index] = CheckResult(submission.job.id, *self._why, toolchain=self._toolchain.digest)
        for index in ready:
            self._proved_share += (found[index].proved - self._proved_share) / _LATEST_JOBS
        return found

    async def _run(
        self, text: str, packs: Sequence[dict[int, Submission]]
    ) -> tuple[dict[int, CheckResult], list[int]]:
        """One batch through the server, a theory a pack: the results that it gave, and of which jobs the
        theory came to its end."""
        started = time.monotonic()
        submissions = {index: submission for pack in packs for index, submission in pack.items()}
        self._why = Verdict.CRASHED, "the server said nothing of this job"
        limit_s = max(submission.job.limits.wall_s for submission in submissions.values())
        late = Verdict.TIMED_OUT, f"no answer within {limit_s:g} s"
        answer: dict[str, Any] = {}
        names: list[str] = []
        try:
            batch = TheoryBatch(await self._header(text), [[*pack.values()] for pack in packs])
            names = batch.names
            session = await self.running()
            answer = await session.use(batch.theories(), [batch.check], limit_s)
            await session.purge(names)
        except DeadlineError:
            self._why = late
            await self._purge_or_drop(names)
            await self._drop_if_busy()
        except RefusedError as error:
            self._why = Verdict.CRASHED, f"the server failed: {error}"
            await self._purge_or_drop(names)
        except ServerDiedError as error:
            self._why = self._death(error)
            await self.drop()
        if not answer:
            return {}, []
        each_ms = 1e3 * (time.monotonic() - started) / len(submissions)
        nodes = nodes_of(answer)
        through = [
            index
            for name, pack in zip(batch.proofs, packs, strict=True)
            if settled(nodes.get(name), failures=True)
            for index in pack
        ]
        if len(through) < len(submissions):
            self._why = late
            await self._drop_if_busy()
        if any(name in nodes and not settled(nodes[name]) for name in (AUDIT, batch.header.name)):
            await self.drop()  # what every batch rests on was through once: this server is of no more use
        said_of = results(batch, answer, self._toolchain.digest, self._note)
        given = {
            index: replace(result, times_ms={"proof": each_ms})
            for index, result in zip(submissions, said_of, strict=True)
            if result is not None
        }
        return given, through

    async def _purge_or_drop(self, names: list[str]) -> None:
        try:
            await (await self.running()).purge(names)
        except (RefusedError, DeadlineError, ServerDiedError):
            await self.drop()

    async def _drop_if_busy(self) -> None:
        if self.session and await self.session.busy():
            await self.drop()

    async def _header_or_failure(self, text: str) -> Header | Finding:
        """The header, or the finding on all jobs with it; a server that died of it is tried once more."""
        failure: Finding = Verdict.CRASHED, ""
        for _ in range(2):
            try:
                header = await self._header(text)
            except DeadlineError:
                return Verdict.TIMED_OUT, f"the header does not load within {_HEADER_S:g} s"
            except ServerDiedError as error:
                failure = self._death(error)
                await self.drop()
            else:
                return (Verdict.BAD_STATEMENT, header.error) if header.error else header
        return failure

    async def _header(self, text: str) -> Header:
        """The theory of a header, loaded, with the commands known behind it, or with its error."""
        await self.running()
        if text not in self._headers:
            if len(self._headers) >= _MAX_HEADERS:
                await self.drop()
                await self.running()
            for _ in range(2):  # twice, since an error here is the verdict on all jobs with this header
                try:
                    header = make_header(text, self._toolchain.session)
                except UsageError as error:
                    return Header("", (), "", error=str(error))
                if refused := await self._refused(header):
                    return replace(header, error=refused)
                self._headers[text] = await self._load(await self.running(), header, heap=False)
                if not self._headers[text].error:
                    break
        return self._headers[text]

    async def _refused(self, header: Header) -> str:
        """What is wrong with a header's declarations, by the commands that its imports know."""
        if not header.declarations:
            return ""
        base = await self._header("imports " + " ".join(f'"{name}"' for name in header.imports))
        finding = screen(header.declarations, ALLOWED_IN_HEADER, base.commands)
        return base.error or (f"header: {finding[1]}" if finding else "")

    async def _load(self, session: Session, header: Header, *, heap: bool) -> Header:
        nonce = secrets.token_hex(16)
        name, text = probe(header, nonce, heap=heap)
        try:
            answer = await session.use({header.name: header.theory(), name: text}, [name], _HEADER_S)
        except RefusedError as error:
            return replace(header, error=f"header: {error}")
        nodes = nodes_of(answer)
        if not all(settled(nodes.get(one), failures=True) for one in (header.name, name)):
            raise DeadlineError("the header's theories were not gone through")
        lines = said(nodes.get(name), nonce) if settled(nodes.get(name)) else {}
        commands = frozenset(lines.get("commands", []))
        if not settled(nodes.get(header.name)) or not commands:
            errors = [str(error.get("message")) for error in answer.get("errors", [])]
            return replace(header, error="header: " + (errors[0] if errors else "it does not load"))
        if heap and lines.get("taint") != []:
            self._tainted(lines.get("taint", ["the heap was not examined"]))
        return replace(header, commands=commands)

    def _tainted(self, found: list[str]) -> None:
        if not self._toolchain.allow_tainted_heap:
            raise ToolchainError(
                f"the heap of session {self._toolchain.session} rests on oracles ({found[0]}): rebuild it, "
                "or set verify.allow_tainted_heap=true (proofs that need such a theorem stay refused)"
            )
        self._note = f"the heap rests on oracles ({found[0]})"

    async def running(self) -> Session:
        """The session, started where there is none."""
        if self.closed:
            raise WorkerError("the worker is closed")
        if self.session and self.session.server.alive:
            return self.session
        await self.drop()
        for _ in range(STARTS):
            try:
                return await self._start()
            except (DiedAtStartError, ServerDiedError, DeadlineError) as error:
                last = error
                await self.drop()
            except ToolchainError:
                await self.drop()
                raise
        raise ToolchainError(f"Isabelle does not start: {last}; run: stp doctor")

    async def _start(self) -> Session:
        session = self.session = Session(Server(self._toolchain))
        if self.closed:  # while it started
            session.server.kill()
        await session.start(self._toolchain)
        loaded = await self._load(session, make_header(""), heap=True)
        if loaded.error:
            raise ServerDiedError(
                f"the audit does not load in session {self._toolchain.session}: {loaded.error}"
            )
        self._headers[""] = loaded
        self.starts += 1
        return session

    async def drop(self) -> None:
        if self.session:
            await self.session.close()
        self.session = None
        self._headers.clear()

    async def _recycle(self) -> None:
        """Between two batches, replaces a server that has grown too large."""
        if self.session and self.session.server.memory_mb() > self._memory_mb:
            await self.drop()

    def _death(self, error: ServerDiedError) -> tuple[Verdict, str]:
        words = f"{error} {self.session.server.last_words() if self.session else ''}".strip()
        memory = "memory" in words.lower()
        return Verdict.OUT_OF_MEMORY if memory else Verdict.CRASHED, words

    async def _confirm(self, jobs: dict[int, Job], found: dict[int, CheckResult]) -> None:
        """Turns results of strict jobs that a fresh build does not confirm into denials: one build for all
        with one header, and one each where that does not confirm all."""
        proved = [i for i, job in jobs.items() if job.strict and found[i].proved]
        for text in dict.fromkeys(jobs[i].header for i in proved):
            group = [i for i in proved if jobs[i].header == text]
            said_of = await asyncio.to_thread(strict.confirm, self._toolchain, [jobs[i] for i in group])
            for i, (verdict, reason) in zip(group, said_of, strict=True):
                if verdict is not Verdict.PROVED:
                    found[i] = replace(found[i], verdict=verdict, reason=f"strict: {reason}")


def _size(job: Job) -> int:
    return len(job.header) + len(job.statement) + len(job.proof)


def _of_files(job: Job) -> Job | Finding:
    """A job of two whole files as one of a statement and its proof."""
    if not job.theorem:
        return job
    try:
        header, statement = split_spec(job.statement, job.theorem)
    except UsageError as error:
        return Verdict.BAD_STATEMENT, str(error)
    try:
        proof = proof_in(job.proof, header)
    except UsageError as error:
        return Verdict.REJECTED, str(error)
    return replace(job, header=header, statement=statement, proof=proof, theorem=None)


def _packs(ready: dict[int, Submission]) -> list[dict[int, Submission]]:
    """The plain submissions in packs of about the same size, the others each alone."""
    plain = [index for index, submission in ready.items() if submission.plain]
    count = -(-len(plain) // PACK)
    packs = [{index: ready[index].hidden() for index in plain[at::count]} for at in range(count)]
    return packs + [{index: submission} for index, submission in ready.items() if not submission.plain]


def _prepare(job: Job, header: Header) -> Submission | Finding:
    if job.origin:
        return Verdict.BAD_STATEMENT, "field 'origin': for Lean alone; leave it out for Isabelle"
    return prepare(job, header)
