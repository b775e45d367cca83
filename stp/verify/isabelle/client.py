"""One connection to an Isabelle server: commands, tasks side by side, deadlines. Its notes nobody reads.

Invariants: one reader hands out what arrives; the answers `OK` and `ERROR` come in the order of the commands,
so they go to the oldest one that waits; `FINISHED` and `FAILED` go to the task that they name. A task of
the server may never answer (an exception that it does not expect ends the task's thread), so every wait has
a deadline of ours; a task whose deadline passed is cancelled. After any breach of the protocol everything
that waits fails, and so does every later call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from stp.verify.isabelle.protocol import Frames, ProtocolError, Reply, command, encode, parse

_READ_BYTES = 1 << 16
_CANCEL_S = 5.0


class ServerDiedError(Exception):
    """The connection ended, or what came over it was no message."""


class RefusedError(Exception):
    """The server answered `ERROR` or `FAILED`; `str()` is its message."""


class DeadlineError(Exception):
    """No answer in time; the task, if it was one, has been cancelled."""


class Client:
    """An open connection. Made by `connect`, ended by `close`, which cancels its tasks."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._frames = Frames()
        self._answers: deque[tuple[asyncio.Future[Reply], bool]] = deque()
        self._tasks: dict[str, asyncio.Future[Reply]] = {}
        self._error: ServerDiedError | None = None
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def connect(cls, host: str, port: int, password: str, timeout_s: float) -> Client:
        """A connection past the password.

        Raises:
            ServerDiedError: nobody listens there, or the password is wrong.
            DeadlineError: no greeting in time.
        """
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port), timeout_s)
        except (OSError, TimeoutError) as error:
            raise ServerDiedError(f"no Isabelle server at {host}:{port}: {error}") from None
        client = cls(reader, writer)
        try:
            greeting = await client._send(encode(password), timeout_s)
        except (ServerDiedError, DeadlineError):
            await client.close()
            raise
        if greeting.name != "OK":
            await client.close()
            raise ServerDiedError(f"the server greets with {greeting.name} {greeting.message}")
        return client

    async def call(self, name: str, argument: object = None, *, timeout_s: float) -> Any:
        """The result of a command that answers at once.

        Raises:
            RefusedError, DeadlineError, ServerDiedError: as their names say.
        """
        reply = await self._send(command(name, argument), timeout_s)
        if reply.name != "OK":
            raise RefusedError(reply.message)
        return reply.argument

    async def task(self, name: str, argument: object, *, timeout_s: float) -> dict[str, Any]:
        """The result of a command that starts a task.

        Raises:
            RefusedError: the server refused or the task failed.
            DeadlineError: the task did not end in time; it was cancelled.
            ServerDiedError: the connection ended.
        """
        started = await self._send(command(name, argument), timeout_s, starts_task=True)
        if started.name != "OK":
            raise RefusedError(started.message)
        if started.task not in self._tasks:
            raise self._fail(f"{name} answered {started.argument!r}, which names no task")
        future = self._tasks[started.task]
        try:
            reply = await self._wait(future, timeout_s)
        except DeadlineError:
            await self._cancel(started.task, future)
            raise
        finally:
            self._tasks.pop(started.task, None)
        if reply.name != "FINISHED" or not isinstance(reply.argument, dict):
            raise RefusedError(reply.message)
        return reply.argument

    async def close(self) -> None:
        """Ends the connection. May be called more than once."""
        self._reading.cancel()
        self._give_up(ServerDiedError("the connection was closed"))
        self._writer.close()

    async def _send(self, frame: bytes, timeout_s: float, *, starts_task: bool = False) -> Reply:
        """The answer to a command. A task that it starts is known from the moment of the answer: its end
        may follow in the same breath."""
        if self._error:
            raise self._error
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._answers.append((future, starts_task))
        self._writer.write(frame)
        return await self._wait(future, timeout_s)

    async def _wait(self, future: asyncio.Future[Reply], timeout_s: float) -> Reply:
        done, _ = await asyncio.wait([future], timeout=timeout_s)
        if not done:
            raise DeadlineError(f"no answer within {timeout_s:g} s")
        return future.result()

    async def _cancel(self, task: str, future: asyncio.Future[Reply]) -> None:
        """Cancels a task and waits a little for its end, so that nothing of it disturbs what comes next."""
        try:
            await self.call("cancel", {"task": task}, timeout_s=_CANCEL_S)
            await self._wait(future, _CANCEL_S)
        except (RefusedError, DeadlineError):
            pass

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(_READ_BYTES):
                for text in self._frames.feed(data):
                    self._dispatch(parse(text))
            self._fail("the server closed the connection")
        except (ProtocolError, OSError) as error:
            self._fail(str(error))

    def _dispatch(self, reply: Reply) -> None:
        if reply.name in ("OK", "ERROR"):
            if not self._answers:
                raise ProtocolError(f"an answer that nobody waits for: {reply.name} {reply.message[:200]}")
            future, starts_task = self._answers.popleft()
            if starts_task and reply.name == "OK" and reply.task:
                self._tasks[reply.task] = asyncio.get_running_loop().create_future()
            _settle(future, reply)
        elif reply.name in ("FINISHED", "FAILED") and reply.task:
            if reply.task in self._tasks:  # else it was given up
                _settle(self._tasks[reply.task], reply)
        elif reply.name != "NOTE":
            raise ProtocolError(f"a reply of no kind: {reply.name}")

    def _fail(self, reason: str) -> ServerDiedError:
        error = ServerDiedError(reason)
        self._give_up(error)
        return error

    def _give_up(self, error: ServerDiedError) -> None:
        self._error = self._error or error
        for future in (*(future for future, _ in self._answers), *self._tasks.values()):
            if not future.done():
                future.set_exception(self._error)
                future.exception()  # seen, also where nobody waits any more
        self._answers.clear()


def _settle(future: asyncio.Future[Reply], reply: Reply) -> None:
    if not future.done():
        future.set_result(reply)
