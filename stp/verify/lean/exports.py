"""Takes most exports out of the embedded Lean's WebAssembly, and says where their symbols are all the same.

The module exports 201,000 symbols, so that Lean's interpreter can find compiled code by name. For each of
them every thread made a JavaScript function, a table slot and a global, which took seconds and hundreds of
megabytes. Here the functions get their slots in the module itself and the symbols go into a file, in which
the launcher looks when the interpreter asks.
"""

from __future__ import annotations

from collections.abc import Callable

from stp.verify.lean import wasm


def slim(module: bytes, removable: Callable[[str], bool]) -> tuple[bytes, dict[str, int]]:
    """The module without the exports that `removable` names, and the values of symbols: the index in the
    table of every function, the address of what is no function and goes.

    Raises:
        ToolchainError: it is not laid out as the pinned build is.
    """
    sections = wasm.read(module)
    bodies = dict(sections)
    imported = _imported_globals(bodies[wasm.IMPORT], removable)
    addresses = _addresses(bodies[wasm.GLOBAL])
    size = wasm.table_size(bodies[wasm.TABLE])
    slots = {function: place for place, function in wasm.elements(bodies[wasm.ELEMENT])}
    kept: list[bytes] = []
    symbols: dict[str, int] = {}
    added: list[int] = []
    for name, kind, index, entry in wasm.exports(bodies[wasm.EXPORT]):
        goes = removable(name) and kind in (wasm.FUNCTION_KIND, wasm.GLOBAL_KIND)
        if not goes:
            kept.append(entry)
        if kind == wasm.FUNCTION_KIND:
            if index not in slots:
                slots[index] = size + len(added)
                added.append(index)
            symbols[name] = slots[index]
        elif goes:
            symbols[name] = addresses[index - imported]
    changed = {
        wasm.TABLE: wasm.table_of(size + len(added)),
        wasm.EXPORT: wasm.vector(kept),
        wasm.ELEMENT: wasm.extended(bodies[wasm.ELEMENT], [_segment(size, added)]),
    }
    return wasm.write((id, changed.get(id, body)) for id, body in sections), symbols


def _imported_globals(section: bytes, removable: Callable[[str], bool]) -> int:
    """How many there are; none may be resolved by the glue from an export that goes."""
    found = 0
    for entry in wasm.imports(section):
        if entry.module.startswith("GOT.") and removable(entry.name):
            raise wasm.unknown(f"it imports its own {entry.name}")
        found += entry.kind == wasm.GLOBAL_KIND
    return found


def _addresses(section: bytes) -> list[int]:
    """The first value of each global: a constant, as all of them are in this build."""
    count, at = wasm.number(section, 0)
    values = []
    for _ in range(count):
        if section[at + 2] != wasm.I32_CONST:
            raise wasm.unknown("a global without a constant")
        value, at = wasm.signed(section, at + 3)
        if section[at] != wasm.END:
            raise wasm.unknown("a global without a constant")
        values.append(value & 0xFFFFFFFF)
        at += 1
    return values


def _segment(first: int, functions: list[int]) -> bytes:
    where = bytes([0, wasm.I32_CONST]) + wasm.signed_leb(first) + bytes([wasm.END])
    return where + wasm.vector([wasm.leb(function) for function in functions])
