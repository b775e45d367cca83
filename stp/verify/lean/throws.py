"""Catches C++'s exceptions inside of the embedded Lean's WebAssembly.

Where something must be tidied up behind a call, Emscripten's C++ does not call: by an import
`invoke_SIGNATURE` it asks JavaScript to call the function at an index of the table, and to set a flag where
that threw. A proof by `omega` makes 370,000 such calls, by `grind` 670,000. Here they stay in the module,
which since `WebAssembly.JSTag` can catch what JavaScript throws: 19 in 20 name a function that is known, and
become direct calls of one that calls it and catches; the others go through one function for each signature.

What was thrown goes to a function in a place of the table that is JavaScript's to fill (see `throws.js`).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from stp.verify.lean import wasm

TAG = "stp_tag"
"""The import, from `env`, of the tag by which JavaScript's exceptions are caught."""

_INVOKE = "invoke_"
_STACK_POINTER = "__stack_pointer"
_TYPES = {"i": b"\x7f", "j": b"\x7e", "f": b"\x7d", "d": b"\x7c"}
#: The instruction that gives a result of that type.
_ZEROS = {
    b"": b"",
    b"\x7f": b"\x41\0",
    b"\x7e": b"\x42\0",
    b"\x7d": b"\x43" + bytes(4),
    b"\x7c": b"\x44" + bytes(8),
}

_BLOCK, _END, _BR_TABLE, _RETURN, _CALL, _CALL_INDIRECT, _CALL_REF = 0x02, 0x0B, 0x0E, 0x0F, 0x10, 0x11, 0x14
_DROP, _TRY_TABLE, _LOCAL_GET, _LOCAL_SET, _GLOBAL_GET, _GLOBAL_SET = 0x1A, 0x1F, 0x20, 0x21, 0x23, 0x24
_TABLE_GET, _CONST = 0x25, wasm.I32_CONST
_EMPTY, _BR_ON_CAST_FAIL, _NULLABLE_TO_NULL = b"\x40", b"\xfb\x19", 1

_NUMBER = rb"[\x80-\xff]*+[\0-\x7f]"
#: Every instruction of the build but `call` and `br_table`: first byte, numbers (N) or bytes behind it.
_PLAIN = rb"""
    [\x00\x01\x05\x0b\x0f\x1a\x1b\x45-\xc4\xd1]
    | [\x02-\x04\x0c\x0d\x20-\x26\x3f-\x42\xd0\xd2] N
    | [\x28-\x3e\x11] N N
    | \x43.{4} | \x44.{8} | \x1c\x01.
    | \xfc (?: [\0-\x07] | [\x09\x0b] N | [\x08\x0a] N N )
    | \xfe (?: \x03\0 | [\0-\x02\x04-\xff] N N )
""".replace(b"N", _NUMBER)
_INSTRUCTION = re.compile(rb"(?:" + _PLAIN + rb"|\x10" + _NUMBER + rb")", re.DOTALL | re.VERBOSE)


#: How many values an instruction takes that arguments are made with, and leaves one.
_TAKEN = (
    dict.fromkeys([_LOCAL_GET, _GLOBAL_GET, *range(0x41, 0x45)], 0)  # the latter are constants
    | dict.fromkeys([0x22, *range(0x28, 0x36)], 1)  # local.tee, loads
    | dict.fromkeys([*range(0x46, 0x50), *range(0x6A, 0x79)], 2)  # comparisons and arithmetic of i32
    | {0x1B: 3}  # select
)


class _Type(NamedTuple):
    parameters: bytes
    result: bytes

    def section_entry(self) -> bytes:
        taken, given = wasm.leb(len(self.parameters)), wasm.leb(len(self.result))
        return b"\x60" + taken + self.parameters + given + self.result


def catch_inside(module: bytes) -> tuple[bytes, int]:
    """The module with its invoking calls made into calls of its own, and the place in the table where
    JavaScript puts the function that gets what was thrown: that throws it again, or sets C++'s flag.

    Raises:
        ToolchainError: it is not laid out as the pinned build is.
    """
    sections = wasm.read(module)
    return _Catching(dict(sections)).rewritten(sections)


