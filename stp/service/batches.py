"""Long batches: accepted on disk, checked a few hundred jobs ahead, answered across restarts."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets
import time
from collections.abc import Sequence

from stp.errors import StoreError
from stp.service.bounds import Bounds
from stp.service.keys import Client
from stp.service.provers import Provers
from stp.service.refusal import RefusedError
from stp.store.service import Batch, ServiceStore, new_batch
from stp.types import CheckResult, Job, System
from stp.verify.job import job_from_json, job_to_json, result_to_json

_log = logging.getLogger(__name__)
_AHEAD = 256
_RETRY_S = 5.0
_FORGET_S = 3600.0


class Batches:
    """Runs what the store holds. For one event loop."""

    def __init__(self, store: ServiceStore, provers: Provers, bounds: Bounds) -> None:
        self._store = store
        self._provers = provers
        self._bounds = bounds
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._forgetting: asyncio.Task[None] | None = None
        self._adding = asyncio.Lock()
        """One batch sent twice at once is one batch."""

    async def start(self) -> None:
        """Goes on with what an earlier process left unanswered; forgets what is too old."""
        await self._forget()  # before any of them goes on
        self._forgetting = asyncio.create_task(self._keep_forgetting())
        for batch in await asyncio.to_thread(self._store.batches):
            if batch.answered < batch.total:
                self._run(batch)

    async def close(self) -> None:
        """Stops; what is unanswered stays for the next start."""
        tasks = [*self._tasks.values(), *([self._forgetting] if self._forgetting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def add(self, jobs: Sequence[Job], client: Client, priority: int, id_: str | None) -> Batch:
        """Accepts a batch; one that was accepted under this id before is returned as it is.

        Raises:
            RefusedError: the id is another batch's, or the client has too many, or no quota left.
        """
        async with self._adding:
            return await self._add(jobs, client, priority, id_)

    async def _add(self, jobs: Sequence[Job], client: Client, priority: int, id_: str | None) -> Batch:
        texts = [json.dumps(job_to_json(job)) for job in jobs]
        digest = hashlib.sha256("\n".join([client.name, *texts]).encode()).hexdigest()
        batches = await asyncio.to_thread(self._store.batches)
        mine = [batch for batch in batches if batch.client == client.name or batch.id == id_]
        if known := next((batch for batch in mine if batch.id == id_), None):
            if known.digest != digest:
                raise RefusedError(409, f"id {id_!r}: another batch has it")
            return known
        if len(mine) >= self._bounds.batches_per_client:
            raise RefusedError(429, f"you have {len(mine)} batches: delete some: DELETE /v1/jobs/ID", 60.0)
        client.spend(len(jobs))
        batch = new_batch(id_ or secrets.token_urlsafe(12), client.name, digest, priority, len(jobs))
        await asyncio.to_thread(self._store.put_batch, batch, texts)
        self._run(batch)
        return batch

    async def get(self, id_: str, client: str) -> Batch:
        """A client's batch.

        Raises:
            RefusedError: 404, it has none of that id.
        """
        found = await asyncio.to_thread(self._store.batches, id_)
        if not found or found[0].client != client:
            raise RefusedError(404, f"batch {id_!r}: there is none")
        return found[0]

    async def answers(self, id_: str, after: int, count: int) -> list[tuple[int, str]]:
        """See `ServiceStore.answers`."""
        return await asyncio.to_thread(self._store.answers, id_, after, count)

    async def delete(self, batch: Batch) -> None:
        """Takes back what has not begun and forgets the rest."""
        if task := self._tasks.get(batch.id):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.to_thread(self._store.drop_batch, batch.id)

    async def _keep_forgetting(self) -> None:
        while True:
            await asyncio.sleep(_FORGET_S)
            try:
                await self._forget()
            except StoreError as error:  # a full disk, say
                _log.error("%s; old batches are tried again in an hour", error)

    async def _forget(self) -> None:
        """Takes back and drops what is too old."""
        before = time.time() - 86_400 * self._bounds.batch_days
        for batch in await asyncio.to_thread(self._store.batches):
            if batch.created < before:
                await self.delete(batch)

    def _run(self, batch: Batch) -> None:
        if before := self._tasks.get(batch.id):  # of a revoked key
            before.cancel()
        task = asyncio.create_task(self._check(batch))
        self._tasks[batch.id] = task
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks = {id_: other for id_, other in self._tasks.items() if other is not task}

    async def _check(self, batch: Batch) -> None:
        """Checks what is unanswered, again where a disk is full or a prover fails meanwhile."""
        while True:
            try:
                await self._answer(batch)
                return
            except Exception as error:
                _log.error("batch %s goes on in %g s: %s", batch.id, _RETRY_S, error)
            await asyncio.sleep(_RETRY_S)

    async def _answer(self, batch: Batch) -> None:
        """Checks what is unanswered. A prover that is away is waited for."""
        last, pending = -1, dict[asyncio.Future[CheckResult], int]()
        try:
            while True:
                if len(pending) <= _AHEAD // 2:
                    rows = await asyncio.to_thread(
                        self._store.unanswered, batch.id, last, _AHEAD - len(pending)
                    )
                    for number, text in rows:
                        pending[await self._submit(text, batch)] = last = number
                if not pending:
                    return
                done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                results = [
                    (pending.pop(future), json.dumps(result_to_json(future.result())))
                    for future in done
                    if not future.exception()
                ]
                await asyncio.to_thread(self._store.answer, batch, results)
                for future in done & pending.keys():
                    future.result()  # raises what went wrong
        finally:
            for future in pending:
                future.cancel()

    async def _submit(self, text: str, batch: Batch) -> asyncio.Future[CheckResult]:
        value = json.loads(text)
        while True:
            try:
                dispatcher = self._provers.of(System(value.get("system", System.LEAN)))
                job = job_from_json(value, "")
                return dispatcher.submit([job], batch.client, batch.priority, bounded=False)[0]
            except RefusedError:
                await asyncio.sleep(_RETRY_S)
