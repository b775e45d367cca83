"""Checkers side by side: jobs in, futures out.

One dispatcher serves both kinds of pool. Each worker, a thread's own or a Ray actor, is fed by two threads
that pull batches from one queue, so that the next batch is there when a worker finishes one. Batches are
sized by time, not by count: about half a second, less when little is left, so that all finish together. A
worker with nothing left to take gets the oldest batch that another has had for long, once: whichever answers
first counts.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from statistics import mean
from typing import Any, Protocol, Self

import psutil

from stp.cluster import answer_of, start_ray
from stp.errors import MachineryError, StpError, ToolchainError, WorkerError
from stp.files import cache_dir
from stp.settings import VerifySettings
from stp.store.cache import ResultCache, cache_key
from stp.types import CheckResult, Job, System, Verdict
from stp.verify.isabelle import toolchain as isabelle
from stp.verify.isabelle.toolchain import IsabelleToolchain
from stp.verify.isabelle.worker import IsabelleWorker
from stp.verify.lean import toolchain
from stp.verify.lean.toolchain import Toolchain
from stp.verify.lean.worker import LeanWorker

_BATCH_S = 0.5
#: A batch is late after so long.
_LATE_S = 5.0
_MAX_BATCH = 64
_FEEDERS = 2
_REVIVALS = 2
#: What one worker and all the rest of a run are reckoned to take.
WORKER_MB, SPARE_MB = 1500, 3500

Entry = tuple[Job, Future[CheckResult], float]
"""A job, what waits for its result, and when it was queued."""


#: What a worker is made of. Picklable.
AnyToolchain = Toolchain | IsabelleToolchain


class Host(Protocol):
    """Where one worker lives. Called from two threads, one batch at a time."""

    def check(self, jobs: Sequence[Job]) -> list[CheckResult]: ...
    def close(self) -> None: ...


class LocalHost:
    """A worker in this process."""

    def __init__(self, found: AnyToolchain, memory_mb: int) -> None:
        self._one_at_a_time = threading.Lock()
        self._worker: Host = _worker_class(found)(found, memory_mb)

    def check(self, jobs: Sequence[Job]) -> list[CheckResult]:
        with self._one_at_a_time:
            return self._worker.check(jobs)

    def close(self) -> None:
        self._worker.close()


class RayHost:
    """A worker in a Ray actor, of a class that has `check`; an actor that dies is made again and its batch
    repeated."""

    def __init__(self, worker: type[Any], *arguments: Any) -> None:
        import ray

        remote: Any = ray.remote(num_cpus=1, max_restarts=0)(worker)
        self._make: Callable[[], Any] = lambda: remote.remote(*arguments)
        self._renewing = threading.Lock()
        self._closed = False
        self._actor: Any = self._make()

    def check(self, jobs: Sequence[Job]) -> list[CheckResult]:
        import ray

        for _ in range(_REVIVALS + 1):
            actor = self._actor
            try:
                results: list[CheckResult] = answer_of(actor.check.remote(list(jobs)))
                return results
            except ray.exceptions.RayActorError as error:
                last = error
                self._renew(actor)
        raise WorkerError(f"a Ray worker died {_REVIVALS + 1} times on one batch: {last}")

    def close(self) -> None:
        import ray

        with self._renewing:
            self._closed = True
            ray.kill(self._actor)  # and its checker dies with it

    def _renew(self, dead: Any) -> None:
        with self._renewing:
            if self._closed:
                raise WorkerError("the pool is closed")
            if self._actor is dead:
                self._actor = self._make()


class NodeWorker:
    """A worker on whatever node its actor is on; the first batch's sender is told what is wrong there."""

    def __init__(self, found: AnyToolchain, memory_mb: int) -> None:
        self._worker: Host | None = None
        try:
            self._worker = _worker_class(found)(_same_here(found), memory_mb)
        except StpError as error:
            self._failure = error

    def check(self, jobs: Sequence[Job]) -> list[CheckResult]:
        """See `Host`."""
        if self._worker is None:
            raise self._failure
        return self._worker.check(jobs)


@dataclass(eq=False)
class _Batch:
    """Jobs that a host has, since when, and whether another has them too."""

    entries: list[Entry]
    host: Host
    since: float
    again: bool = False


