"""One checker process and what keeps it honest: clocks, restarts, memory, retries.

Invariants: jobs are answered in order, each exactly once; a reply counts only for the job at the head of
the pipe, by a number that no other request has; whatever kills the checker costs only that job, the ones
behind it are sent again; nothing but a framed reply says *proved*.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from stp.errors import WorkerError
from stp.types import MAX_SOURCE_CHARS, CheckResult, Job, Limits, Message, Premise, Verdict
from stp.verify.child import STARTS, DiedAtStartError
from stp.verify.lean.process import LeanProcess, ProcessDiedError, ReplyTimeoutError
from stp.verify.lean.toolchain import Toolchain

#: Jobs in the checker's pipe: the next one is there when a reply leaves.
_IN_PIPE = 4
#: How often a checker's memory is looked at: a look costs a millisecond or two.
_LOOK_S = 1.0
_MAX_DEPTH = 300
#: Tactics that search the library; Lean keeps trees of it for them.
_SEARCHES = ("exact?", "apply?", "rw?", "try?")
#: What Lean says before it gives up on numbers that are too large, for good.
_PANIC = "INTERNAL PANIC"
_OPEN, _CLOSE = frozenset("([{⟨⟦⌊"), frozenset(")]}⟩⟧⌋")


class LeanWorker:
    """Owns one checker process. Not for several threads at once, but for `close`, which ends the process."""

    def __init__(self, toolchain: Toolchain, memory_mb: int) -> None:
        self._toolchain = toolchain
        self._memory_mb = memory_mb
        self._closed = False
        self._newest: LeanProcess | None = None
        """The one that was begun last, which may not be ready yet."""
        self._process: LeanProcess | None = self._start()
        self._second: LeanProcess | None = None
        self._numbers = count()
        """Of requests: two jobs may have the same id."""
        self.restarts, self.restarting_s = 0, 0.0
        self._looked = 0.0

    @property
    def pid(self) -> int | None:
        """Of the checker, while there is one."""
        return self._process.pid if self._process else None

    def check(self, jobs: Sequence[Job]) -> list[CheckResult]:
        """Results in the order of the jobs; crashed, out-of-memory and stalled ones were retried alone.

        Raises:
            ToolchainError: the checker cannot be started again.
            WorkerError: the worker was closed.
        """
        results = self._run(jobs)
        for index, (job, result) in enumerate(zip(jobs, results, strict=True)):
            if _deserves_retry(result):
                results[index] = _also_took(self._run([job])[0], result)
        return results

    def close(self) -> None:
        """Ends the checker, or both, and one that is being started. May be called more than once."""
        self._closed = True
        if self._newest:
            self._newest.kill()
        self._drop()
        self._drop_second()

    def _run(self, jobs: Sequence[Job]) -> list[CheckResult]:
        results: list[CheckResult | None] = [refuse(job) for job in jobs]
        waiting = deque(index for index, result in enumerate(results) if result is None)
        piped: deque[tuple[int, str]] = deque()
        while waiting or piped:
            process = self._running()
            began = time.monotonic()
            try:
                while waiting and len(piped) < _IN_PIPE:
                    number = self._ask(process, jobs[waiting[0]])
                    piped.append((waiting.popleft(), number))
                index, number = piped[0]
                head = jobs[index]
                reply = _reply(process, number, head.limits)
                result = self._result(head, reply)
                if head.strict and result.proved:
                    result = self._confirm(head, reply.get("exported"), result)
                results[index] = result
                piped.popleft()
            except (ReplyTimeoutError, ProcessDiedError) as error:
                if piped:  # else the pipe broke before anything was in it
                    head_index, _ = piped.popleft()
                    spent = {"statement": 0.0, "proof": 1e3 * (time.monotonic() - began), "kernel": 0.0}
                    failure = self._failure(jobs[head_index], error)
                    results[head_index] = replace(failure, times_ms=spent)
                waiting.extendleft(index for index, _ in reversed(piped))
                piped.clear()
                self._drop()
            except BaseException:  # what is in the pipes is nobody's any more
                self._drop()
                self._drop_second()
                raise
        self._recycle()
        return [result for result in results if result is not None]

    def _ask(self, process: LeanProcess, job: Job, **instead: object) -> str:
        """Sends a job; gives the number that the reply to it must have."""
        number = str(next(self._numbers))
        process.send({"id": number, **_request(job), **instead})
        return number

    def _running(self) -> LeanProcess:
        if self._process is None:
            began = time.monotonic()
            self._process = self._start()
            self.restarts += 1
            self.restarting_s += time.monotonic() - began
        return self._process

    def _start(self) -> LeanProcess:
        """A new checker; one that is killed while it starts is started again."""
        for _ in range(STARTS):
            if self._closed:
                break
            try:
                return LeanProcess(self._toolchain, "Checker", self._begin)
            except DiedAtStartError as error:
                last = error
        raise WorkerError("the worker was closed") if self._closed else last

    def _begin(self, process: LeanProcess) -> None:
        self._newest = process
        if self._closed:
            process.kill()

    def _drop(self) -> None:
        process, self._process = self._process, None
        if process:
            process.kill()

    def _confirm(self, job: Job, exported: Any, result: CheckResult) -> CheckResult:
        """The result if a second process accepts what the first one's kernel did: declarations as data,
        against the statement, which it elaborates itself. No submission ever reaches that process."""
        try:
            if self._second is None:
                self._second = self._start()
            number = self._ask(self._second, job, proof="", exported=exported)
            second = self._result(job, _reply(self._second, number, job.limits))
        except (ReplyTimeoutError, ProcessDiedError) as error:
            self._drop_second()
            return _also_took(self._failure(job, error), result)
        if second.proved and second.axioms == result.axioms:
            return _also_took(result, second)
        reason = "the axioms differ" if second.proved else second.reason
        verdict = Verdict.CHEATED if second.proved else second.verdict
        return _also_took(replace(second, verdict=verdict, reason=f"strict: {reason}"), result)

    def _drop_second(self) -> None:
        process, self._second = self._second, None
        if process:
            process.kill()

    def _recycle(self) -> None:
        """Between two batches, replaces checkers that have grown too large."""
        if (now := time.monotonic()) - self._looked < _LOOK_S:
            return
        self._looked = now
        for process, drop in ((self._process, self._drop), (self._second, self._drop_second)):
            if process and process.memory_mb() > self._memory_mb:
                drop()

    def _failure(self, job: Job, error: Exception) -> CheckResult:
        if isinstance(error, ReplyTimeoutError):
            verdict, reason = Verdict.TIMED_OUT, f"no answer within {job.limits.wall_s:g} s"
        elif "memory" in str(error).lower():
            verdict, reason = Verdict.OUT_OF_MEMORY, str(error)
        else:
            verdict, reason = Verdict.CRASHED, str(error)
        return CheckResult(job.id, verdict, reason, toolchain=self._toolchain.digest)

    def _result(self, job: Job, reply: dict[str, Any]) -> CheckResult:
        try:
            statement_ns, proof_ns, kernel_ns = reply["ns"]
            return CheckResult(
                id=job.id,
                verdict=Verdict(reply["verdict"]),
                reason=reply["reason"],
                messages=tuple(Message(*message) for message in reply["messages"]),
                axioms=tuple(reply["axioms"]),
                premises=tuple(Premise(*premise) for premise in reply["premises"]),
                heartbeats=int(reply["heartbeats"]),
                times_ms={
                    "statement": statement_ns / 1e6,
                    "proof": proof_ns / 1e6,
                    "kernel": kernel_ns / 1e6,
                },
                toolchain=self._toolchain.digest,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ProcessDiedError(f"a malformed reply: {error!r}") from None


def _reply(process: LeanProcess, number: str, limits: Limits) -> dict[str, Any]:
    """The next reply, which must be to the request of that number; another one's means that the process
    cannot be trusted. While it is not there, the process's memory is looked at."""
    deadline = time.monotonic() + limits.wall_s
    while True:
        try:
            reply: dict[str, Any] = process.receive(min(deadline, time.monotonic() + _LOOK_S))
            break
        except ReplyTimeoutError:
            if time.monotonic() >= deadline:
                raise
            if (found := process.memory_mb()) > limits.memory_mb:
                allowed = limits.memory_mb
                raise ProcessDiedError(f"out of memory: {found} MB, allowed {allowed} MB") from None
    if not isinstance(reply, dict):
        raise ProcessDiedError(f"a reply that is no object: {str(reply)[:80]}")
    if reply.get("id") != number:
        raise ProcessDiedError(f"a reply to {reply.get('id')!r} where {number!r} was due")
    return reply


