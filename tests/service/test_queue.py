"""The queue is fair, bounded, and loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stp.service.bounds import Bounds
from stp.service.metrics import Metrics
from stp.service.queue import Dispatcher
from stp.service.refusal import RefusedError
from stp.types import CheckResult, Job
from stp.verify.pool import Pool
from tests.service.conftest import ScriptedHost


def jobs(count: int, name: str, proof: str = "wait 0.01") -> list[Job]:
    return [Job(f"{name}{i}", "", "theorem foo : True", proof) for i in range(count)]


def run(host: ScriptedHost, story, **bounds: int) -> None:  # type: ignore[no-untyped-def]
    async def told() -> None:
        with Pool([lambda: host], "scripted", None) as pool:
            dispatcher = Dispatcher(pool, Bounds(**bounds), Metrics())
            try:
                await story(dispatcher)
            finally:
                dispatcher.close()

    asyncio.run(told())


def test_a_light_client_waits_little_beside_a_heavy_one(host: ScriptedHost) -> None:
    async def story(dispatcher: Dispatcher) -> None:
        heavy = dispatcher.submit(jobs(400, "heavy"), "heavy")
        while len(host.checked) < 30:
            await asyncio.sleep(0.01)
        for _ in range(3):
            before = len(host.checked)
            await asyncio.gather(*dispatcher.submit(jobs(8, "light"), "light"))
            assert len(host.checked) - before < 60, "its eight, and what the worker had ahead"
        assert sum(not future.done() for future in heavy) > 100

    run(host, story)


def test_a_client_that_asks_for_less_than_its_share_has_all_of_it_at_once(host: ScriptedHost) -> None:
    async def story(dispatcher: Dispatcher) -> None:
        await asyncio.gather(*dispatcher.submit(jobs(1, "known"), "light"))
        dispatcher.submit(jobs(400, "heavy"), "heavy")
        while len(host.checked) < 150:
            await asyncio.sleep(0.01)
        before = len(host.checked)
        await asyncio.gather(*dispatcher.submit(jobs(80, "light"), "light"))
        assert len(host.checked) - before < 130, "its eighty, and what the worker had ahead"

    run(host, story)


def test_what_a_client_had_while_it_was_alone_is_not_held_against_it(host: ScriptedHost) -> None:
    async def story(dispatcher: Dispatcher) -> None:
        await asyncio.gather(*dispatcher.submit(jobs(150, "early"), "light"))
        dispatcher.submit(jobs(400, "heavy"), "heavy")
        before = len(host.checked)
        await asyncio.gather(*dispatcher.submit(jobs(8, "light"), "light"))
        assert len(host.checked) - before < 60

    run(host, story)


def test_priorities_order_a_clients_own_jobs(host: ScriptedHost) -> None:
    async def story(dispatcher: Dispatcher) -> None:
        low = dispatcher.submit(jobs(50, "low"), "me", priority=-1)
        high = dispatcher.submit(jobs(5, "high"), "me", priority=1)
        await asyncio.gather(*high)
        assert sum(future.done() for future in low) < 45
        await asyncio.gather(*low)

    run(host, story)


def test_what_is_taken_back_is_not_checked(host: ScriptedHost) -> None:
    async def story(dispatcher: Dispatcher) -> None:
        futures = dispatcher.submit(jobs(200, "x"), "me")
        await asyncio.sleep(0.05)
        for future in futures:
            future.cancel()
        await asyncio.sleep(0)
        assert dispatcher.waiting == 0
        await asyncio.gather(*dispatcher.submit(jobs(3, "y"), "me"))
        assert len(host.checked) < 50
        while dispatcher.running:  # what had begun when it was taken back
            await asyncio.sleep(0.01)
        assert len(host.checked) < 50

    run(host, story)


def test_a_full_queue_says_for_how_long(host: ScriptedHost) -> None:
    async def story(dispatcher: Dispatcher) -> None:
        dispatcher.submit(jobs(90, "x"), "heavy")
        with pytest.raises(RefusedError, match="the queue is full") as refused:
            dispatcher.submit(jobs(90, "x"), "heavy")
        assert refused.value.status == 429
        assert refused.value.retry_after_s
        await asyncio.gather(*dispatcher.submit(jobs(1, "y"), "light"))

    run(host, story, queued_jobs_per_client=100)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 40), st.booleans()), max_size=8))
def test_nothing_is_lost_or_answered_twice(plan: Sequence[tuple[int, int, bool]]) -> None:
    host = ScriptedHost()

    async def story(dispatcher: Dispatcher) -> None:
        kept: list[asyncio.Future[CheckResult]] = []
        names = []
        for place, (client, count, cancelled) in enumerate(plan):
            made = jobs(count, f"{place}-", "proved")
            futures = dispatcher.submit(made, str(client))
            if cancelled:
                for future in futures:
                    future.cancel()
            else:
                kept += futures
                names += [job.id for job in made]
        results = await asyncio.gather(*kept)
        assert [result.id for result in results] == names
        await asyncio.sleep(0)
        assert dispatcher.waiting == 0

    run(host, story)
    assert len(host.checked) == len(set(host.checked))