class Checkers(ABC):
    """Takes jobs and gives futures. `close`, or leaving the `with`, ends all workers."""

    digest: str
    """Changes with anything that could change a verdict."""
    workers: int

    @abstractmethod
    def submit(self, job: Job) -> Future[CheckResult]:
        """Queues a job; its future gets the result, or the error of a pool that cannot go on. Cancelling
        the future takes the job out, unless it has begun."""

    @abstractmethod
    def close(self) -> None:
        """Ends the workers; jobs still queued are cancelled."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def check(self, jobs: Iterable[Job]) -> Iterator[CheckResult]:
        """Results as they come, in any order. Takes jobs from the iterable only as fast as they are
        checked, a few seconds ahead."""
        done: SimpleQueue[Future[CheckResult]] = SimpleQueue()
        pending, ahead = 0, 4 * _MAX_BATCH * max(1, self.workers)
        for job in jobs:
            self.submit(job).add_done_callback(done.put)
            pending += 1
            if pending >= ahead:
                yield done.get().result()
                pending -= 1
        for _ in range(pending):
            yield done.get().result()


class Systems(Checkers):
    """Pools of several systems: each job goes to that of its own."""

    def __init__(self, pools: Sequence[Pool]) -> None:
        self._pools = {pool.system: pool for pool in pools}
        self.digest = "+".join(pool.digest for pool in pools)
        self.workers = sum(pool.workers for pool in pools)

    def submit(self, job: Job) -> Future[CheckResult]:
        return self._pools[job.system].submit(job)

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()


class Pool(Checkers):
    """A queue of jobs in front of some hosts of one system."""

    def __init__(
        self,
        hosts: Sequence[Callable[[], Host]],
        digest: str,
        cache: ResultCache | None,
        system: System = System.LEAN,
    ) -> None:
        self.digest = digest
        self.system = system
        self.workers = len(hosts)
        self._cache = cache
        self._queue: deque[Entry] = deque()
        self._under_way: list[_Batch] = []
        self._changed = threading.Condition()
        self._closing = False
        self._failure: Exception | None = None
        self._mean_s = 0.05
        self._hosts: list[Host] = []
        self._threads = [threading.Thread(target=self._start, args=(make,), daemon=True) for make in hosts]
        for thread in self._threads:
            thread.start()

    @property
    def ready(self) -> bool:
        """Has a worker started, and can the pool go on?"""
        return bool(self._hosts) and self._failure is None

    @property
    def failure(self) -> Exception | None:
        """Why the pool cannot go on, if it cannot."""
        return self._failure

    def submit(self, job: Job) -> Future[CheckResult]:
        future: Future[CheckResult] = Future()
        if job.system != self.system:
            reason = f"a {job.system} job, but {self.system} checks here"
            future.set_result(CheckResult(job.id, Verdict.BAD_STATEMENT, reason))
            return future
        found = self._cached(job)
        if found is not None:
            future.set_result(found)
            return future
        with self._changed:
            if self._failure:
                future.set_exception(self._failure)
            elif self._closing:
                raise MachineryError("the pool is closed: no job can be submitted to it any more")
            else:
                self._queue.append((job, future, time.monotonic()))
                self._changed.notify()
        return future

    def close(self) -> None:
        with self._changed:
            self._closing = True
            queued, self._queue = list(self._queue), deque()
            self._changed.notify_all()
        for _, future, _ in queued:
            future.cancel()
        for host in list(self._hosts):
            host.close()
        for thread in self._threads:
            thread.join(timeout=30)

    def _start(self, make: Callable[[], Host]) -> None:
        """One host's life: made here, fed here and by a second thread."""
        try:
            host = make()
        except Exception as error:
            self._fail(error)
            return
        self._hosts.append(host)
        if self._closing:
            host.close()
            return
        others = [threading.Thread(target=self._feed, args=(host,), daemon=True) for _ in range(_FEEDERS - 1)]
        for thread in others:
            thread.start()
        self._feed(host)
        for thread in others:
            thread.join()

    def _feed(self, host: Host) -> None:
        while batch := self._next_batch(host):
            try:
                self._answer(batch, host)
            except Exception as error:
                for _, future, _ in batch.entries:
                    with suppress(InvalidStateError):
                        future.set_exception(error)
                if not self._closing:
                    self._fail(error)
                return

    def _answer(self, batch: _Batch, host: Host) -> None:
        jobs = [job for job, _, _ in batch.entries]
        try:
            results = host.check(jobs)
        finally:
            with self._changed:
                self._under_way.remove(batch)
        self._mean_s += 0.2 * (mean(result.elapsed_s for result in results) - self._mean_s)
        results = [
            replace(result, times_ms={**result.times_ms, "queue": 1e3 * (batch.since - queued)})
            for result, (_, _, queued) in zip(results, batch.entries, strict=True)
        ]
        for (_, future, _), result in zip(batch.entries, results, strict=True):
            with suppress(InvalidStateError):  # cancelled, or another worker was faster
                future.set_result(result)
        self._remember(jobs, results)  # last: nobody waits for the disk

    def _next_batch(self, host: Host) -> _Batch | None:
        with self._changed:
            while not self._closing and not self._failure:
                entries = self._take() or self._late(host)
                if entries:
                    batch = _Batch(entries, host, time.monotonic())
                    self._under_way.append(batch)
                    return batch
                self._changed.wait(_LATE_S)
            return None

    def _take(self) -> list[Entry]:
        """Jobs from the head of the queue, without those that nobody waits for any more."""
        share = -(-len(self._queue) // (_FEEDERS * max(1, self.workers)))
        size = max(1, min(share, int(_BATCH_S / max(self._mean_s, 1e-3)), _MAX_BATCH))
        entries: list[Entry] = []
        while self._queue and len(entries) < size:
            entry = self._queue.popleft()
            if entry[1].set_running_or_notify_cancel():
                entries.append(entry)
        return entries

    def _late(self, host: Host) -> list[Entry]:
        """What is open of a batch that another host has had for long, the first time it is asked for."""
        for batch in self._under_way:
            if batch.host is not host and not batch.again and time.monotonic() - batch.since > _LATE_S:
                batch.again = True
                return [entry for entry in batch.entries if not entry[1].done()]
        return []

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._failure = self._failure or error
            queued, self._queue = list(self._queue), deque()
            self._changed.notify_all()
        for _, future, _ in queued:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)

    def _cached(self, job: Job) -> CheckResult | None:
        if self._cache is None:
            return None
        key = cache_key(self.digest, job)
        found = self._cache.get_many([key]).get(key)
        return replace(found, id=job.id) if found else None

    def _remember(self, jobs: Sequence[Job], results: Sequence[CheckResult]) -> None:
        if self._cache is not None:
            self._cache.put_many(
                {cache_key(self.digest, job): result for job, result in zip(jobs, results, strict=True)}
            )


