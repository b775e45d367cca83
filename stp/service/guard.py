"""What stands before every request: who asks, how large it is, how long it takes to arrive.

Pure ASGI, so that nothing of a body is read before the caller is known, and none of it behind the cap.
Covered: bodies without end, chunked or not; slow bodies; wrong keys; DNS rebinding against a service
without keys; framing, sniffing and foreign scripts. Slow headers: `stp.service.server`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stp.service.bounds import Bounds
from stp.service.keys import Client
from stp.service.refusal import RefusedError

audit = logging.getLogger("stp.audit")
_log = logging.getLogger(__name__)
#: Needs no key: says nothing that a port scan does not.
_OPEN = frozenset({"/", "/health", "/health/", "/ready", "/docs", "/openapi.json", "/v1/limits"})
_SCOPE_OF = (("/v1/jobs", "jobs"), ("/v1/pool", "metrics"), ("/metrics", "metrics"), ("/", "verify"))
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_PORT = re.compile(r":\d+$")


def is_loopback(host: str) -> bool:
    """Is it a name or address of this machine alone?"""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """ASGI middleware. `client_of` says whose key it is; None: the service asks for none."""

    def __init__(
        self,
        app: ASGIApp,
        bounds: Bounds,
        client_of: Callable[[str], Client | None] | None,
        answered: Callable[[str, int], None],
    ) -> None:
        self._app = app
        self._bounds = bounds
        self._client_of = client_of
        self._answered = answered
        self._local: dict[str, Client] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, or refuses it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 499  # what is never answered was given up by the client
        client: Client | None = None

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
            await send(message)

        try:
            client = await self._who(scope)
            scope.setdefault("state", {})["client"] = client
            body = await self._body(scope, receive)
            if body is None:
                return
            await self._app(scope, _replay(body, receive), guarded)
        except RefusedError as refusal:
            await refused(refusal)(scope, receive, guarded)
        except Exception:
            if status != 499:
                raise
            _log.exception("%s %s", scope["method"], scope["path"])
            failure = RefusedError(500, "the service failed; its log says why")
            await refused(failure)(scope, receive, guarded)
        finally:
            self._answered(scope["method"], status)
            audit.info(json.dumps({
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "client": client.name if client else None, "method": scope["method"],
                "path": scope["path"], "status": status, "ms": round(1e3 * (time.monotonic() - began), 1),
                "jobs": scope.get("state", {}).get("jobs", 0),
            }))  # fmt: skip

    async def _who(self, scope: Scope) -> Client:
        headers = Headers(scope=scope)
        path: str = scope["path"]
        if self._client_of is None:
            host = headers.get("host", "")
            if not is_loopback(_PORT.sub("", host).lower().strip("[]")):
                raise RefusedError(403, f"host {host!r}: expected localhost: this service has no keys")
            peer = scope["client"][0] if scope.get("client") else "local"
            return self._local.setdefault(peer, Client(peer))
        scheme, _, key = headers.get("authorization", "").partition(" ")
        client = None
        if scheme.lower() == "bearer":  # in a thread: the store may be at a long batch
            client = await asyncio.to_thread(self._client_of, key.strip())
        if path in _OPEN:
            return client or Client("anyone", frozenset())
        if client is None:
            raise RefusedError(401, "expected a header `Authorization: Bearer KEY`")
        needed = next(name for prefix, name in _SCOPE_OF if path.startswith(prefix))
        if needed not in client.scopes:
            raise RefusedError(403, f"the key {client.name!r} is not good for {needed!r}")
        return client

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body; None: the client went away."""
        # What needs no key takes no body: nobody is to fill the memory without one.
        most = 0 if scope["path"] in _OPEN else self._bounds.body_bytes
        too_large = RefusedError(413, f"the body is too large: at most {most} bytes; send several requests")
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdecimal() or int(length) > most:
            raise too_large
        body = bytearray()
        try:
            async with asyncio.timeout(self._bounds.body_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    if len(body) > most:
                        raise too_large
                    if not message.get("more_body"):
                        return bytes(body)
        except TimeoutError:
            raise RefusedError(408, f"the body did not arrive within {self._bounds.body_s:g} s") from None


def refused(refusal: RefusedError) -> JSONResponse:
    """The answer to what is refused. Where the body may be unread the connection is of no more use."""
    headers: dict[str, str] = {}
    if refusal.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(refusal.retry_after_s)))
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if refusal.status in (401, 403, 408, 413):
        headers["Connection"] = "close"
    return JSONResponse({"detail": str(refusal)}, refusal.status, headers)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body first."""
    given = False

    async def replay() -> Any:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
