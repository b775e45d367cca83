"""The HTTP server: uvicorn, with a clock on request headers that it lacks."""

from __future__ import annotations

import asyncio
import logging
import logging.handlers
import os
import socket
import sys
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from stp.errors import UsageError, WorkerError
from stp.service.bounds import ServeSettings
from stp.service.guard import is_loopback
from stp.service.provers import Provers, opening
from stp.types import System
from stp.verify.pool import Pool

_HEADERS_S = 10.0
_KEEP_ALIVE_S = 5
_DRAIN_S = 60
_AUDIT_BYTES = 32 << 20


class _Joining:
    """A transport that holds what is written until more is, or until the loop turns: head and body of a reply
    leave as one, and wake the client once."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: bytes) -> None:
        """Sends what was held together with this, or holds this."""
        if self._held:
            self._held += data
            self._flush()
        else:
            self._held = data
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        """Sends what was held first."""
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        held, self._held = self._held, b""
        if held:
            self._transport.write(held)


class PatientProtocol(H11Protocol):
    """Closes a connection whose next request has not begun `_HEADERS_S` after the one before: uvicorn's own
    clock stops with the first byte, so that a client sending one a minute would hold it for ever. One whose
    client has read nothing for so long of what is written is ended."""

    _clock: asyncio.TimerHandle | None = None
    _unread = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the clock."""
        super().connection_made(_Joining(transport, self.loop))  # type: ignore[arg-type]
        self._watch()

    def on_response_complete(self) -> None:
        """Starts it again."""
        super().on_response_complete()
        self._watch()

    def _watch(self) -> None:
        if self._clock:
            self._clock.cancel()
        self._clock = self.loop.call_later(_HEADERS_S, self._look)

    def _look(self) -> None:
        before, self._unread = self._unread, self.transport.get_write_buffer_size()
        if self._unread and self._unread == before:
            self.transport.abort()
        elif not self._unread and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()
        else:
            self._watch()


class Server(uvicorn.Server):
    """Ends where nothing can be checked any more."""

    def __init__(self, config: uvicorn.Config, provers: Provers) -> None:
        super().__init__(config)
        self.provers = provers

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: is it time to end?"""
        return await super().on_tick(counter) or self.provers.failure is not None


def serve(
    settings: ServeSettings, host: str, port: int, cert: Path | None = None, key: Path | None = None
) -> None:
    """Serves until SIGTERM or SIGINT; requests in flight are answered first, for at most a minute.

    Raises:
        WorkerError: all checkers failed for good: whoever keeps the service up starts it again.
        UsageError: another address than this machine's own, without keys; or one that cannot be served at.
    """
    if not settings.keys and not is_loopback(host):
        raise UsageError(
            f"--host {host}: anybody could use it: add a key first (stp keys add NAME) and serve with --keys"
        )
    os.umask(0o077)  # what it keeps is its owner's
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    _log_audit(settings.state / "audit.jsonl")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        bound = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        why = str(error.strerror).partition(" (while")[0]  # behind it the address once more
        raise UsageError(f"cannot serve at {host}:{port}: {why}; choose another --host or --port") from None
    with bound, opening(settings.verify) as pools:
        server = make_server(settings, pools, host, port, cert, key)
        name = f"[{host}]" if ":" in host else host
        where = f"http{'s' if cert else ''}://{name}:{bound.getsockname()[1]}"
        print(f"serving {where} (API: {where}/docs)", file=sys.stderr, flush=True)
        server.run([bound])
        if failure := server.provers.failure:
            raise WorkerError(f"the service ends, its checkers failed: {failure}")


def make_server(
    settings: ServeSettings, pools: Mapping[System, Future[Pool]], host: str, port: int,
    cert: Path | None = None, key: Path | None = None,
) -> Server:  # fmt: skip
    """The server, ready to run."""
    from stp.service.app import create_app  # takes a second or two, in which Lean starts

    app = create_app(settings, pools)
    config = uvicorn.Config(
        app, host=host, port=port, http=PatientProtocol, ws="none", access_log=False,
        log_level="warning", timeout_keep_alive=_KEEP_ALIVE_S, timeout_graceful_shutdown=_DRAIN_S,
        limit_concurrency=settings.bounds.connections, server_header=False,
        ssl_certfile=cert, ssl_keyfile=key,
    )  # fmt: skip
    return Server(config, app.state.provers)


def _log_audit(path: Path) -> None:
    """Who asked what, when, with which answer: a JSON line each, in a file that turns over."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=_AUDIT_BYTES, backupCount=3)
    audit = logging.getLogger("stp.audit")
    audit.setLevel(logging.INFO)
    audit.propagate = False
    audit.addHandler(handler)
