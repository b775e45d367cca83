"""Reads and writes WebAssembly modules, as far as the embedded Lean's installer changes one.

Source: the WebAssembly core specification, chapter 5 (binary format).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from stp.errors import ToolchainError

_MAGIC = b"\0asm\1\0\0\0"
TYPE, IMPORT, FUNCTION, TABLE, GLOBAL, EXPORT, ELEMENT, CODE = 1, 2, 3, 4, 6, 7, 9, 10
FUNCTION_KIND, TABLE_KIND, MEMORY_KIND, GLOBAL_KIND, TAG_KIND = range(5)
I32_CONST, END, FUNCREF, EXTERNREF = 0x41, 0x0B, 0x70, 0x6F
_SHARED_LIMITS = 1


class Import(NamedTuple):
    """One import: what it is imported from and as, its kind, and of a function the index of its type."""

    module: str
    name: str
    kind: int
    type: int


class Export(NamedTuple):
    """One export: its name, its kind, the index of what it is, and its bytes."""

    name: str
    kind: int
    place: int
    entry: bytes


def unknown(what: str) -> ToolchainError:
    """The error of a module that is not laid out as the pinned build is."""
    return ToolchainError(
        f"the embedded Lean's lean.wasm is not the pinned build: {what}; remove the cached toolchain and "
        "install it again"
    )


def read(wasm: bytes) -> list[tuple[int, bytes]]:
    """The sections of a module, each with its number.

    Raises:
        ToolchainError: it is none.
    """
    if not wasm.startswith(_MAGIC):
        raise unknown("no WebAssembly module")
    sections, at = [], len(_MAGIC)
    while at < len(wasm):
        size, start = number(wasm, at + 1)
        sections.append((wasm[at], wasm[start : start + size]))
        at = start + size
    return sections


def write(sections: Iterable[tuple[int, bytes]]) -> bytes:
    """The module of some sections."""
    return _MAGIC + b"".join(bytes([id]) + leb(len(body)) + body for id, body in sections)


def number(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def signed(data: bytes, at: int) -> tuple[int, int]:
    """A signed LEB128 number, and where it ends."""
    value, end = number(data, at)
    bits = 7 * (end - at)
    return (value - (1 << bits) if data[end - 1] & 0x40 else value), end


def leb(value: int) -> bytes:
    """An unsigned LEB128 number."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def signed_leb(value: int) -> bytes:
    """A signed LEB128 number that is not negative."""
    out = bytearray()
    while value > 63:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def vector(items: list[bytes]) -> bytes:
    """Items behind their number."""
    return leb(len(items)) + b"".join(items)


def extended(section: bytes, items: list[bytes]) -> bytes:
    """A section that is a vector, with more items behind the others."""
    count, at = number(section, 0)
    return leb(count + len(items)) + section[at:] + b"".join(items)


def text(value: str) -> bytes:
    """A name."""
    return leb(len(value.encode())) + value.encode()


def _text(data: bytes, at: int) -> tuple[str, int]:
    size, start = number(data, at)
    return data[start : start + size].decode(), start + size


def imports(section: bytes) -> Iterator[Import]:
    """What the module imports, in order: functions, globals and one memory.

    Raises:
        ToolchainError: something else.
    """
    count, at = number(section, 0)
    for _ in range(count):
        module, at = _text(section, at)
        name, at = _text(section, at)
        kind, at, type = section[at], at + 1, 0
        if kind == FUNCTION_KIND:
            type, at = number(section, at)
        elif kind == GLOBAL_KIND:
            at += 2
        elif kind == MEMORY_KIND:
            flags, at = section[at], at + 1
            _, at = number(section, at)
            if flags & _SHARED_LIMITS:
                _, at = number(section, at)
        else:
            raise unknown(f"an import of kind {kind}")
        yield Import(module, name, kind, type)


def exports(section: bytes) -> Iterator[Export]:
    """What the module exports."""
    count, at = number(section, 0)
    for _ in range(count):
        begin = at
        name, at = _text(section, at)
        place, end = number(section, at + 1)
        yield Export(name, section[at], place, section[begin:end])
        at = end


def table_size(section: bytes) -> int:
    """How long the module's one table of functions is when it begins.

    Raises:
        ToolchainError: it has another.
    """
    if section[:3] != bytes([1, FUNCREF, 0]):
        raise unknown("its table is another one")
    return number(section, 3)[0]


def table_of(size: int) -> bytes:
    """The section of such a table."""
    return bytes([1, FUNCREF, 0]) + leb(size)


def elements(section: bytes) -> Iterator[tuple[int, int]]:
    """Each place in the table that the module fills, and the index of the function there.

    Raises:
        ToolchainError: it fills the table otherwise than from a constant on.
    """
    segments, at = number(section, 0)
    for _ in range(segments):
        if section[at : at + 2] != bytes([0, I32_CONST]):
            raise unknown("its table is another one")
        first, at = signed(section, at + 2)
        count, at = number(section, at + 1)
        for place in range(first, first + count):
            function, at = number(section, at)
            yield place, function
