"""A client of the verifier service.

    with Client("http://127.0.0.1:8000") as client:
        result = client.verify([Job("1", "", "theorem foo : 1 + 1 = 2", "by rfl")])[0]

`AsyncClient` is the same for asyncio. Jobs go in batches, several at a time. Checking is harmless to ask for
twice, so what fails on the way is asked for again: of a busy service after the time that its Retry-After
names, over a broken connection after a moment. Nothing else is retried. Closing the client, or cancelling
the task that waits, takes back what has not begun.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Self, TypeVar

import httpx

from stp.errors import MachineryError, UsageError
from stp.types import CheckResult, Job
from stp.verify.job import job_to_json, result_from_json

_BATCH = 50
_AT_A_TIME = 4
_RETRIES = 8
_BUSY = (429, 503)
_LONGEST_WAIT_S = 60.0
_POLL_S = 0.5
_T = TypeVar("_T")


class AsyncClient:
    """For one event loop. `close`, or leaving the `async with`, ends its connections."""

    def __init__(self, url: str = "http://127.0.0.1:8000", key: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(10.0, read=None)
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connections; the service takes back what they waited for."""
        await self._http.aclose()

    async def verify(self, jobs: Iterable[Job], priority: int = 0) -> list[CheckResult]:
        """Results in the order of the jobs.

        Raises:
            UsageError: the service does not accept the request, and why.
            MachineryError: the service cannot be reached or stays busy.
        """
        jobs, places = list(jobs), asyncio.Semaphore(_AT_A_TIME)

        async def check(batch: Sequence[Job]) -> list[CheckResult]:
            async with places:
                # Ids need only differ within the service's request: the caller's may not.
                values = [{**job_to_json(job), "id": str(i)} for i, job in enumerate(batch)]
                reply = await self._ask("POST", "/v1/verify", {"jobs": values, "priority": priority})
            found = [result_from_json(value) for value in reply["results"]]
            return [replace(result, id=job.id) for result, job in zip(found, batch, strict=True)]

        batches = [asyncio.ensure_future(check(jobs[i : i + _BATCH])) for i in range(0, len(jobs), _BATCH)]
        try:
            return [result for batch in batches for result in await batch]
        finally:
            for batch in batches:
                batch.cancel()
            await asyncio.gather(*batches, return_exceptions=True)

    async def send(self, jobs: Iterable[Job], priority: int = 0) -> str:
        """Leaves a long batch with the service and returns its id; the service keeps it across restarts."""
        id_ = uuid.uuid4().hex  # ours, so that sending it again is no second batch
        values = [job_to_json(job) for job in jobs]
        await self._ask("POST", "/v1/jobs", {"id": id_, "jobs": values, "priority": priority})
        return id_

    async def results(self, batch: str) -> AsyncIterator[CheckResult]:
        """All results of a long batch as they come; ends with the last."""
        after = 0
        while True:
            reply = await self._ask("GET", f"/v1/jobs/{batch}?after={after}")
            for value in reply["results"]:
                yield result_from_json(value)
            after = reply["next"]
            if after == reply["total"]:
                return
            if not reply["results"]:
                await asyncio.sleep(_POLL_S)

    async def cancel(self, batch: str) -> None:
        """Takes back a long batch, with its results."""
        await self._ask("DELETE", f"/v1/jobs/{batch}")

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        wait_s = 0.0
        for attempt in range(_RETRIES):
            await asyncio.sleep(wait_s)
            wait_s = min(2.0**attempt / 4, _LONGEST_WAIT_S)
            try:
                reply = await self._http.request(method, path, json=body)
            except httpx.TransportError as error:
                failure = f"{self._http.base_url}: {error or type(error).__name__}"
            else:
                if reply.is_success:
                    return _value(reply)
                failure = _sentence(reply)
                if reply.status_code not in _BUSY or "retry-after" not in reply.headers:
                    kind = UsageError if reply.status_code < 500 else MachineryError
                    raise kind(f"{method} {path}: {failure}")
                asked = reply.headers["retry-after"]  # a proxy may say a date
                wait_s = max(wait_s, min(float(asked) if asked.isdecimal() else 0.0, _LONGEST_WAIT_S))
        raise MachineryError(f"{method} {path}: {failure}; gave up after {_RETRIES} attempts")


class Client:
    """The same without asyncio: each call runs to its end. For one thread."""

    def __init__(self, url: str = "http://127.0.0.1:8000", key: str | None = None) -> None:
        self._runner = asyncio.Runner()
        self._client = self._runner.run(_made(url, key))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connections."""
        self._runner.run(self._client.close())
        self._runner.close()

    def verify(self, jobs: Iterable[Job], priority: int = 0) -> list[CheckResult]:
        """See `AsyncClient.verify`."""
        return self._run(self._client.verify(jobs, priority))

    def send(self, jobs: Iterable[Job], priority: int = 0) -> str:
        """See `AsyncClient.send`."""
        return self._run(self._client.send(jobs, priority))

    def results(self, batch: str) -> Iterator[CheckResult]:
        """See `AsyncClient.results`."""
        found = self._client.results(batch)

        async def following() -> CheckResult | None:
            return await anext(found, None)

        while (result := self._run(following())) is not None:
            yield result

    def cancel(self, batch: str) -> None:
        """See `AsyncClient.cancel`."""
        self._run(self._client.cancel(batch))

    def _run(self, call: Coroutine[Any, Any, _T]) -> _T:
        return self._runner.run(call)


async def _made(url: str, key: str | None) -> AsyncClient:
    return AsyncClient(url, key)


def _value(reply: httpx.Response) -> dict[str, Any]:
    """The object of an answer.

    Raises:
        MachineryError: it is none: somebody else answers at this address.
    """
    try:
        return dict(reply.json()) if reply.content else {}
    except (ValueError, TypeError):
        raise MachineryError(
            f"{reply.request.url}: expected JSON, found {reply.text[:80]!r}: is stp serve at this address?"
        ) from None


def _sentence(reply: httpx.Response) -> str:
    try:
        return str(reply.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"status {reply.status_code}"
