"""Checkers side by side: jobs in, futures out.

One dispatcher serves both kinds of pool. Each worker, a thread's own or a Ray actor, is fed by two threads
that pull batches from one queue, so that the next batch is there when a worker finishes one. Batches are
sized by time, not by count: about half a second, less when little is left, so that all finish together.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import psutil

from stp.errors import MachineryError, StpError, ToolchainError, WorkerError
from stp.settings import VerifySettings
from stp.store.cache import ResultCache, cache_key
from stp.types import CheckResult, Job
from stp.verify.lean import install, toolchain
from stp.verify.lean.toolchain import Toolchain
from stp.verify.lean.worker import LeanWorker

_BATCH_S = 0.5
_MAX_BATCH = 64
_FEEDERS = 2
_REVIVALS = 2
_EMBEDDED_MB, _SPARE_MB = 2800, 3500
_CACHE_ROWS = 256


class Host(Protocol):
    """Where one worker lives. Called from two threads, one batch at a time."""

    def check(self, jobs: Sequence[Job]) -> list[CheckResult]: ...
    def close(self) -> None: ...


class LocalHost:
    """A worker in this process."""

    def __init__(self, lean: Toolchain, memory_mb: int) -> None:
        self._one_at_a_time = threading.Lock()
        self._worker = LeanWorker(lean, memory_mb)

    def check(self, jobs: Sequence[Job]) -> list[CheckResult]:
        with self._one_at_a_time:
            return self._worker.check(jobs)

    def close(self) -> None:
        self._worker.close()


class RayHost:
    """A worker in a Ray actor; an actor that dies is made again and its batch repeated."""

    def __init__(self, lean: Toolchain, memory_mb: int) -> None:
        import ray

        remote: Any = ray.remote(num_cpus=1, max_restarts=0)(LeanWorker)
        self._make: Callable[[], Any] = lambda: remote.remote(lean, memory_mb)
        self._renewing = threading.Lock()
        self._closed = False
        self._actor: Any = self._make()

    def check(self, jobs: Sequence[Job]) -> list[CheckResult]:
        import ray

        for _ in range(_REVIVALS + 1):
            actor = self._actor
            try:
                results: list[CheckResult] = ray.get(actor.check.remote(list(jobs)))
                return results
            except ray.exceptions.RayActorError as error:
                last = error
                self._renew(actor)
            except ray.exceptions.RayTaskError as error:
                cause = error.cause
                raise (cause if isinstance(cause, StpError) else error) from None
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


class Pool:
    """A queue of jobs in front of some hosts. `close`, or leaving the `with`, ends all workers."""

    def __init__(self, hosts: Sequence[Callable[[], Host]], digest: str, cache: ResultCache | None) -> None:
        self.digest = digest
        self.workers = len(hosts)
        self._cache = cache
        self._queue: deque[tuple[Job, Future[CheckResult], float]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._failure: Exception | None = None
        self._mean_s = 0.05
        self._hosts: list[Host] = []
        self._threads = [threading.Thread(target=self._start, args=(make,), daemon=True) for make in hosts]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def ready(self) -> bool:
        """Has a worker started, and can the pool go on?"""
        return bool(self._hosts) and self._failure is None

    @property
    def failure(self) -> Exception | None:
        """Why the pool cannot go on, if it cannot."""
        return self._failure

    def submit(self, job: Job) -> Future[CheckResult]:
        """Queues a job; its future gets the result, or the error of a pool that cannot go on. Cancelling
        the future takes the job out, unless it has begun."""
        future: Future[CheckResult] = Future()
        found = self._cached([job])[0]
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

    def check(self, jobs: Iterable[Job]) -> Iterator[CheckResult]:
        """Results as they come, in any order. Takes jobs from the iterable only as fast as they are
        checked, a few seconds ahead."""
        pending: set[Future[CheckResult]] = set()
        ahead = 4 * _MAX_BATCH * max(1, self.workers)
        for job in jobs:
            pending.add(self.submit(job))
            if len(pending) >= ahead:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)

    def close(self) -> None:
        """Ends the workers; jobs still queued are cancelled."""
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
        others = [threading.Thread(target=self._feed, args=(host,), daemon=True) for _ in range(_FEEDERS - 1)]
        for thread in others:
            thread.start()
        self._feed(host)
        for thread in others:
            thread.join()

    def _feed(self, host: Host) -> None:
        while batch := self._next_batch():
            started = time.monotonic()
            jobs = [job for job, _, _ in batch]
            try:
                results = host.check(jobs)
            except Exception as error:
                if self._closing:
                    return
                for _, future, _ in batch:
                    future.set_exception(error)
                self._fail(error)
                return
            self._mean_s += 0.2 * (
                sum(r.times_ms.get("proof", 0) for r in results) / 1e3 / len(results) - self._mean_s
            )
            results = [
                replace(result, times_ms={**result.times_ms, "queue": 1e3 * (started - queued)})
                for result, (_, _, queued) in zip(results, batch, strict=True)
            ]
            self._remember(jobs, results)
            for (_, future, _), result in zip(batch, results, strict=True):
                future.set_result(result)

    def _next_batch(self) -> list[tuple[Job, Future[CheckResult], float]]:
        """Jobs that begin now, none of them cancelled; empty when the pool ends."""
        while True:
            with self._changed:
                while not self._queue and not self._closing and not self._failure:
                    self._changed.wait()
                if self._closing or self._failure:
                    return []
                share = -(-len(self._queue) // (_FEEDERS * max(1, self.workers)))
                size = max(1, min(share, int(_BATCH_S / max(self._mean_s, 1e-3)), _MAX_BATCH))
                taken = [self._queue.popleft() for _ in range(min(size, len(self._queue)))]
            if batch := [item for item in taken if item[1].set_running_or_notify_cancel()]:
                return batch

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._failure = self._failure or error
            queued, self._queue = list(self._queue), deque()
            self._changed.notify_all()
        for _, future, _ in queued:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)

    def _cached(self, jobs: Sequence[Job]) -> list[CheckResult | None]:
        if self._cache is None:
            return [None] * len(jobs)
        keys = [cache_key(self.digest, job) for job in jobs]
        found = self._cache.get_many(keys)
        return [
            replace(found[key], id=job.id) if key in found else None
            for key, job in zip(keys, jobs, strict=True)
        ]

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

        _start_ray()
        resources: dict[str, float] = ray.cluster_resources()
        return max(1, int(resources.get("CPU", 1)))
    free_mb = psutil.virtual_memory().available >> 20
    return max(1, min(os.cpu_count() or 1, (free_mb - _SPARE_MB) // _EMBEDDED_MB))


def open_pool(settings: VerifySettings, *, cache: Path | None = None) -> Pool:
    """A pool as the settings say; Ray is started on this machine, or joined where RAY_ADDRESS says.

    `cache` is the file of the result cache; None: no cache.

    Raises:
        ToolchainError: no Lean to use, or none in the sandbox that the settings require.
    """
    lean = toolchain.find(settings.toolchain)
    if settings.require_sandbox and not lean.sandbox:
        raise ToolchainError(
            f"verify.require_sandbox: the {lean.kind} Lean runs without one; install bubblewrap, or take "
            "--toolchain embedded"
        )
    if settings.pool == "ray":
        _start_ray()
    host = RayHost if settings.pool == "ray" else LocalHost
    hosts = [lambda: host(lean, settings.memory_mb)] * worker_count(settings)
    return Pool(hosts, lean.digest, ResultCache(cache) if cache else None)


def default_cache() -> Path:
    """The user's result cache, shared by all runs."""
    return install.cache_dir() / "checks.sqlite"


def _start_ray() -> None:
    import ray

    if ray.is_initialized():
        return
    logging.getLogger("ray").setLevel(logging.ERROR)
    local: dict[str, Any] = {"num_cpus": os.cpu_count(), "object_store_memory": 128 << 20}
    ray.init(
        address=os.environ.get("RAY_ADDRESS"),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        **({} if os.environ.get("RAY_ADDRESS") else local),
    )
