// Lean's C++ calls whatever may throw through imports `invoke_SIGNATURE`: the call, and a flag where it threw.
//
// Emscripten writes them in JavaScript. A proof by `omega` makes half a million such calls, and the way from
// WebAssembly to JavaScript and back was most of its time. Here the same functions are WebAssembly, which since
// `WebAssembly.JSTag` can catch what JavaScript throws.
//
// The functions need the table and the stack pointer of an instance that needs the functions: so the instance
// gets `invokes`, which jump through a table of their own, and `link` fills that table.
"use strict";

const TYPES = { i: 0x7f, j: 0x7e, f: 0x7d, d: 0x7c };
const EXTERNREF = 0x6f, FUNCREF = 0x70, EMPTY = 0x40, FUNCTION_TYPE = 0x60;
const ZERO = { v: [], i: [0x41, 0], j: [0x42, 0], f: [0x43, 0, 0, 0, 0], d: [0x44, 0, 0, 0, 0, 0, 0, 0, 0] };

function unsigned(n) {
  const bytes = [];
  for (; n > 127; n >>>= 7) bytes.push((n & 127) | 128);
  return [...bytes, n];
}

/** A small number where a signed one is due. */
const signed = (n) => (n < 64 ? [n] : [(n & 127) | 128, n >>> 7]);
const vector = (items) => [...unsigned(items.length), ...items.flat()];
const section = (id, items) => { const body = vector(items); return [id, ...unsigned(body.length), ...body]; };
const name = (text) => vector([...Buffer.from(text)]);
const functionType = (parameters, results) => [FUNCTION_TYPE, ...vector(parameters), ...vector(results)];
const results = (signature) => (signature[0] === "v" ? [] : [TYPES[signature[0]]]);
const parameters = (signature) => [...signature.slice(1)].map((letter) => TYPES[letter]);
const localGet = (index) => [0x20, ...unsigned(index)];
const callIndirect = (type) => [0x11, ...unsigned(type), 0];
const code = (locals, body) => { const all = [...vector(locals), ...body.flat(), 0x0b]; return [...unsigned(all.length), ...all]; };
const build = (sections) => new WebAssembly.Module(new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...sections.flat()]));

/** Each function's type: the index into the table, then the arguments. */
const invokeTypes = (signatures) => signatures.map((s) => functionType([TYPES.i, ...parameters(s)], results(s)));
const exported = (signatures, first) => signatures.map((s, i) => [...name(s), 0, ...unsigned(first + i)]);

/** Functions that hand their arguments on to the function in slot i of their own table. */
function trampolines(signatures) {
  const bodies = signatures.map((s, i) => code([], [
    ...[...s].map((_, argument) => localGet(argument)), [0x41, ...signed(i)], callIndirect(i),
  ]));
  return build([
    section(1, invokeTypes(signatures)),
    section(3, signatures.map((_, i) => unsigned(i))),
    section(4, [[FUNCREF, 0, ...unsigned(signatures.length)]]),
    section(7, [...exported(signatures, 0), [...name("table"), 1, 0]]),
    section(10, bodies),
  ]);
}

/** The functions themselves: call, or catch what JavaScript threw, take the stack pointer back and say so.
 * A pointer to a function of another type, which only JavaScript calls (and C++ makes), goes to `given`. */
function catchers(signatures) {
  const count = signatures.length, caught = 2 * count; // types: called, invoke, `caught`; imports: given, `caught`
  const bodies = signatures.map((s, i) => {
    const stack = s.length; // the local behind the parameters
    const everything = [...s].map((_, argument) => localGet(argument));
    return code([[1, TYPES.i]], [
      [0x23, 0], [0x21, ...unsigned(stack)],
      [0x02, EXTERNREF], // a block that ends with what was thrown
      [0x02, FUNCREF], // a block that ends with a function of another type
      [0x1f, results(s)[0] ?? EMPTY, 1, 0, 0, 1], // try_table, one clause: tag 0 leaves to the outer block
      ...everything.slice(1), localGet(0), [0x25, 0], // table.get
      [0xfb, 0x19, 1, 1, FUNCREF, ...signed(i)], [0x14, ...unsigned(i)], // br_on_cast_fail, call_ref
      [0x0b], [0x0f], [0x0b],
      [0x1a], ...everything, [0x10, ...unsigned(i)], [0x0f], [0x0b],
      localGet(stack), [0x24, 0], [0x10, ...unsigned(count)], ZERO[s[0]],
    ]);
  });
  return build([
    section(1, [
      ...signatures.map((s) => functionType(parameters(s), results(s))), ...invokeTypes(signatures),
      functionType([EXTERNREF], []),
    ]),
    section(2, [
      ...signatures.map((s, i) => [...name("given"), ...name(s), 0, ...unsigned(count + i)]),
      [...name("e"), ...name("caught"), 0, ...unsigned(caught)],
      [...name("e"), ...name("table"), 1, FUNCREF, 0, 0],
      [...name("e"), ...name("stack"), 3, TYPES.i, 1],
      [...name("e"), ...name("tag"), 4, 0, ...unsigned(caught)],
    ]),
    section(3, signatures.map((_, i) => unsigned(count + i))),
    section(7, exported(signatures, count + 1)),
    section(10, bodies),
  ]);
}

/** The `invoke_` functions among the imports, and what makes them work once the instance is there. */
function fastInvokes(imports) {
  const signatures = Object.keys(imports).filter((key) => key.startsWith("invoke_")).map((key) => key.slice(7));
  const given = Object.fromEntries(signatures.map((s) => [s, imports["invoke_" + s]]));
  const first = new WebAssembly.Instance(trampolines(signatures)).exports;
  return {
    invokes: Object.fromEntries(signatures.map((s) => ["invoke_" + s, first[s]])),
    link(instance) {
      const caught = (thrown) => {
        if (typeof thrown !== "number") throw thrown; // not C++'s: an exit, an error of JavaScript
        instance.setThrew(1, 0);
      };
      const e = {
        caught, table: instance.__indirect_function_table, stack: instance.__stack_pointer, tag: WebAssembly.JSTag,
      };
      const second = new WebAssembly.Instance(catchers(signatures), { e, given }).exports;
      signatures.forEach((s, i) => first.table.set(i, second[s]));
    },
  };
}

module.exports = { fastInvokes };
