"""The Isabelle server's wire format: messages in frames, names with JSON arguments (System Manual, ch. 4).

A short frame is a line; a long one is a line with the number of bytes that follow. The server writes the
long form above 100 bytes or where the text has a line break, and the bytes include the break that it adds.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

#: Longer texts, in bytes, travel in long frames.
SHORT_BYTES = 100
_MAX_BYTES = 256 << 20
_NAME = re.compile(r"[A-Za-z0-9_.]*")


class ProtocolError(Exception):
    """What came is no message of this protocol."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One message of the server: `OK`, `ERROR`, `NOTE`, `FINISHED` or `FAILED`, and its argument."""

    name: str
    argument: Any

    @property
    def task(self) -> str | None:
        """The task that it belongs to, where it names one."""
        return self.argument.get("task") if isinstance(self.argument, dict) else None

    @property
    def message(self) -> str:
        """What it says, for people."""
        if isinstance(self.argument, dict):
            return str(self.argument.get("message", self.argument))
        return str(self.argument)


def encode(text: str) -> bytes:
    """A frame for the text.

    Raises:
        ProtocolError: the text is empty, only digits or ends with a line break, which no frame can carry.
    """
    data = text.encode()
    if not text or text.isdigit() or text[-1] in "\r\n":
        raise ProtocolError(f"no message: {text[:50]!r}")
    if len(data) > SHORT_BYTES or b"\n" in data:
        return b"%d\n%s\n" % (len(data) + 1, data)
    return data + b"\n"


def command(name: str, argument: object = None) -> bytes:
    """The frame of a command; no argument is the unit."""
    return encode(name if argument is None else f"{name} {json.dumps(argument)}")


def parse(text: str) -> Reply:
    """The reply in a frame's text.

    Raises:
        ProtocolError: it has no name, or an argument that is no JSON.
    """
    match = _NAME.match(text)
    name = match[0] if match else ""
    argument = text[len(name) :].strip()
    if not name:
        raise ProtocolError(f"a message without a name: {text[:50]!r}")
    try:
        return Reply(name, json.loads(argument) if argument else None)
    except (ValueError, RecursionError):
        raise ProtocolError(f"a message with an argument that is no JSON: {text[:200]!r}") from None


class Frames:
    """Cuts a stream of bytes, as it comes in pieces of any size, into the texts of its frames."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._long: int | None = None

    def feed(self, data: bytes) -> list[str]:
        """The texts of the frames that are whole now.

        Raises:
            ProtocolError: a frame too large, or bytes that are no UTF-8.
        """
        self._bytes += data
        texts = []
        while (frame := self._next()) is not None:
            try:
                texts.append(frame.decode())
            except UnicodeDecodeError as error:
                raise ProtocolError(f"a message that is no UTF-8: {error}") from None
        return texts

    def _next(self) -> bytes | None:
        if self._long is not None:
            return self._take(self._long)
        while (end := self._bytes.find(b"\n")) >= 0:
            line = bytes(self._bytes[:end]).rstrip(b"\r")
            del self._bytes[: end + 1]
            if line.isdigit():
                self._long = int(line)
                if self._long > _MAX_BYTES:
                    raise ProtocolError(f"a message of {self._long} bytes")
                return self._take(self._long)
            if line:
                return line
        if len(self._bytes) > _MAX_BYTES:
            raise ProtocolError("a line without end")
        return None

    def _take(self, count: int) -> bytes | None:
        if len(self._bytes) < count:
            return None
        frame = bytes(self._bytes[:count])
        del self._bytes[:count]
        self._long = None
        return frame.removesuffix(b"\n").removesuffix(b"\r")
