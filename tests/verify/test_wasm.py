"""What is changed in the embedded Lean's parts, on a small module under the real Node."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from stp.errors import ToolchainError
from stp.verify.lean import install, wasm

INVOKE = Path(wasm.__file__).with_name("invoke.js")


def vector(items: list[bytes]) -> bytes:
    return wasm._leb(len(items)) + b"".join(items)


def text(value: str) -> bytes:
    return vector([bytes([byte]) for byte in value.encode()])


def module(functions: int) -> bytes:
    """Function i returns i and is exported as `l_i`; every third is in the table; data at 1000 and 70000."""
    exports = [text(f"l_{i}") + b"\0" + wasm._leb(i) for i in range(functions)]
    exports += [text(name) + bytes([3]) + wasm._leb(i) for i, name in enumerate(("l_data", "l_far", "kept"))]
    exports += [text("table") + b"\1\0"]
    bodies = [b"\0\x41" + wasm._signed_leb(i) + b"\x0b" for i in range(functions)]
    in_table = list(range(0, functions, 3))
    address = [b"\x7f\0\x41" + wasm._signed_leb(value) + b"\x0b" for value in (1000, 70000, 8)]
    sections = [
        (1, vector([b"\x60\0\x01\x7f"])),
        (2, vector([])),
        (3, vector([b"\0"] * functions)),
        (4, b"\x01\x70\x00" + wasm._leb(len(in_table) + 1)),
        (6, vector(address)),
        (7, vector(exports)),
        (9, b"\x01\x00\x41\x01\x0b" + vector([wasm._leb(i) for i in in_table])),
        (10, vector([wasm._leb(len(body)) + body for body in bodies])),
    ]
    return wasm._MAGIC + b"".join(bytes([id]) + wasm._leb(len(body)) + body for id, body in sections)


def node(code: str, *arguments: str) -> object:
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
    slim, symbols = wasm.slim(module(functions), lambda name: name.startswith("l_"))
    (tmp_path / "slim.wasm").write_bytes(slim)
    (tmp_path / "symbols.json").write_text(json.dumps(symbols))
    exports, wrong = node(
        "const fs=require('fs'), [folder]=process.argv.slice(1);"
        "const m=new WebAssembly.Module(fs.readFileSync(folder+'/slim.wasm'));"
        "const e=new WebAssembly.Instance(m).exports;"
        "const s=JSON.parse(fs.readFileSync(folder+'/symbols.json'));"
        "const f=Object.entries(s).filter(([n])=>/[0-9]/.test(n));"
        "const wrong=f.filter(([n,at])=>'l_'+e.table.get(at)()!==n).length;"
        "console.log(JSON.stringify([Object.keys(e), wrong]))",
        str(tmp_path),
    )  # type: ignore[misc]
    assert exports == ["kept", "table"]
    assert wrong == 0
    assert len(symbols) == functions + 2
    assert (symbols["l_data"], symbols["l_far"]) == (1000, 70000)


def test_another_build_is_refused() -> None:
    with pytest.raises(ToolchainError, match="not the pinned build"):
        wasm.slim(b"\x7fELF", lambda name: True)
    with pytest.raises(ToolchainError, match="its table is another one"):
        wasm.slim(module(1).replace(b"\x01\x70\x00", b"\x01\x70\x01"), lambda name: True)


def test_a_call_that_throws_leaves_a_flag_and_the_stack_as_it_was() -> None:
    """`invoke_ii` around functions that return, throw C++'s number, throw an error, or have another type."""
    seen = node(
        "const { fastInvokes } = require(process.argv[1]);"
        "const text = s => [s.length, ...Buffer.from(s)];"
        # (i32) -> i32 that calls an import, and () -> i32, both in a table; a global as the stack pointer
        "const bytes = [0,97,115,109,1,0,0,0, 1,10,2,96,1,127,1,127,96,0,1,127,"
        "2,7,1,...text('e'),...text('f'),0,0,"
        "3,3,2,0,1, 4,4,1,112,0,3, 6,6,1,127,1,65,7,11,"
        "7,...(b=>[b.length,...b])([2,...text('t'),1,0,...text('sp'),3,0]),"
        "9,8,1,0,65,1,11,2,1,2, 10,17,2,10,0,65,42,36,0,32,0,16,0,11,4,0,65,33,11];"
        "let act = x => x;"
        "const m = new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array(bytes)), "
        "{ e: { f: x => act(x) } }).exports;"
        "const flags = []; let slow = 0;"
        "const given = { invoke_ii: (i, x) => { slow++; return m.t.get(i)(x); } };"
        "const { invokes, link } = fastInvokes(given);"
        "const setThrew = (a, b) => flags.push([a, b]);"
        "link({ __indirect_function_table: m.t, __stack_pointer: m.sp, setThrew });"
        "const out = [];"
        "out.push(invokes.invoke_ii(1, 5), m.sp.value); m.sp.value = 7;"
        "act = () => { throw 99; }; out.push(invokes.invoke_ii(1, 5), m.sp.value, flags.length);"
        "act = () => { throw new Error('other'); };"
        "try { invokes.invoke_ii(1, 5); } catch (e) { out.push(e.message, flags.length); }"
        "out.push(invokes.invoke_ii(2, 5), slow);"
        "console.log(JSON.stringify(out))",
        str(INVOKE),
    )
    assert seen == [5, 42, 0, 7, 1, "other", 1, 33, 1]
