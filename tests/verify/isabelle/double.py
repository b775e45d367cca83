"""A double of the `isabelle` command, after the dialogue of a real server (August 2024) and its protocol.

It is for protocol, faults and scheduling where no Isabelle can be had. What it does as the real one did:
banner, silent close at a wrong password, frames with byte counts above 100 bytes, tasks side by side, notes
with and without a task, per-connection cancel, FINISHED with `ok` true for `sorry` and for what a watchdog
cut short, a name used again after a purge refused. `faults.json` in its home says what goes wrong, how often.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import double_model as model


class Double:
    """The server's state: sessions and theories are shared by all connections."""

    def __init__(self, home: Path, name: str) -> None:
        self.home, self.name = home, name
        self.faults: dict[str, Any] = json.loads((home / "faults.json").read_text())
        starts = home / "starts"  # so that a server that is started again fails in another way
        with starts.open("a") as file:
            file.write("x")
        self.random = random.Random(f"{self.faults.get('seed')} {starts.stat().st_size}")
        model.TAINT[:] = self.faults.get("taint", [])
        self.password = str(uuid.uuid4())
        self.sessions: set[str] = set()
        self.theories: dict[str, model.Theory] = {}
        self.purged: set[str] = set()

    def happens(self, fault: str) -> bool:
        return self.random.random() < self.faults.get(fault, 0.0)

    async def serve(self) -> None:
        # Like the real ML process: a session of its own, and an end when its channel closes.
        subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
        server = await asyncio.start_server(self.connection, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        password = "wrong" if self.happens("wrong_password") else self.password
        print(f'server "{self.name}" = 127.0.0.1:{port} (password "{password}")', flush=True)
        await server.serve_forever()

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.readline()).decode().strip() != self.password:
            writer.close()
            return
        connection = Connection(self, writer)
        await connection.send('OK {"isabelle_id":"double","isabelle_name":"Isabelle2025-double"}')
        try:
            while line := (await reader.readline()).rstrip(b"\r\n"):
                text = await reader.readexactly(int(line)) if line.isdigit() else line
                await connection.command(text.decode().rstrip("\r\n"))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        for task in connection.tasks.values():
            task.cancel()
        writer.close()


def framed(text: str) -> bytes:
    data = text.encode()
    return data + b"\n" if len(data) <= 100 and b"\n" not in data else b"%d\n%s\n" % (len(data) + 1, data)


