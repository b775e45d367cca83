"""Which prover checks which system's jobs: the one place that knows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from stp.service.bounds import Bounds
from stp.service.keys import Client
from stp.service.metrics import Metrics
from stp.service.queue import Dispatcher
from stp.service.refusal import RefusedError, without_paths
from stp.settings import VerifySettings
from stp.types import CheckResult, Job, System
from stp.verify.lean.toolchain import Kind
from stp.verify.pool import Pool, default_cache, open_pool

_log = logging.getLogger(__name__)


@contextmanager
def opening(settings: VerifySettings) -> Iterator[dict[System, Future[Pool]]]:
    """Begins to open a pool for each system, which trusts no header, and goes on at once. Its threads stay
    until it is left: what Ray starts ends with the thread that started it."""
    each = [settings.model_copy(update={"system": system, "trusting": False}) for system in System]
    with ThreadPoolExecutor(len(System)) as threads:
        yield {one.system: threads.submit(open_pool, one, cache=default_cache()) for one in each}


class Provers:
    """The provers of this service: one is there when its pool is."""

    def __init__(self, bounds: Bounds, metrics: Metrics, toolchain: Kind) -> None:
        self.toolchain = toolchain
        """Which Lean it is that checks."""
        self._bounds = bounds
        self._metrics = metrics
        self._by_system: dict[System, Dispatcher] = {}
        self.settled = asyncio.Event()
        """It is known which provers there are."""
        self._absent = {system: f"{system.value} is starting" for system in System}

    async def start(self, pools: Mapping[System, Future[Pool]]) -> None:
        """Waits for the pools; why one cannot be opened is what its clients are told."""
        for system, future in pools.items():
            try:
                pool = await asyncio.wrap_future(future)
            except Exception as error:
                _log.log(logging.ERROR if system is System.LEAN else logging.INFO, "%s", error)
                self._absent[system] = without_paths(str(error))
            else:
                self.add(system, pool)
        self.settled.set()

    def add(self, system: System, pool: Pool) -> None:
        """Serves a system's jobs by a pool, which `close` closes."""
        self._by_system[system] = Dispatcher(pool, self._bounds, self._metrics)

    def of(self, system: System) -> Dispatcher:
        """The queue in front of a system's pool.

        Raises:
            RefusedError: 503, there is none, and why.
        """
        if system not in self._by_system:
            soon = not self.settled.is_set()
            raise RefusedError(503, f"{system.value}: {self._absent[system]}", 5.0 if soon else None)
        dispatcher = self._by_system[system]
        if failure := dispatcher.pool.failure:
            raise RefusedError(503, f"{system.value}: {without_paths(str(failure))}")
        return dispatcher

    def submit(
        self, jobs: Sequence[Job], client: Client, priority: int = 0
    ) -> list[asyncio.Future[CheckResult]]:
        """Queues a client's jobs, each with its system's prover: all or none. See `Dispatcher.submit`.

        Raises:
            RefusedError: a prover is absent, the client's quota is used up, or there is no room for so many.
        """
        by_system: dict[System, list[int]] = {}
        for place, job in enumerate(jobs):
            by_system.setdefault(job.system, []).append(place)
        dispatchers = {system: self.of(system) for system in by_system}
        client.spend(len(jobs))
        futures: dict[int, asyncio.Future[CheckResult]] = {}
        try:
            for system, places in by_system.items():
                queued = dispatchers[system].submit([jobs[i] for i in places], client.name, priority)
                futures |= dict(zip(places, queued, strict=True))
        except RefusedError:
            for future in futures.values():
                future.cancel()
            client.give_back(len(jobs))
            raise
        return [futures[place] for place in range(len(jobs))]

    @property
    def failure(self) -> Exception | None:
        """Why nothing can be checked any more: all checkers that there were have failed for good."""
        failures = [dispatcher.pool.failure for dispatcher in self._by_system.values()]
        return failures[0] if self.settled.is_set() and failures and all(failures) else None

    @property
    def ready(self) -> bool:
        """Has some prover a worker that can take a job?"""
        return any(dispatcher.pool.ready for dispatcher in self._by_system.values())

    def describe(self) -> list[dict[str, Any]]:
        """Each system with its toolchain, or why there is none."""
        rows: list[dict[str, Any]] = []
        for system in System:
            if dispatcher := self._by_system.get(system):
                pool = dispatcher.pool
                row = {"ready": pool.ready, "toolchain": pool.digest, "workers": pool.workers}
            else:
                row = {"ready": False, "reason": self._absent[system]}
            rows.append({"system": system.value, **row})
        return rows

    def state(self) -> dict[str, float]:
        """Sums over all provers, for the metrics."""
        found = list(self._by_system.values())
        return {
            "waiting": sum(d.waiting for d in found),
            "running": sum(d.running for d in found),
            "workers": sum(d.pool.workers for d in found),
        }

    async def close(self) -> None:
        """Ends all workers."""
        for dispatcher in self._by_system.values():
            dispatcher.close()
            await asyncio.to_thread(dispatcher.pool.close)
