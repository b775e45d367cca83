// JavaScript's part of what `throws.py` makes of the embedded Lean's calls that may throw.
"use strict";

/** A function of one JavaScript value as a table takes it: `(func (export "f") (import "" "f") (param externref))`. */
function ofTable(f) {
  const bytes = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 1, 111, 0, 2, 6, 1, 0, 1, 102, 0, 0, 7, 5, 1, 1, 102, 0, 0];
  return new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array(bytes)), { "": { f } }).exports.f;
}

/** Fills the place in an instance's table that gets what was thrown below its calls. */
function takeThrown(instance, place) {
  const caught = (thrown) => {
    if (typeof thrown !== "number") throw thrown; // not C++'s: an exit, an error of JavaScript
    instance.setThrew(1, 0);
  };
  instance.__indirect_function_table.set(place, ofTable(caught));
}

module.exports = { takeThrown, imports: { stp_tag: WebAssembly.JSTag } };