class Connection:
    """One client: its tasks are its own."""

    def __init__(self, double: Double, writer: asyncio.StreamWriter) -> None:
        self.double, self.writer = double, writer
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.lock = asyncio.Lock()

    async def send(self, text: str) -> None:
        frame = framed(text)
        async with self.lock:  # whole messages are atomic
            if self.double.happens("die"):
                self.writer.write(frame[: len(frame) // 2])
                await self.writer.drain()
                os._exit(1)
            if self.double.happens("alien"):  # what belongs to a task that nobody waits for any more
                task = str(uuid.uuid4())
                for name in ("NOTE", "FINISHED"):
                    self.writer.write(framed(f"{name} {json.dumps({'task': task, 'ok': True, 'nodes': []})}"))
            if self.double.happens("garbage"):
                self.writer.write(b"12\n34\n")
            if self.double.happens("fragment"):
                for i in range(0, len(frame), 7):
                    self.writer.write(frame[i : i + 7])
                    await self.writer.drain()
                    await asyncio.sleep(0)
            else:
                self.writer.write(frame)
                await self.writer.drain()

    async def command(self, text: str) -> None:
        name, _, rest = text.partition(" ")
        if name not in NAMES:
            await self.send(f"ERROR {json.dumps(f'Bad command {name!r}')}")
            return
        argument = json.loads(rest) if rest else None
        if name == "help":
            await self.send(f"OK {json.dumps(NAMES)}")
        elif name == "echo":
            await self.send(f"OK {json.dumps(argument)}" if rest else "OK")
        elif name == "cancel":
            if task := self.tasks.get(argument["task"]):
                task.cancel()
            await self.send("OK")
        elif name == "purge_theories":
            await self.purge(argument)
        elif name == "shutdown":
            await self.send("OK")
            os._exit(0)
        elif "session_id" in argument or "session" in argument:
            task_id = str(uuid.uuid4())
            await self.send(f"OK {json.dumps({'task': task_id})}")
            self.tasks[task_id] = asyncio.create_task(self.task(task_id, name, argument))
        else:
            what = {"kind": "error", "message": f"Bad argument for command '{name}'", "argument": rest}
            await self.send(f"ERROR {json.dumps(what)}")

    async def task(self, task: str, name: str, argument: dict[str, Any]) -> None:
        try:
            result = await getattr(self, name)(task, argument)
        except asyncio.CancelledError:
            if not self.double.happens("lost_interrupt"):
                await self.finish("FAILED", task, {"kind": "error", "message": "Interrupt"})
            return
        except LookupError as error:
            await self.finish("FAILED", task, {"kind": "error", "message": str(error.args[0])})
            return
        if not self.double.happens("lost_finished"):
            await self.finish("FINISHED", task, result)

    async def finish(self, name: str, task: str, result: dict[str, Any]) -> None:
        await self.send(f"{name} {json.dumps({**result, 'task': task}, ensure_ascii=False)}")

    async def note(self, **note: Any) -> None:
        await self.send(f"NOTE {json.dumps(note, ensure_ascii=False)}")

    async def session_start(self, task: str, argument: dict[str, Any]) -> dict[str, Any]:
        await self.note(kind="writeln", message="Starting session HOL ...", verbose="false", task=task)
        if argument["session"] == "Missing":
            raise LookupError('Undefined session(s): "Missing"')
        session = str(uuid.uuid4())
        self.double.sessions.add(session)
        return {"session_id": session, "tmp_dir": "/tmp/double"}

    async def use_theories(self, task: str, argument: dict[str, Any]) -> dict[str, Any]:
        if argument["session_id"] not in self.double.sessions:
            raise LookupError(f"No session '{argument['session_id']}'")
        if self.double.happens("failed"):
            raise LookupError("Bad thing")
        nodes: dict[str, model.Theory] = {}
        for name in argument["theories"]:
            self.load(name, Path(argument["master_dir"]), nodes)
        for theory in nodes.values():
            await self.note(
                percentage=99, task=task, message=f"theory Draft.{theory.name} 99%", kind="writeln",
                session="", theory=f"Draft.{theory.name}",
            )  # fmt: skip
        await self.note(kind="nodes_status", nodes_status=[], message="∀ε — no task")
        if any(theory.running for theory in nodes.values()):
            if self.double.happens("burn"):
                threading.Thread(target=burn, daemon=True).start()
            await asyncio.sleep(argument["watchdog_timeout"])
        if self.double.happens("partial"):
            cut = list(nodes.values())[self.double.random.randrange(len(nodes)) :]
            for theory in cut:
                theory.running, theory.messages, theory.errors = True, [], []
        errors = [error for theory in nodes.values() for error in theory.errors]
        return {
            "ok": not errors,
            "errors": errors,
            "nodes": [
                {
                    "messages": theory.messages, "exports": [], "status": theory.status(),
                    "theory_name": f"Draft.{theory.name}", "node_name": f"/theories/{theory.name}.thy",
                }
                for theory in nodes.values()
            ],
        }  # fmt: skip

    def load(self, name: str, folder: Path, nodes: dict[str, model.Theory]) -> model.Theory:
        if name in model.LIBRARY:
            return model.Theory(name)
        if name not in self.double.theories:
            path = folder / f"{name}.thy"
            if not path.is_file():
                raise LookupError(f'Cannot load theory file "{path}"\nThe error(s) above occurred for {name}')
            text = path.read_text()
            parents = [self.load(parent, folder, nodes) for parent in model.header(text)[1]]
            theory = model.Theory(name) if name == "STP_Audit" else model.run(text, parents)
            if name in self.double.purged:
                theory.say("error", "Illegal theory header", 1)
            self.double.theories[name] = theory
        nodes[name] = self.double.theories[name]
        return nodes[name]

    async def purge(self, argument: dict[str, Any]) -> None:
        if argument["session_id"] not in self.double.sessions:
            what = {"kind": "error", "message": f"No session '{argument['session_id']}'"}
            await self.send(f"ERROR {json.dumps(what)}")
            return
        names = [name for name in argument["theories"] if name in self.double.theories]
        for name in names:
            del self.double.theories[name]
        self.double.purged |= set(names)

        def node(name: str) -> dict[str, str]:
            return {"node_name": f"/theories/{name}.thy", "theory_name": f"Draft.{name}"}

        result = {"purged": list(map(node, names)), "retained": list(map(node, self.double.theories))}
        await self.send(f"OK {json.dumps(result)}")


NAMES = [
    "cancel", "echo", "help", "purge_theories", "session_build", "session_start", "session_stop", "shutdown",
    "use_theories",
]  # fmt: skip


def burn() -> None:
    while True:
        pass


def build(folder: Path) -> int:
    """`isabelle build` of a folder's session: `sorry` passes only where ROOT says so."""
    theories: dict[str, model.Theory] = {}

    def load(name: str, dirty: bool) -> model.Theory:
        path = folder / f"{name}.thy"
        if name == "STP_Audit" or not path.is_file():
            return model.Theory(name)
        if name not in theories:
            text = path.read_text()
            parents = [load(parent, False) for parent in model.header(text)[1]]
            theories[name] = model.run(text, parents, quick_and_dirty=dirty)
        return theories[name]

    for dirty, names in re.findall(
        r"theories (\[quick_and_dirty\] )?([\w ]+)", (folder / "ROOT").read_text()
    ):
        for name in names.split():
            load(name, bool(dirty))
    errors = [error["message"] for theory in theories.values() for error in theory.errors]
    print("\n".join(map(str, errors)))
    return 1 if errors else 0


def main() -> int:
    home, command, *rest = sys.argv[1:]
    if command == "version":
        print("Isabelle2025-double")
    elif command == "getenv":
        print({"ISABELLE_HOME": Path(home), "ISABELLE_HOME_USER": Path(home) / "user"}[rest[1]])
    elif command == "server":
        asyncio.run(Double(Path(home), rest[1]).serve())
    elif command == "build":
        status = json.loads((Path(home) / "faults.json").read_text()).get("build_status")
        return build(Path(rest[1])) if status is None else int(status)
    return 0


if __name__ == "__main__":
    sys.exit(main())
