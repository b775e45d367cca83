"""Turns the embedded Lean's Emscripten glue into one that starts in seconds and reads no host file.

As published the glue is 89 MB, most of it assignments of 198,000 symbols that nothing in it uses; every
thread parses it. Each change names what it replaces and how often that must occur, so that another
build of the glue is refused rather than half changed.
"""

from __future__ import annotations

import re

from stp.errors import ToolchainError

#: What is replaced, by what, why. Each occurs once.
_CHANGES = (
    # A linear search over 200,000 exports for each symbol that the interpreter asks for; `exports.py` took
    # most of them out of the module and knows where they are.
    (
        "symbol=UTF8ToString(symbol);var result;var newSymIndex;",
        "symbol=UTF8ToString(symbol);var known=stpSymbol(symbol);if(known!==undefined)return known;"
        "var result;var newSymIndex;",
    ),
    # Shows the host's /home and /tmp to Lean code, writable.
    ('FS.mount(NODEFS,{root:"/home"},"/home");FS.mount(NODEFS,{root:"/tmp"},"/tmp");', ""),
    # Each thread costs seconds of start-up; Lean with one task thread uses two.
    ("var pthreadPoolSize=4;", "var pthreadPoolSize=2;"),
    # Threads start through our launcher, which knows the folders to serve.
    ('worker_threads["workerData"]=="em-pthread"', 'worker_threads["workerData"]?.thread=="em-pthread"'),
    (
        'worker=new Worker(pthreadMainJs,{workerData:"em-pthread",name:"em-pthread"});',
        "worker=stpNewThread();",
    ),
    # File calls are served where they are made (see launcher.js).
    (
        "function getWasmImports(){assignWasmImports();",
        "function getWasmImports(){assignWasmImports();Object.assign(wasmImports,stpHostImports(wasmImports,"
        "{text:pointer=>UTF8ToString(pointer),writeStat:(to,stat)=>SYSCALLS.writeStat(to,stat),"
        "views:()=>{growMemViews();return{HEAPU8,HEAPU32,HEAP64}}}));",
    ),
    # Puts every export into the table and a global of JavaScript's, for libraries that would be loaded later.
    ("assignWasmExports(wasmExports);updateGOT(origExports);", "assignWasmExports(wasmExports);"),
    # Looks at every function of the table, to find out later which of them is in it.
    ("functionsInTableMap=new WeakMap;updateTableMap(0,wasmTable.length)", "functionsInTableMap=new WeakMap"),
    # Calls that may throw stay in WebAssembly (see throws.py); what they catch comes to JavaScript.
    (
        "function receiveInstance(instance,module){wasmExports=instance.exports;",
        "function receiveInstance(instance,module){wasmExports=instance.exports;"
        "stpInstanceReady(wasmExports);",
    ),
)
#: Names of Lean's and C++'s own symbols: nothing in the glue uses them, the interpreter asks for them.
SYMBOL = re.compile(r"_?l_|initialize_|_Z")
_UNUSED = re.compile(rf'\b(_(?:{SYMBOL.pattern})\w*)=Module\["\1"\]=wasmExports\["\w+"\](?:\.value)?;')
_UNUSED_COUNT = 197_971
_VARIABLES = re.compile(r"var ([^;]{1000000,});")


def patch(glue: str) -> str:
    """The changed glue.

    Raises:
        ToolchainError: something to replace does not occur as often as in the pinned build.
    """
    for old, new in _CHANGES:
        if glue.count(old) != 1:
            raise ToolchainError(
                f"the embedded Lean's lean.js is not the pinned build: expected {old[:50]!r} once, "
                f"found it {glue.count(old)} times; remove the cached toolchain and install it again"
            )
        glue = glue.replace(old, new)
    unused = set(_UNUSED.findall(glue))
    glue, count = _UNUSED.subn("", glue)
    declared = _VARIABLES.search(glue)
    if count != _UNUSED_COUNT or declared is None:
        raise ToolchainError(
            f"the embedded Lean's lean.js is not the pinned build: expected {_UNUSED_COUNT} exported "
            f"names, found {count}; remove the cached toolchain and install it again"
        )
    kept = ",".join(name for name in declared[1].split(",") if name not in unused)
    return f"{glue[: declared.start()]}var {kept};{glue[declared.end() :]}"
