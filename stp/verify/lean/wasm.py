"""Takes most exports out of the embedded Lean's WebAssembly, and says where their symbols are all the same.

The module exports 201,000 symbols, so that Lean's interpreter can find compiled code by name. For each of
them every thread made a JavaScript function, a table slot and a global, which took seconds and hundreds of
megabytes. Here the functions get their slots in the module itself and the symbols go into a file, in which
the launcher looks when the interpreter asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stp.errors import ToolchainError

_MAGIC = b"\0asm\1\0\0\0"
_IMPORT, _TABLE, _GLOBAL, _EXPORT, _ELEMENT = 2, 4, 6, 7, 9
_FUNCTION_KIND, _TABLE_KIND, _MEMORY_KIND, _GLOBAL_KIND, _TAG_KIND = range(5)
_I32_CONST, _END, _FUNCREF = 0x41, 0x0B, 0x70


def slim(wasm: bytes, removable: Callable[[str], bool]) -> tuple[bytes, dict[str, int]]:
    """The module without the exports that `removable` names, and the values of symbols: the index in the
    table of every function, the address of what is no function and goes.

    Raises:
        ToolchainError: it is not laid out as the pinned build is.
    """
    if not wasm.startswith(_MAGIC):
        raise _unknown("no WebAssembly module")
    sections = list(_sections(wasm))
    bodies = dict(sections)
    imported = _imported_globals(bodies[_IMPORT], removable)
    addresses = _addresses(bodies[_GLOBAL])
    slots, size = _slots(bodies[_TABLE], bodies[_ELEMENT])
    kept: list[bytes] = []
    symbols: dict[str, int] = {}
    added: list[int] = []
    for name, kind, index, entry in _exports(bodies[_EXPORT]):
        goes = removable(name) and kind in (_FUNCTION_KIND, _GLOBAL_KIND)
        if not goes:
            kept.append(entry)
        if kind == _FUNCTION_KIND:
            if index not in slots:
                slots[index] = size + len(added)
                added.append(index)
            symbols[name] = slots[index]
        elif goes:
            symbols[name] = addresses[index - imported]
    changed = {
        _TABLE: bytes([1, _FUNCREF, 0]) + _leb(size + len(added)),
        _EXPORT: _leb(len(kept)) + b"".join(kept),
        _ELEMENT: b"\x02" + bodies[_ELEMENT][1:] + _segment(size, added),
    }
    out = bytearray(_MAGIC)
    for id, body in sections:
        body = changed.get(id, body)
        out += bytes([id]) + _leb(len(body)) + body
    return bytes(out), symbols


def _unknown(what: str) -> ToolchainError:
    return ToolchainError(
        f"the embedded Lean's lean.wasm is not the pinned build: {what}; remove the cached toolchain and "
        "install it again"
    )


def _sections(wasm: bytes) -> Iterator[tuple[int, bytes]]:
    at = len(_MAGIC)
    while at < len(wasm):
        size, start = _number(wasm, at + 1)
        yield wasm[at], wasm[start : start + size]
        at = start + size


def _number(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _signed(data: bytes, at: int) -> tuple[int, int]:
    value, end = _number(data, at)
    bits = 7 * (end - at)
    return (value - (1 << bits) if data[end - 1] & 0x40 else value), end


def _leb(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _signed_leb(value: int) -> bytes:
    """A signed LEB128 number that is not negative."""
    out = bytearray()
    while value > 63:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _name(data: bytes, at: int) -> tuple[str, int]:
    size, start = _number(data, at)
    return data[start : start + size].decode(), start + size


def _exports(body: bytes) -> Iterator[tuple[str, int, int, bytes]]:
    """Name, kind, index and bytes of each export."""
    count, at = _number(body, 0)
    for _ in range(count):
        begin = at
        name, at = _name(body, at)
        index, end = _number(body, at + 1)
        yield name, body[at], index, body[begin:end]
        at = end


def _imported_globals(body: bytes, removable: Callable[[str], bool]) -> int:
    """How many there are; none may be resolved by the glue from an export that goes."""
    count, at = _number(body, 0)
    found = 0
    for _ in range(count):
        module, at = _name(body, at)
        name, at = _name(body, at)
        if module.startswith("GOT.") and removable(name):
            raise _unknown(f"it imports its own {name}")
        kind, at = body[at], at + 1
        if kind == _FUNCTION_KIND:
            _, at = _number(body, at)
        elif kind == _GLOBAL_KIND:
            found, at = found + 1, at + 2
        elif kind == _MEMORY_KIND:
            flags, at = body[at], at + 1
            _, at = _number(body, at)
            if flags & 1:
                _, at = _number(body, at)
        else:
            raise _unknown(f"an import of kind {kind}")
    return found


def _addresses(body: bytes) -> list[int]:
    """The first value of each global: a constant, as all of them are in this build."""
    count, at = _number(body, 0)
    values = []
    for _ in range(count):
        if body[at + 2] != _I32_CONST:
            raise _unknown("a global without a constant")
        value, at = _signed(body, at + 3)
        if body[at] != _END:
            raise _unknown("a global without a constant")
        values.append(value & 0xFFFFFFFF)
        at += 1
    return values


def _slots(table: bytes, elements: bytes) -> tuple[dict[int, int], int]:
    """The table index of each function that has one, and the table's size."""
    if table[:3] != bytes([1, _FUNCREF, 0]) or elements[:3] != bytes([1, 0, _I32_CONST]):
        raise _unknown("its table is another one")
    size, _ = _number(table, 3)
    offset, at = _number(elements, 3)
    count, at = _number(elements, at + 1)
    slots: dict[int, int] = {}
    for slot in range(offset, offset + count):
        index, at = _number(elements, at)
        slots[index] = slot
    return slots, size


def _segment(offset: int, functions: list[int]) -> bytes:
    where = bytes([0, _I32_CONST]) + _signed_leb(offset) + bytes([_END])
    return where + _leb(len(functions)) + b"".join(map(_leb, functions))
