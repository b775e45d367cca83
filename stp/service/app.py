"""The service's routes. Read from top to bottom: what is served, and how an answer leaves."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any

import psutil
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse

from stp import __version__
from stp.errors import StpError, UsageError
from stp.service import kimina
from stp.service.batches import Batches
from stp.service.bounds import Bounds, ServeSettings
from stp.service.guard import Guard, refused
from stp.service.keys import Client, Keys
from stp.service.mcp import http_app
from stp.service.metrics import Metrics
from stp.service.page import add_pages
from stp.service.provers import Provers
from stp.service.refusal import RefusedError, without_paths
from stp.service.schema import REFUSALS, BatchIn, BatchOut, VerifyIn, VerifyOut
from stp.store.service import Batch, ServiceStore
from stp.types import CheckResult, Job, System
from stp.verify.job import job_from_json, result_to_json
from stp.verify.pool import Pool

_log = logging.getLogger(__name__)
_PAGE = 1_000
_NDJSON = "application/x-ndjson"


def create_app(settings: ServeSettings, pools: Mapping[System, Future[Pool]]) -> FastAPI:
    """The service as an ASGI application; its lifespan owns the store and the workers."""
    bounds, metrics = settings.bounds, Metrics()
    store = ServiceStore(settings.state / "service.sqlite", serving=True)
    provers = Provers(bounds, metrics, settings.verify.toolchain)
    batches = Batches(store, provers, bounds)
    agents = http_app(provers)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        starting = asyncio.create_task(provers.start(pools))
        async with AsyncExitStack() as stack:
            stack.callback(store.close)
            stack.push_async_callback(provers.close)
            stack.push_async_callback(batches.close)
            await batches.start()
            await stack.enter_async_context(agents.router.lifespan_context(agents))
            yield
            starting.cancel()

    app = FastAPI(
        title="STP verifier", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        description="Checks proofs in Lean 4: statement, axioms and kernel, not messages.",
        responses=REFUSALS,
    )  # fmt: skip
    app.state.provers, app.state.batches = provers, batches
    app.router.routes.extend(agents.routes)
    client_of = Keys(store).client if settings.keys else None
    app.add_middleware(Guard, bounds=bounds, client_of=client_of, answered=metrics.answered)
    _add_errors(app)
    _add_own(app, bounds)
    _add_batches(app, bounds)
    _add_kimina(app, bounds)
    _add_machine(app, bounds, metrics)
    add_pages(app)
    return app


def _add_errors(app: FastAPI) -> None:
    """What is raised becomes a status and one sentence, here and in the guard."""

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        sent = request.headers.get("content-type", "none").partition(";")[0]
        if request.method == "POST" and sent != "application/json":
            return refused(RefusedError(422, f"expected Content-Type: application/json, found {sent[:100]}"))
        place = ".".join(str(part) for part in first["loc"] if part != "body")[:200] or "body"
        place = place.encode("utf-8", "replace").decode()  # a key may hold half a character
        return refused(RefusedError(422, f"{place}: {first['msg']}"))

    @app.exception_handler(StpError)
    async def _(_: Request, error: StpError) -> Response:
        if isinstance(error, RefusedError):
            return refused(error)
        _log.error("%s", error)
        return refused(RefusedError(503, f"the machinery failed: {without_paths(str(error))}", 5.0))


def _add_own(app: FastAPI, bounds: Bounds) -> None:
    @app.post("/v1/verify", response_model=VerifyOut, tags=["verify"])
    async def verify(body: VerifyIn, request: Request) -> Response:
        """Check jobs and wait for the results; with `Accept: application/x-ndjson` each is sent, on a line of
        its own, as soon as it is there. A client that goes away takes its jobs back."""
        jobs = _jobs(request, body, bounds, bounds.jobs_per_request)
        futures = _submit(request, jobs, body.priority)
        if _NDJSON in request.headers.get("accept", ""):
            return StreamingResponse(_lines(futures), media_type=_NDJSON)
        results = await _unless_gone(request, futures)
        return JSONResponse({"results": [result_to_json(result) for result in results]})


def _add_batches(app: FastAPI, bounds: Bounds) -> None:
    @app.post("/v1/jobs", response_model=BatchOut, status_code=202, tags=["long batches"])
    async def send(body: BatchIn, request: Request) -> Response:
        """Accept a long batch: it survives restarts. Sending it again under the same `id` is harmless."""
        jobs = _jobs(request, body, bounds, bounds.jobs_per_batch)
        request.state.jobs = len(jobs)
        batch = await request.app.state.batches.add(jobs, _client(request), body.priority, body.id)
        return JSONResponse(_batch(batch), 202)

    @app.get("/v1/jobs/{id}", response_model=BatchOut, tags=["long batches"], responses={404: REFUSALS[422]})
    async def get(id: str, request: Request, after: Annotated[int, Query(ge=0, lt=2**53)] = 0) -> Response:
        """How far a batch is, and up to 1,000 results that came after the one of number `after`."""
        batches: Batches = request.app.state.batches
        batch = await batches.get(id, _client(request).name)
        rows = await batches.answers(id, after, _PAGE)
        last = rows[-1][0] if rows else after
        return JSONResponse(
            {**_batch(batch), "results": [json.loads(result) for _, result in rows], "next": last}
        )

    @app.delete("/v1/jobs/{id}", status_code=204, tags=["long batches"], responses={404: REFUSALS[422]})
    async def delete(id: str, request: Request) -> Response:
        """Take back what has not begun, and forget the batch with its results."""
        batches: Batches = request.app.state.batches
        await batches.delete(await batches.get(id, _client(request).name))
        return Response(status_code=204)


def _add_kimina(app: FastAPI, bounds: Bounds) -> None:
    async def check(body: kimina.CheckIn | kimina.LegacyIn, request: Request, debug: bool) -> list[Any]:
        jobs = kimina.jobs_of(body, bounds)
        if len(jobs) > bounds.jobs_per_request:
            raise RefusedError(422, f"expected at most {bounds.jobs_per_request} snippets")
        results = await _unless_gone(request, _submit(request, jobs, 0))
        return [kimina.reply(job, r, debug=debug) for job, r in zip(jobs, results, strict=True)]

    @app.post("/api/check", tags=["Kimina"])
    @app.post("/api/check/", include_in_schema=False)
    async def api_check(body: kimina.CheckIn, request: Request) -> Response:
        """Check snippets: whole Lean files."""
        return JSONResponse({"results": await check(body, request, body.debug)})

    @app.post("/verify", tags=["Kimina"])
    @app.post("/one_pass_verify_batch", tags=["Kimina"])
    async def legacy_verify(body: kimina.LegacyIn, request: Request) -> Response:
        """Check snippets, in the older form."""
        return JSONResponse({"results": [kimina.legacy(e) for e in await check(body, request, False)]})


def _add_machine(app: FastAPI, bounds: Bounds, metrics: Metrics) -> None:
    def state() -> dict[str, float]:
        return {**app.state.provers.state(), "memory_mb": _memory_mb()}

    @app.get("/health", tags=["machine"])
    @app.get("/health/", include_in_schema=False)
    async def health() -> dict[str, str]:
        """Is the service there?"""
        return {"status": "ok"}

    @app.get("/ready", tags=["machine"])
    async def ready(request: Request) -> Response:
        """Can it check a proof now?"""
        provers: Provers = request.app.state.provers
        provers.of(System.LEAN)
        if not provers.ready:
            raise RefusedError(503, "lean: Lean is starting", 5.0)
        return JSONResponse({"status": "ready"})

    @app.get("/v1/limits", tags=["machine"])
    async def limits() -> Bounds:
        """The caps of this service: size your requests by them."""
        return bounds

    @app.get("/v1/toolchains", tags=["machine"])
    async def toolchains(request: Request) -> dict[str, list[dict[str, Any]]]:
        """The provers, or why one is absent."""
        return {"toolchains": request.app.state.provers.describe()}

    @app.get("/v1/pool", tags=["machine"])
    async def pool() -> dict[str, Any]:
        """What the checkers are doing."""
        verdicts = {verdict.value: count for verdict, count in metrics.verdicts.items() if count}
        now = await asyncio.to_thread(state)
        return {**now, "checks_per_s": metrics.checks_per_s(), "verdicts": verdicts}

    @app.get("/metrics", tags=["machine"])
    async def exposition() -> Response:
        """The same for Prometheus."""
        now = await asyncio.to_thread(state)
        return Response(metrics.exposition(now), media_type="text/plain; version=0.0.4")


def _client(request: Request) -> Client:
    client: Client = request.state.client
    return client


def _jobs(request: Request, body: VerifyIn, bounds: Bounds, most: int) -> list[Job]:
    """The jobs of a body: each as `stp verify --jsonl` reads it, of a system that is there, within the
    limits, with an id of its own."""
    if len(body.jobs) > most:
        raise RefusedError(422, f"jobs: expected at most {most}, found {len(body.jobs)}")
    jobs = []
    for place, item in enumerate(body.jobs):
        request.app.state.provers.of(item.system)
        value = item.model_dump(mode="json", exclude_none=True)
        try:
            jobs.append(bounds.admit(job_from_json(value, str(place)), f"jobs.{place}"))
        except UsageError as error:
            raise RefusedError(422, f"jobs.{place}: {error}") from None
    if len({job.id for job in jobs}) != len(jobs):
        raise RefusedError(422, "jobs: expected ids that differ, found one twice")
    return jobs


def _submit(request: Request, jobs: Sequence[Job], priority: int) -> list[asyncio.Future[CheckResult]]:
    """Queues jobs for who sent the request, and notes their number for the audit."""
    request.state.jobs = len(jobs)
    provers: Provers = request.app.state.provers
    return provers.submit(jobs, _client(request), priority)


async def _unless_gone(
    request: Request, futures: Sequence[asyncio.Future[CheckResult]]
) -> Sequence[CheckResult]:
    """All results, or none if the client goes away: then its jobs are taken back."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        _cancel(futures)

    watching = asyncio.create_task(gone())
    try:
        return [await future for future in futures]
    except asyncio.CancelledError:
        if watching.done():
            raise RefusedError(499, "the client went away") from None
        raise
    finally:
        _cancel([watching, *futures])


async def _lines(futures: Sequence[asyncio.Future[CheckResult]]) -> AsyncIterator[bytes]:
    """Results as lines, as they come. Left early, the rest is taken back."""
    try:
        for soonest in asyncio.as_completed(futures):
            result = await soonest
            yield json.dumps(result_to_json(result)).encode() + b"\n"
    finally:
        _cancel(futures)


def _cancel(futures: Sequence[asyncio.Future[Any]]) -> None:
    for future in futures:
        future.cancel()


def _batch(batch: Batch) -> dict[str, Any]:
    state = "done" if batch.answered == batch.total else "running"
    return {"id": batch.id, "state": state, "total": batch.total, "answered": batch.answered}


def _memory_mb() -> int:
    me = psutil.Process()
    total = 0
    for process in (me, *me.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total >> 20
