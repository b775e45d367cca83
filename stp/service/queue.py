"""A fair queue in front of a pool.

Clients share the checkers by use, in seconds of checking (start-time fair queueing: Goyal, Vin and Cheng,
1996): each has a time of its own, which runs as fast as it uses them, and the next job is one of the client
whose time is earliest. Who comes back behind the others' time is given a little of what it left to them:
whoever asks for little waits little, whatever others have queued. The pool gets only what keeps its workers
busy for a moment; what waits here can be cancelled, and costs nobody anything.

Lives on one event loop. Jobs are handed to the pool by a thread, because the pool looks into its cache of
results first, on disk.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from heapq import heappop, heappush
from queue import SimpleQueue
from threading import Thread

from stp.errors import MachineryError
from stp.service.bounds import Bounds
from stp.service.metrics import Metrics
from stp.service.refusal import RefusedError, without_paths
from stp.types import VOID, CheckResult, Job, Verdict
from stp.verify.pool import Pool

_log = logging.getLogger(__name__)
#: What a client that came back may have had less than the others, at most: a slow request's worth, so that
#: one that asks for less than its share has all of it at once.
_CREDIT_S = 1.0
#: What is handed to a worker ahead: in seconds; in jobs at least (two batches of two) and at most.
_AHEAD_S, _AHEAD_LEAST, _AHEAD_MOST = 0.15, 4, 32
_SMOOTH = 0.1
#: From here on, what Lean says of an import that fails names the host's folders.
_FOLDERS = " in the search path"
#: Clients remembered; beyond, those with nothing in the queue are forgotten.
_CLIENTS = 10_000


@dataclass(eq=False, slots=True)
class _Ticket:
    job: Job
    client: _Client
    future: asyncio.Future[CheckResult]
    queued: float = field(default_factory=time.monotonic)
    left: float = 0.0
    """When it left the queue."""
    charged_s: float = 0.0
    cached: bool = False
    in_pool: Future[CheckResult] | None = None


@dataclass(eq=False, slots=True)
class _Client:
    time_s: float
    """The client's own time: see the module's text."""
    heap: list[tuple[int, int, _Ticket]] = field(default_factory=list)
    waiting: int = 0


class Dispatcher:
    """Owns no pool: who made it closes it. `close` ends the thread."""

    def __init__(self, pool: Pool, bounds: Bounds, metrics: Metrics) -> None:
        self.pool = pool
        self.waiting = 0
        self.mean_s = 0.05
        self._bounds = bounds
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._clients: dict[str, _Client] = {}
        self._time_s = 0.0
        """The own time of the client whose job was handed over last."""
        self._handed: set[_Ticket] = set()
        self._numbers = itertools.count()
        self._hand_over: SimpleQueue[_Ticket | None] = SimpleQueue()
        Thread(target=self._feed, daemon=True).start()

    def submit(
        self, jobs: Iterable[Job], client: str, priority: int = 0, *, bounded: bool = True
    ) -> list[asyncio.Future[CheckResult]]:
        """Queues all the jobs or none. A higher `priority` comes first among the client's own jobs. Who
        cancels a future takes its job back, unless it has begun.

        Raises:
            RefusedError: 429, there is no room for so many.
        """
        jobs = list(jobs)
        owner = self._clients.setdefault(client, _Client(self._time_s))
        if not owner.waiting:
            owner.time_s = max(owner.time_s, self._time_s - _CREDIT_S)
        if bounded and (
            self.waiting + len(jobs) > self._bounds.queued_jobs
            or owner.waiting + len(jobs) > self._bounds.queued_jobs_per_client
        ):
            wait_s = min(60.0, max(1.0, self.waiting * self.mean_s / max(1, self.pool.workers)))
            raise RefusedError(
                429, f"the queue is full ({self.waiting} jobs wait): try again in {wait_s:.0f} s", wait_s
            )
        tickets = [_Ticket(job, owner, self._loop.create_future()) for job in jobs]
        if len(self._clients) > _CLIENTS:
            self._clients = {name: c for name, c in self._clients.items() if c.waiting or c is owner}
        for ticket in tickets:
            heappush(owner.heap, (-priority, next(self._numbers), ticket))
            ticket.future.add_done_callback(lambda _, ticket=ticket: self._cancelled(ticket))  # type: ignore[misc]
        owner.waiting += len(tickets)
        self.waiting += len(tickets)
        self._pump()
        return [ticket.future for ticket in tickets]

    @property
    def running(self) -> int:
        """Jobs that the pool has."""
        return len(self._handed)

    def close(self) -> None:
        """Hands nothing more to the pool; what is unanswered is cancelled."""
        waiting = [ticket for client in self._clients.values() for _, _, ticket in client.heap]
        for ticket in (*waiting, *self._handed):
            ticket.future.cancel()
        self._hand_over.put(None)

    def _pump(self) -> None:
        ahead = min(_AHEAD_MOST, max(_AHEAD_LEAST, int(_AHEAD_S / max(self.mean_s, 1e-4))))
        while self.running < ahead * max(1, self.pool.workers) and (ticket := self._next()):
            self._handed.add(ticket)
            self._hand_over.put(ticket)

    def _next(self) -> _Ticket | None:
        """The next job of the client whose time is earliest, charged with what a job costs at the mean."""
        now = time.monotonic()
        while ready := [client for client in self._clients.values() if client.waiting]:
            client = min(ready, key=lambda client: client.time_s)
            ticket = heappop(client.heap)[2]
            if ticket.left:
                continue  # it was taken back
            self._leave(ticket, now)
            if not ticket.future.done():
                ticket.charged_s = self.mean_s
                self._time_s = max(self._time_s, client.time_s)
                client.time_s += ticket.charged_s
                return ticket
        return None

    def _leave(self, ticket: _Ticket, now: float) -> None:
        ticket.left = now
        ticket.client.waiting -= 1
        self.waiting -= 1
        if not ticket.client.waiting:
            ticket.client.heap.clear()  # of what was taken back

    def _cancelled(self, ticket: _Ticket) -> None:
        if not ticket.future.cancelled():
            return
        if not ticket.left:
            self._leave(ticket, time.monotonic())
        elif ticket.in_pool:
            ticket.in_pool.cancel()

    def _feed(self) -> None:
        while (ticket := self._hand_over.get()) is not None:
            future: Future[CheckResult] = Future()
            if ticket.future.cancelled():
                future.cancel()
            else:
                try:
                    future = self.pool.submit(ticket.job)
                except Exception as error:
                    future.set_exception(error)
            ticket.in_pool, ticket.cached = future, future.done()
            if ticket.future.cancelled():  # while it was handed over
                future.cancel()
            future.add_done_callback(lambda done, ticket=ticket: self._report(ticket, done))  # type: ignore[misc]

    def _report(self, ticket: _Ticket, done: Future[CheckResult]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._done, ticket, done)

    def _done(self, ticket: _Ticket, done: Future[CheckResult]) -> None:
        self._handed.discard(ticket)
        cost_s = 0.0
        if not done.cancelled() and not done.exception():
            result = done.result()
            if not ticket.cached:
                cost_s = result.elapsed_s
                self.mean_s += _SMOOTH * (cost_s - self.mean_s)
            in_pool_ms = 0.0 if ticket.cached else result.times_ms.get("queue", 0.0)
            queue_ms = 1e3 * (ticket.left - ticket.queued) + in_pool_ms
            result = replace(_public(result), times_ms={**result.times_ms, "queue": queue_ms})
            if not ticket.future.done():
                ticket.future.set_result(result)
            # Counted behind whoever waits for it.
            self._loop.call_soon(partial(self._metrics.checked, result, cached=ticket.cached))
        elif not ticket.future.done():
            error = None if done.cancelled() else done.exception()
            ticket.future.set_exception(error or MachineryError("the pool is closed"))
        ticket.client.time_s += cost_s - ticket.charged_s
        self._pump()


def _public(result: CheckResult) -> CheckResult:
    """A result that says nothing of the host: why a checker died goes to the log."""
    if result.verdict is Verdict.BAD_STATEMENT:
        said = tuple(replace(m, text=m.text.partition(_FOLDERS)[0]) for m in result.messages)
        return replace(result, messages=said)
    if result.verdict not in VOID:
        return result
    _log.warning("%s: %s", result.verdict.value, result.reason)
    return replace(result, reason=without_paths(result.reason))