class _Catching:
    """One module, and what is added to it."""

    def __init__(self, bodies: dict[int, bytes]) -> None:
        self._bodies = bodies
        imported = list(wasm.imports(bodies[wasm.IMPORT]))
        functions = [entry for entry in imported if entry.kind == wasm.FUNCTION_KIND]
        self._imported = len(functions)
        self._types = _types(bodies[wasm.TYPE])
        self._type_of = [entry.type for entry in functions] + _numbers(bodies[wasm.FUNCTION])
        self._places = dict(wasm.elements(bodies[wasm.ELEMENT]))
        self._caught_at = wasm.table_size(bodies[wasm.TABLE])
        self._stack = wasm.leb(_stack_pointer(bodies[wasm.EXPORT]))
        self._signatures = {
            index: _signature(entry.name.removeprefix(_INVOKE))
            for index, entry in enumerate(functions)
            if entry.name.startswith(_INVOKE)
        }
        called = [type.section_entry() for type in self._signatures.values()]
        self._new_types = [*called, _Type(bytes([wasm.EXTERNREF]), b"").section_entry()]
        self._caught_type = len(self._types) + len(called)
        self._added: list[tuple[int, bytes]] = []  # the type of each new function, and its code
        self._indirect = {
            index: self._add(self._type_of[index], self._calling_what_is_given(index, len(self._types) + i))
            for i, index in enumerate(self._signatures)
        }
        self._direct: dict[int, int] = {}

    def rewritten(self, sections: list[tuple[int, bytes]]) -> tuple[bytes, int]:
        """See `catch_inside`."""
        code = self._rewritten_code(self._bodies[wasm.CODE])
        tag = wasm.text("env") + wasm.text(TAG) + bytes([wasm.TAG_KIND, 0]) + wasm.leb(self._caught_type)
        changed = {
            wasm.TYPE: wasm.extended(self._bodies[wasm.TYPE], self._new_types),
            wasm.IMPORT: wasm.extended(self._bodies[wasm.IMPORT], [tag]),
            wasm.FUNCTION: wasm.extended(
                self._bodies[wasm.FUNCTION], [wasm.leb(type) for type, _ in self._added]
            ),
            wasm.TABLE: wasm.table_of(self._caught_at + 1),
            wasm.CODE: wasm.vector([*code, *(body for _, body in self._added)]),
        }
        return wasm.write((id, changed.get(id, body)) for id, body in sections), self._caught_at

    def _rewritten_code(self, code: bytes) -> list[bytes]:
        invoke = b"|".join(re.escape(wasm.leb(index)) for index in self._signatures)
        others = rb"(?:" + _PLAIN + rb"|\x10 (?!" + invoke + rb")" + _NUMBER + rb")*+"
        run = re.compile(others, re.DOTALL | re.VERBOSE)
        count, at = wasm.number(code, 0)
        bodies = []
        for _ in range(count):
            begin = at
            size, start = wasm.number(code, at)
            at = start + size
            first = _behind_locals(code, start)
            bodies.append(
                self._rewritten_body(code, start, first, at)
                if _invokes(run, code, first, at)
                else code[begin:at]
            )
        return bodies

    def _rewritten_body(self, code: bytes, start: int, first: int, end: int) -> bytes:
        at, begins, kept = first, [], start
        edits: dict[int, tuple[int, bytes]] = {}  # where to cut, up to where, and what to put there
        while at < end:
            begins.append(at)
            behind = _behind(code, at, end)
            if code[at] == _CALL and (index := wasm.number(code, at + 1)[0]) in self._signatures:
                constant = self._constant(code, begins, self._signatures[index])
                if constant is None:
                    edits[at] = behind, _call(self._indirect[index])
                else:
                    place, function = constant
                    edits[place] = _behind(code, place, end), b""
                    edits[at] = behind, _call(self._directly(function))
            at = behind
        pieces = []
        for place in sorted(edits):
            behind, instead = edits[place]
            pieces += [code[kept:place], instead]
            kept = behind
        body = b"".join([*pieces, code[kept:end]])
        return wasm.leb(len(body)) + body

    def _constant(self, code: bytes, begins: list[int], type: _Type) -> tuple[int, int] | None:
        """Where the constant is that the last instruction, which invokes, takes as index of the table, and
        the function there; None where it is no constant, or that of a function of another type, which C++
        makes and only JavaScript can call."""
        needed = len(type.parameters)  # so many values more are to be found, going back, before that index
        for at in reversed(begins[:-1]):
            if needed == 0 and code[at] == _CONST:
                function = self._places.get(wasm.signed(code, at + 1)[0], 0)
                known = function >= self._imported and self._types[self._type_of[function]] == type
                return (at, function) if known else None
            if needed == 0 or code[at] not in _TAKEN:
                return None
            needed += _TAKEN[code[at]] - 1
        return None

    def _directly(self, function: int) -> int:
        if function not in self._direct:
            type = self._type_of[function]
            calling = _everything(self._types[type].parameters) + _call(function)
            self._direct[function] = self._add(type, self._catching(self._types[type], calling))
        return self._direct[function]

    def _add(self, type: int, body: bytes) -> int:
        self._added.append((type, wasm.leb(len(body)) + body))
        return len(self._type_of) + len(self._added) - 1

    def _calling_what_is_given(self, index: int, called: int) -> bytes:
        """The code that calls the function at an index of the table, through the import where its type is
        another one."""
        type = self._signatures[index]
        invoke = _Type(_TYPES["i"] + type.parameters, type.result)
        everything = _everything(invoke.parameters)
        cast = _BR_ON_CAST_FAIL + bytes([_NULLABLE_TO_NULL, 0, wasm.FUNCREF]) + wasm.signed_leb(called)
        function = bytes([_LOCAL_GET, 0, _TABLE_GET, 0])
        calling = (
            bytes([_BLOCK, wasm.FUNCREF]) + everything[2:] + function
            + cast + bytes([_CALL_REF]) + wasm.leb(called) + bytes([_RETURN, _END])
            + bytes([_DROP]) + everything + _call(index)
        )  # fmt: skip
        return self._catching(invoke, calling)

    def _catching(self, type: _Type, calling: bytes) -> bytes:
        """The code that calls, or hands on what was thrown and takes the stack pointer back."""
        stack = wasm.leb(len(type.parameters))  # the local behind the parameters
        catch = bytes([1, 0, 0, 0])  # one clause: what has tag 0 leaves to the block around
        return (
            b"\x01\x01" + _TYPES["i"]
            + bytes([_GLOBAL_GET]) + self._stack + bytes([_LOCAL_SET]) + stack
            + bytes([_BLOCK, wasm.EXTERNREF, _TRY_TABLE]) + (type.result or _EMPTY) + catch
            + calling + bytes([_END, _RETURN, _END])
            + bytes([_LOCAL_GET]) + stack + bytes([_GLOBAL_SET]) + self._stack
            + bytes([_CONST]) + wasm.signed_leb(self._caught_at)
            + bytes([_CALL_INDIRECT]) + wasm.leb(self._caught_type) + b"\0"
            + _ZEROS[type.result] + bytes([_END])
        )  # fmt: skip