def worker_count(settings: VerifySettings) -> int:
    """Workers that cores and free memory allow, at least one; on a cluster, its cores."""
    if settings.workers:
        return settings.workers
    if settings.pool == "ray" and os.environ.get("RAY_ADDRESS"):
        import ray

        start_ray()
        resources: dict[str, float] = ray.cluster_resources()
        return int(resources["CPU"])
    free_mb = psutil.virtual_memory().available >> 20
    return max(1, min(os.cpu_count() or 1, (free_mb - SPARE_MB) // WORKER_MB))


def find_toolchain(settings: VerifySettings) -> AnyToolchain:
    """The prover that the settings say. Starts nothing.

    Raises:
        ToolchainError: there is none to use, or none in the sandbox that the settings require.
    """
    found: AnyToolchain
    if settings.system is System.ISABELLE:
        found = isabelle.find(settings.session, allow_tainted_heap=settings.allow_tainted_heap)
    else:
        found = toolchain.find(settings.toolchain, trusting=settings.trusting)
    if settings.require_sandbox and not found.sandbox:
        raise ToolchainError(
            f"verify.require_sandbox: {settings.system} ({found.kind}) runs without one; install bubblewrap "
            "or take the embedded Lean (verify.toolchain=embedded, --toolchain embedded)"
        )
    return found


def open_pool(settings: VerifySettings, *, cache: Path | None = None) -> Pool:
    """A pool as the settings say, for one system; Ray is started here, or joined where RAY_ADDRESS says.

    `cache` is the file of the result cache; None: no cache.

    Raises:
        ToolchainError: see `find_toolchain`.
    """
    found = find_toolchain(settings)
    if settings.pool == "ray":
        start_ray()

    def host() -> Host:
        if settings.pool == "ray":
            return RayHost(NodeWorker, found, settings.memory_mb)
        return LocalHost(found, settings.memory_mb)

    hosts = [host] * worker_count(settings)
    return Pool(hosts, found.digest, ResultCache(cache) if cache else None, settings.system)


def open_pools(settings: VerifySettings, systems: Sequence[System], *, cache: Path | None = None) -> Checkers:
    """A pool for each of the systems behind one door; they share the workers that the settings say.

    Raises:
        ToolchainError: see `find_toolchain`.
    """
    each = max(1, worker_count(settings) // len(systems))
    chosen = [settings.model_copy(update={"system": system, "workers": each}) for system in systems]
    for one in chosen:
        find_toolchain(one)  # before any of them has started
    pools = [open_pool(one, cache=cache) for one in chosen]
    return pools[0] if len(pools) == 1 else Systems(pools)


def _same_here(found: AnyToolchain) -> AnyToolchain:
    """That prover, as this node has it.

    Raises:
        ToolchainError: there is none here, or another version.
    """
    here: AnyToolchain
    if isinstance(found, IsabelleToolchain):
        # Its place is part of its digest; the environment that told it stays with the driver.
        here = isabelle.find(
            found.session, allow_tainted_heap=found.allow_tainted_heap, program=found.program
        )
    else:
        here = toolchain.find(found.kind, trusting=found.trusting)
    if here.digest != found.digest:
        raise ToolchainError(
            f"node {socket.gethostname()}: expected the {found.kind} prover and checker {found.digest}, "
            f"found {here.digest}: install the same STP there and, where Lean is native, run make lean; of "
            "Isabelle copy the session's heap too"
        )
    return here


def _worker_class(found: AnyToolchain) -> Callable[[Any, int], Any]:
    return IsabelleWorker if isinstance(found, IsabelleToolchain) else LeanWorker


def default_cache() -> Path:
    """The user's result cache, shared by all runs."""
    return cache_dir() / "checks.sqlite"
