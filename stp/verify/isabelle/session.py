"""A server with one session and one connection to it: theories in, what became of them out."""

from __future__ import annotations

import asyncio
import shutil
from typing import Any

from stp.errors import ToolchainError
from stp.verify.isabelle.client import Client, RefusedError
from stp.verify.isabelle.server import Server
from stp.verify.isabelle.theories import AUDIT, nodes_of
from stp.verify.isabelle.toolchain import IsabelleToolchain

_SESSION_S = 300.0
_ANSWER_S = 60.0
#: How much longer than its watchdog the server has to say what there is.
_GRACE_S = 5.0
_CHECK_DELAY_S = 0.02
#: A server that uses a tenth of a core over this time after a proof was given up still runs it (a whole core
#: where nothing else runs).
_IDLE_S = 0.3
#: Sessions whose theories a header may import although they are not in the heap.
INCLUDED = ("HOL-Library", "HOL-Computational_Algebra", "HOL-Number_Theory")


class Session:
    """Made by `start`, ended by `close`. Its calls raise what `stp.verify.isabelle.client` raises."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._client: Client | None = None
        self._id = ""

    async def start(self, toolchain: IsabelleToolchain) -> None:
        """Connects and starts the session.

        Raises:
            ToolchainError: the server refuses to start the session.
        """
        server = self.server
        self._client = await Client.connect(server.host, server.port, server.password, _ANSWER_S)
        shutil.copy(toolchain.project / f"{AUDIT}.thy", server.theories)
        argument = {
            "session": toolchain.session,
            "options": toolchain.options,
            "include_sessions": list(INCLUDED),
        }
        try:
            started = await self._client.task("session_start", argument, timeout_s=_SESSION_S)
        except RefusedError as error:
            raise ToolchainError(
                f"session {toolchain.session} does not start: {error}; try: "
                f"isabelle build -b {toolchain.session}"
            ) from None
        self._id = str(started.get("session_id"))

    async def use(self, theories: dict[str, str], wanted: list[str], limit_s: float) -> dict[str, Any]:
        """Writes theories and has the server go through the wanted ones and what they import.

        Where nothing changes for the time of its watchdog, the server answers with what there is."""
        for name, text in theories.items():
            (self.server.theories / f"{name}.thy").write_text(text, encoding="utf-8")
        argument = {
            **self._about(wanted),
            "check_delay": _CHECK_DELAY_S,
            "watchdog_timeout": limit_s,
        }
        return await self._connected().task("use_theories", argument, timeout_s=limit_s + _GRACE_S)

    async def purge(self, names: list[str]) -> None:
        """Unloads theories and removes their files.

        Raises:
            RefusedError: the server keeps one of them, so that its memory would grow.
        """
        answer = await self._connected().call("purge_theories", self._about(names), timeout_s=_ANSWER_S)
        for name in names:
            (self.server.theories / f"{name}.thy").unlink(missing_ok=True)
        retained = nodes_of({"nodes": answer.get("retained")} if isinstance(answer, dict) else {})
        if kept := sorted(retained.keys() & set(names)):
            raise RefusedError(f"the server does not let go of {kept[0]}")

    async def busy(self) -> bool:
        """Does the prover run on? Of a proof that was given up nothing tells but the cores that it takes."""
        before = self.server.cpu_s()
        await asyncio.sleep(_IDLE_S)
        return self.server.cpu_s() - before > _IDLE_S / 10

    async def close(self) -> None:
        """Ends the connection and the server. May be called more than once."""
        if self._client:
            await self._client.close()
        self.server.kill()

    def _connected(self) -> Client:
        if self._client is None:
            raise RefusedError("the session was not started")
        return self._client

    def _about(self, theories: list[str]) -> dict[str, object]:
        return {"session_id": self._id, "theories": theories, "master_dir": str(self.server.theories)}