def refuse(job: Job) -> CheckResult | None:
    """The verdict on what is not worth sending: it cannot be a proof, or would only end the checker."""
    text = f"{job.header}\n{job.statement} := {job.proof}"
    if len(text) > MAX_SOURCE_CHARS:
        reason = f"the source is longer than {MAX_SOURCE_CHARS} characters"
    elif "\0" in text or not _is_unicode(text):
        reason = "the source is not valid Unicode text"
    elif _depth(text) > _MAX_DEPTH:
        reason = f"brackets nest deeper than {_MAX_DEPTH}"
    else:
        return None
    return CheckResult(job.id, Verdict.REJECTED, reason)


def _also_took(result: CheckResult, other: CheckResult) -> CheckResult:
    """The result with the time that another check of the same job took on top."""
    times = Counter(result.times_ms)
    times.update(other.times_ms)
    return replace(result, times_ms=dict(times))


def _deserves_retry(result: CheckResult) -> bool:
    """What another machine, or this one in another hour, may decide otherwise."""
    return not result.repeatable and _PANIC not in result.reason


def _request(job: Job) -> dict[str, object]:
    request: dict[str, object] = {
        "header": job.header,
        "statement": job.statement,
        "proof": job.proof,
        "heartbeats": job.limits.heartbeats,
        "premises": job.premises,
        "export": job.strict,
        # A proof that asks the kernel itself would be elaborated twice.
        "quick": "kernel" not in job.proof,
        "searches": any(word in f"{job.header}{job.statement}{job.proof}" for word in _SEARCHES),
    }
    if job.origin:
        request["origin"] = job.origin
    if job.theorem:
        request["theorem"] = job.theorem
    return request


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _depth(text: str) -> int:
    """How deep brackets nest, words and comments included: an upper bound is enough here."""
    if (most := sum(map(text.count, _OPEN))) <= _MAX_DEPTH:
        return most
    depth = deepest = 0
    for char in text:
        if char in _OPEN:
            depth += 1
            deepest = max(deepest, depth)
        elif char in _CLOSE:
            depth = max(0, depth - 1)
    return deepest