def _invokes(run: re.Pattern[bytes], code: bytes, at: int, end: int) -> bool:
    """Is there a call in the body that ends the pattern of all other instructions?"""
    while (at := run.match(code, at, end).end()) < end:  # type: ignore[union-attr]  # it matches nothing, too
        if code[at] == _CALL:
            return True
        at = _behind(code, at, end)
    return False


def _behind(code: bytes, at: int, end: int) -> int:
    """Where the instruction ends that begins there."""
    if code[at] == _BR_TABLE:
        count, at = wasm.number(code, at + 1)
        for _ in range(count + 1):
            _, at = wasm.number(code, at)
        return at
    if found := _INSTRUCTION.match(code, at, end):
        return found.end()
    raise wasm.unknown(f"an instruction {code[at]:#x}")


def _behind_locals(code: bytes, at: int) -> int:
    groups, at = wasm.number(code, at)
    for _ in range(groups):
        _, at = wasm.number(code, at)
        at += 1
    return at


def _call(function: int) -> bytes:
    return bytes([_CALL]) + wasm.leb(function)


def _everything(parameters: bytes) -> bytes:
    return b"".join(bytes([_LOCAL_GET]) + wasm.leb(i) for i in range(len(parameters)))


def _signature(letters: str) -> _Type:
    result = b"" if letters[0] == "v" else _TYPES[letters[0]]
    return _Type(b"".join(_TYPES[letter] for letter in letters[1:]), result)


def _numbers(section: bytes) -> list[int]:
    count, at = wasm.number(section, 0)
    values = []
    for _ in range(count):
        value, at = wasm.number(section, at)
        values.append(value)
    return values


def _types(section: bytes) -> list[_Type]:
    count, at = wasm.number(section, 0)
    types = []
    for _ in range(count):
        parts = []
        at += 1  # 0x60
        for _ in range(2):
            size, at = wasm.number(section, at)
            parts.append(section[at : at + size])
            at += size
        types.append(_Type(*parts))
    return types


def _stack_pointer(section: bytes) -> int:
    for entry in wasm.exports(section):
        if entry.name == _STACK_POINTER and entry.kind == wasm.GLOBAL_KIND:
            return entry.place
    raise wasm.unknown(f"it does not export {_STACK_POINTER}")
