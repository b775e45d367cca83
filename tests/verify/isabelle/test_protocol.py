"""Frames and the client, against bytes and against the double."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stp.verify.isabelle.client import Client, DeadlineError, RefusedError, ServerDiedError
from stp.verify.isabelle.protocol import Frames, ProtocolError, Reply, command, encode, parse
from stp.verify.isabelle.server import Server
from tests.verify.isabelle.conftest import MakeDouble

WAIT_S = 10.0


def test_frames_are_short_up_to_100_bytes_and_count_bytes_above() -> None:
    assert encode("x" * 100) == b"x" * 100 + b"\n"
    assert encode("x" * 101) == b"102\n" + b"x" * 101 + b"\n"
    assert encode("∀" * 34) == b"103\n" + "∀".encode() * 34 + b"\n"
    assert encode("a\nb") == b"4\na\nb\n"
    assert command("help") == b"help\n"
    assert command("echo", 42) == b"echo 42\n"
    for illegal in ["", "42", "x\n", "x\r"]:
        with pytest.raises(ProtocolError):
            encode(illegal)


def test_replies_are_a_name_and_json() -> None:
    assert parse("OK") == Reply("OK", None)
    assert parse("ERROR \"Bad command 'foo'\"").message == "Bad command 'foo'"
    assert parse('OK{"task":"c"}') == Reply("OK", {"task": "c"})
    for bad in ["OK {", "{}", "", "OK \x05X\x06"]:
        with pytest.raises(ProtocolError):
            parse(bad)


@given(
    st.lists(st.text(min_size=1).filter(lambda t: not t.isdigit() and t[-1] not in "\r\n"), max_size=5),
    st.data(),
)
def test_frames_come_whole_however_the_bytes_are_cut(texts: list[str], data: st.DataObject) -> None:
    texts = [text for text in texts if "\r" not in text and text.strip("\n")]
    raw = b"".join(encode("N " + text) for text in texts)
    frames, found, at = Frames(), [], 0
    while at < len(raw):
        size = data.draw(st.integers(1, 9))
        found += frames.feed(raw[at : at + size])
        at += size
    assert found == ["N " + text for text in texts]


def test_what_is_no_frame_is_refused() -> None:
    for raw in [b"\xff\xfe\n", b"99999999999\n"]:
        with pytest.raises(ProtocolError):
            Frames().feed(raw)
    assert Frames().feed(b"\r\n\nOK\r\n5\r\nOK 1\n") == ["OK", "OK 1"]


def dialogue(make_double: MakeDouble, talk: Callable[[Client], Awaitable[Any]], **faults: object) -> Any:
    server = Server(make_double(**faults))

    async def run() -> Any:
        client = await Client.connect(server.host, server.port, server.password, WAIT_S)
        try:
            return await talk(client)
        finally:
            await client.close()

    try:
        return asyncio.run(run())
    finally:
        server.kill()


def test_commands_answer_in_their_order_and_errors_are_refusals(make_double: MakeDouble) -> None:
    async def talk(client: Client) -> None:
        echoes = [client.call("echo", {"n": n, "text": "∀" * n}, timeout_s=WAIT_S) for n in range(60)]
        assert [echo["n"] for echo in await asyncio.gather(*echoes)] == list(range(60))
        with pytest.raises(RefusedError, match="Bad command"):
            await client.call("foo", timeout_s=WAIT_S)
        with pytest.raises(RefusedError, match="Bad argument"):
            await client.call("use_theories", {}, timeout_s=WAIT_S)
        with pytest.raises(RefusedError, match="No session"):
            await client.task("use_theories", {"session_id": "none", "theories": []}, timeout_s=WAIT_S)

    dialogue(make_double, talk, fragment=0.5)


def test_a_task_that_is_late_is_cancelled_and_the_connection_lives(
    make_double: MakeDouble, tmp_path: Any
) -> None:
    (tmp_path / "A.thy").write_text('theory A imports Main begin\nlemma a: "x = x" by spin\nend\n')
    (tmp_path / "B.thy").write_text('theory B imports Main begin\nlemma b: "x = x" by simp\nend\n')

    async def talk(client: Client) -> None:
        session = (await client.task("session_start", {"session": "HOL"}, timeout_s=WAIT_S))["session_id"]

        async def use(name: str, timeout_s: float) -> dict[str, Any]:
            argument = {
                "session_id": session, "theories": [name], "master_dir": str(tmp_path),
                "watchdog_timeout": 60,
            }  # fmt: skip
            return await client.task("use_theories", argument, timeout_s=timeout_s)

        late, done = await asyncio.gather(use("A", 0.3), use("B", WAIT_S), return_exceptions=True)
        assert isinstance(late, DeadlineError)
        assert isinstance(done, dict)
        assert done["ok"] is True
        assert done["nodes"][-1]["status"]["consolidated"] is True
        assert await client.call("echo", "alive", timeout_s=WAIT_S) == "alive"

    dialogue(make_double, talk)


def test_a_watchdog_says_ok_of_a_theory_that_still_runs(make_double: MakeDouble, tmp_path: Any) -> None:
    (tmp_path / "A.thy").write_text('theory A imports Main begin\nlemma a: "x = x" by spin\nend\n')

    async def talk(client: Client) -> None:
        session = (await client.task("session_start", {"session": "HOL"}, timeout_s=WAIT_S))["session_id"]
        argument = {
            "session_id": session, "theories": ["A"], "master_dir": str(tmp_path), "watchdog_timeout": 0.2,
        }  # fmt: skip
        answer = await client.task("use_theories", argument, timeout_s=WAIT_S)
        assert answer["ok"] is True
        assert answer["nodes"][-1]["status"]["consolidated"] is False

    dialogue(make_double, talk)


def test_a_wrong_password_and_a_death_are_said_to_all_that_wait(make_double: MakeDouble) -> None:
    async def talk(client: Client) -> None:
        waiting = [client.call("echo", n, timeout_s=WAIT_S) for n in range(3)]
        await client.call("shutdown", timeout_s=WAIT_S)
        assert all(
            isinstance(e, ServerDiedError) for e in await asyncio.gather(*waiting, return_exceptions=True)
        )
        with pytest.raises(ServerDiedError):
            await client.call("echo", 1, timeout_s=WAIT_S)

    dialogue(make_double, talk)
    with pytest.raises(ServerDiedError):
        dialogue(make_double, talk, wrong_password=1.0)
