"""What is changed in the embedded Lean's parts, on a small module under the real Node."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stp.errors import ToolchainError
from stp.verify.lean import exports, install, throws, wasm

THROWS = Path(wasm.__file__).with_name("throws.js")


def module(functions: int) -> bytes:
    """Function i returns i and is exported as `l_i`; every third is in the table; data at 1000 and 70000."""
    exported = [wasm.text(f"l_{i}") + b"\0" + wasm.leb(i) for i in range(functions)]
    exported += [
        wasm.text(name) + bytes([3]) + wasm.leb(i)
        for i, name in enumerate(("l_data", "l_far", "__stack_pointer"))
    ]
    exported += [wasm.text("table") + b"\1\0"]
    bodies = [b"\0\x41" + wasm.signed_leb(i) + b"\x0b" for i in range(functions)]
    in_table = list(range(0, functions, 3))
    address = [b"\x7f\0\x41" + wasm.signed_leb(value) + b"\x0b" for value in (1000, 70000, 8)]
    sections = [
        (1, wasm.vector([b"\x60\0\x01\x7f"])),
        (2, wasm.vector([])),
        (3, wasm.vector([b"\0"] * functions)),
        (4, b"\x01\x70\x00" + wasm.leb(len(in_table) + 1)),
        (6, wasm.vector(address)),
        (7, wasm.vector(exported)),
        (9, b"\x01\x00\x41\x01\x0b" + wasm.vector([wasm.leb(i) for i in in_table])),
        (10, wasm.vector([wasm.leb(len(body)) + body for body in bodies])),
    ]
    return wasm.write(sections)


def node(code: str, *arguments: str) -> Any:
    done = subprocess.run(
        [*install.node_command(), "-e", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("functions", [1, 200, 20_000])
def test_a_slim_module_has_every_symbol_where_it_says(functions: int, tmp_path: Path) -> None:
    slim, symbols = exports.slim(module(functions), lambda name: name.startswith("l_"))
    (tmp_path / "slim.wasm").write_bytes(slim)
    (tmp_path / "symbols.json").write_text(json.dumps(symbols))
    kept, wrong = node(
        "const fs=require('fs'), [folder]=process.argv.slice(1);"
        "const m=new WebAssembly.Module(fs.readFileSync(folder+'/slim.wasm'));"
        "const e=new WebAssembly.Instance(m).exports;"
        "const s=JSON.parse(fs.readFileSync(folder+'/symbols.json'));"
        "const f=Object.entries(s).filter(([n])=>/[0-9]/.test(n));"
        "const wrong=f.filter(([n,at])=>'l_'+e.table.get(at)()!==n).length;"
        "console.log(JSON.stringify([Object.keys(e), wrong]))",
        str(tmp_path),
    )
    assert kept == ["__stack_pointer", "table"]
    assert wrong == 0
    assert len(symbols) == functions + 2
    assert (symbols["l_data"], symbols["l_far"]) == (1000, 70000)


def test_another_build_is_refused() -> None:
    with pytest.raises(ToolchainError, match="not the pinned build"):
        exports.slim(b"\x7fELF", lambda name: True)
    with pytest.raises(ToolchainError, match="its table is another one"):
        exports.slim(module(1).replace(b"\x01\x70\x00", b"\x01\x70\x01"), lambda name: True)


def throwing() -> bytes:
    """Calls through `invoke_ii` of functions at the places 1 ((i32) -> i32: asks JavaScript), 2 (() -> i32)
    and what an argument says; that of the first one computes an argument, behind a `br_table`."""
    taking, invoking, giving = (b"\x60\x01\x7f\x01\x7f", b"\x60\x02\x7f\x7f\x01\x7f", b"\x60\0\x01\x7f")
    bodies = [
        b"\0\x41\x2a\x24\0\x20\0\x10\1\x0b",  # the stack pointer becomes 42; what JavaScript says
        b"\0\x41\x21\x0b",
        b"\0\x02\x40\x20\0\x0e\x01\0\0\x0b\x41\1\x20\0\x41\x28\x6a\x10\0\x0b",  # 1, argument + 40
        b"\0\x41\2\x20\0\x10\0\x0b",
        b"\0\x20\0\x20\1\x10\0\x0b",
    ]
    functions = [(2, "known"), (3, "other"), (4, "unknown")]
    exported = [wasm.text(name) + b"\0" + wasm.leb(2 + i) for i, name in functions]
    exported += [wasm.text("__indirect_function_table") + b"\1\0", wasm.text("__stack_pointer") + b"\3\0"]
    imported = [
        wasm.text("env") + wasm.text(name) + type for name, type in (("invoke_ii", b"\0\1"), ("f", b"\0\0"))
    ]
    sections = [
        (wasm.TYPE, [taking, invoking, giving]),
        (wasm.IMPORT, imported),
        (wasm.FUNCTION, [b"\0", b"\2", b"\0", b"\0", b"\1"]),
        (wasm.TABLE, [b"\x70\0\3"]),
        (wasm.GLOBAL, [b"\x7f\1\x41\7\x0b"]),
        (wasm.EXPORT, exported),
        (wasm.ELEMENT, [b"\0\x41\1\x0b" + wasm.vector([b"\2", b"\3"])]),
        (wasm.CODE, [wasm.leb(len(body)) + body for body in bodies]),
    ]
    return wasm.write((id, wasm.vector(items)) for id, items in sections)


_CALLS = """
const fs = require("fs"), [throws, file, place] = process.argv.slice(1);
const { imports, takeThrown } = require(throws);
let act = (x) => x, given = 0;
const flags = [];
const module = new WebAssembly.Module(fs.readFileSync(file));
const m = new WebAssembly.Instance(module, { env: {
  f: (x) => act(x), invoke_ii: (i, x) => { given++; return table.get(i)(x); }, ...imports,
} }).exports;
const table = m.__indirect_function_table;
const calls = { known: (x) => m.known(x), unknown: (x) => m.unknown(1, x), other: (x) => m.other(x) };
takeThrown({ __indirect_function_table: table, setThrew: (...a) => flags.push(a) }, Number(place));
const out = {};
for (const [name, call] of Object.entries(calls)) {
  const seen = out[name] = [];
  const reset = () => { m.__stack_pointer.value = 7; flags.length = 0; };
  act = (x) => x; reset(); seen.push([call(5), m.__stack_pointer.value, flags.length]);
  act = () => { throw 99; }; reset(); seen.push([call(5), m.__stack_pointer.value, flags.slice()]);
  act = () => { throw new Error("another"); }; reset();
  try { seen.push(call(5)); } catch (e) { seen.push([e.message, m.__stack_pointer.value, flags.length]); }
}
console.log(JSON.stringify([out, given]));
"""


def test_a_call_that_throws_leaves_a_flag_and_the_stack_as_it_was(tmp_path: Path) -> None:
    rewritten, place = throws.catch_inside(throwing())
    (tmp_path / "throws.wasm").write_bytes(rewritten)
    found, given = node(_CALLS, str(THROWS), str(tmp_path / "throws.wasm"), str(place))
    for name, value in (("known", 45), ("unknown", 5)):
        assert found[name] == [[value, 42, 0], [0, 7, [[1, 0]]], ["another", 7, 0]], name
    assert found["other"] == [[33, 7, 0], [33, 7, []], 33]
    assert given == 3  # what is of another type goes to JavaScript, and nothing else does
    direct, _ = throws.catch_inside(throwing().replace(b"\x41\1\x20\0\x41\x28", b"\x41\0\x20\0\x41\x28"))
    assert direct.count(b"\x41\0\x20\0\x41\x28") == 1  # no function is there: the constant stays


def test_an_unknown_instruction_is_refused() -> None:
    with pytest.raises(ToolchainError, match="an instruction 0xfd"):
        throws.catch_inside(throwing().replace(b"\0\x41\x21\x0b", b"\0\xfd\x21\x0b"))
