"""Measures the service: what HTTP adds, what it lets through, how fair it is, what it keeps.

The service runs as a process of its own, as users run it. Checks are real; where a number is HTTP's own, jobs
come from the cache of results, so that nothing but HTTP is in it.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psutil

from stp.bench.jobs import mix
from stp.client import AsyncClient
from stp.service.keys import Keys
from stp.settings import VerifySettings
from stp.store.service import ServiceStore
from stp.types import Job
from stp.verify.job import job_to_json
from stp.verify.pool import Pool, open_pool

_REPEATS = 5
_CLIENTS, _JOBS = 64, 10_000
#: Between a light client's requests: it asks for less than half of the checker.
_LIGHT_PAUSE_S = 0.6
_LIGHT_REQUESTS = 120
_HOSTILE = ("by run_tac pure ()", "by native_decide", "by sorry", "sorryAx _", ")", "by skip")
#: Budgets no run has used before: what is asked for with another budget is not in the cache.
_NEW = itertools.count(60_000 + int(time.time()) % 400_000 * 20)


def measure() -> dict[str, Any]:
    """All numbers; each job of the mix is one real check."""
    jobs = mix()
    numbers: dict[str, Any] = {}
    # Each with a cache of its own, as the service has one: both look there first.
    with (
        TemporaryDirectory() as folder,
        open_pool(VerifySettings(pool="local", workers=1), cache=Path(folder) / "checks.sqlite") as pool,
    ):
        began = time.monotonic()
        pool.submit(jobs[0]).result()
        numbers["pool_ready_s"] = time.monotonic() - began
        list(pool.check(jobs))
        with _serving() as (url, keys, service), httpx.Client(base_url=url, timeout=600) as http:
            numbers["ready_s"] = service["ready_s"]
            http.headers["Authorization"] = f"Bearer {keys[0]}"

            def post(batch: Sequence[Job]) -> httpx.Response:
                body = {"jobs": [{**job_to_json(job), "id": str(i)} for i, job in enumerate(batch)]}
                return http.post("/v1/verify", json=body).raise_for_status()

            post(jobs)
            numbers |= _through(pool, post, jobs)
            fresh = _uncached(jobs[:200])
            adds = [
                _spent(lambda job=job: post([job])) - _spent(lambda job=job: pool.submit(job).result())
                for job in fresh
            ]
            numbers["http_adds_ms"] = 1e3 * median(adds)
            numbers["cached_ms"] = median(1e3 * _spent(lambda job=job: post([job])) for job in fresh)
            numbers |= asyncio.run(_crowd(url, keys, jobs))
            numbers |= asyncio.run(_fairness(url, keys, jobs))
            numbers["memory_mb"] = service["memory_mb"]()
            asyncio.run(_crowd(url, keys, jobs))
            numbers["memory_after_mb"] = service["memory_mb"]()
    return numbers


def _through(pool: Pool, post: Callable[[Sequence[Job]], object], jobs: Sequence[Job]) -> dict[str, Any]:
    """Checks a second of the pool and through HTTP, in requests of 200, in turns that change places."""
    ratios, rates = [], []
    for _ in range(_REPEATS):
        fresh, spent_s = _uncached(jobs), {"pool": 0.0, "http": 0.0}
        for first in range(0, len(fresh), 200):
            part = fresh[first : first + 200]
            turns = {"pool": lambda part=part: list(pool.check(part)), "http": lambda part=part: post(part)}
            for name in reversed(turns) if first % 400 else turns:
                spent_s[name] += _spent(turns[name])
        ratios.append(spent_s["pool"] / spent_s["http"])
        rates.append(len(jobs) / spent_s["http"])
    return {"http_per_s": median(rates), "http_over_pool": median(ratios), "http_over_pool_all": ratios}


async def _crowd(url: str, keys: Sequence[str], jobs: Sequence[Job]) -> dict[str, Any]:
    """10,000 jobs of 64 clients at once, one in twenty hostile: each must be answered once, and rightly."""
    honest, share = len(jobs), _JOBS // _CLIENTS
    failed = lost = wrong = 0

    async def one(place: int) -> None:
        nonlocal failed, lost, wrong
        mine = []
        for i in range(place * share, (place + 1) * share):
            job = jobs[i % honest]
            hostile = i % 20 == 0
            proof = _HOSTILE[i // 20 % len(_HOSTILE)] if hostile else job.proof
            mine.append(replace(job, id=str(i), proof=proof))
        async with AsyncClient(url, keys[place]) as client:
            try:
                results = await client.verify(mine)
            except Exception:
                failed += 1
                return
        lost += [result.id for result in results] != [job.id for job in mine]
        wrong += sum(result.proved == (int(result.id) % 20 == 0) for result in results)

    began = time.monotonic()
    await asyncio.gather(*(one(place) for place in range(_CLIENTS)))
    return {
        "crowd_jobs": share * _CLIENTS, "crowd_s": time.monotonic() - began, "crowd_failed": failed,
        "crowd_lost": lost, "crowd_wrong": wrong,
    }  # fmt: skip


async def _fairness(url: str, keys: Sequence[str], jobs: Sequence[Job]) -> dict[str, Any]:
    """A light client's requests of eight real checks, one every second or less, alone and beside one that has
    queued thousands."""

    async def latencies(client: AsyncClient) -> list[float]:
        times = []
        for i in range(_LIGHT_REQUESTS):
            first = 8 * i % (len(jobs) - 8)
            batch = _uncached(jobs[first : first + 8])
            began = time.monotonic()
            await client.verify(batch)
            times.append(1e3 * (time.monotonic() - began))
            await asyncio.sleep(_LIGHT_PAUSE_S)
        return times

    async with AsyncClient(url, keys[0]) as light, AsyncClient(url, keys[1]) as heavy:
        alone = await latencies(light)
        many = [job for _ in range(8) for job in _uncached(jobs)]
        load = asyncio.ensure_future(heavy.verify(many))
        await asyncio.sleep(1)
        beside = await latencies(light)
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)
    p99 = [quantiles(times, n=100, method="inclusive")[98] for times in (alone, beside)]
    return {
        "light_alone_ms": median(alone), "light_beside_ms": median(beside),
        "light_alone_p99_ms": p99[0], "light_beside_p99_ms": p99[1], "fairness": p99[1] / p99[0],
    }  # fmt: skip


@contextmanager
def _serving() -> Iterator[tuple[str, list[str], dict[str, Any]]]:
    with TemporaryDirectory() as folder, socket.socket() as free:
        store = ServiceStore(Path(folder) / "service.sqlite")
        keys = [Keys(store).add(f"client-{i}", frozenset({"verify"}), 0) for i in range(_CLIENTS)]
        store.close()
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        began, url = time.monotonic(), f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "stp", "serve", "--keys", "--workers", "1"]
        process = psutil.Popen([*command, "--port", str(port), "--state", folder])
        try:
            while not _is_ready(url):
                time.sleep(0.05)
            yield url, keys, {
                "ready_s": time.monotonic() - began, "memory_mb": lambda: process.memory_info().rss >> 20,
            }  # fmt: skip
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(90)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready").is_success
    except httpx.TransportError:
        return False


def _uncached(jobs: Sequence[Job]) -> list[Job]:
    budget = next(_NEW)
    return [replace(job, limits=replace(job.limits, heartbeats=budget)) for job in jobs]


def _spent(work: Any) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began
