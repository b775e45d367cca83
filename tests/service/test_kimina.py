"""Kimina's clients: the unmodified one passes, and none of its server's faults is here (verdicts by Lean)."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from stp.service.provers import opening
from stp.settings import VerifySettings
from stp.verify.lean.process import LeanProcess, ReplyTimeoutError
from stp.verify.lean.toolchain import Toolchain
from tests.cheats.test_cheats import cases
from tests.service.conftest import Live

#: With what it needs beside what this project does; but not `datasets`, which one of its commands imports.
CLIENT = ("kimina-client==0.2.1", "colorama==0.4.6", "tenacity==9.2.1")
GOOD = """import Init
set_option maxHeartbeats 400000
open Nat

theorem foo (a b : Nat) : a + b = b + a := by
  omega
"""


(KERNEL, *_) = cases("kernel")  # a whole file with a type that Lean's kernel gets wrong


KINDS = """private theorem a : 1 = 1 := rfl
namespace A
protected theorem _root_.B.x : 1 = 1 := a
instance : Inhabited Bool := ⟨true⟩
instance foo : Inhabited Nat := ⟨1⟩
class C (n : Nat) where
  c : Nat
abbrev D := Nat
end A
theorem v.{w} (α : Sort w) (a : α) : a = a := rfl
section
variable (n : Nat)
def p : Nat := n
end
inductive E | a | b deriving Repr, DecidableEq, Inhabited
example : E.a ≠ E.b := by decide
structure Q extends A.C 3 where
  z : Nat := 1
  my_automatic : z = z := by rfl
/-- doc -/
example : True := trivial
@[simp] theorem «weird name» : 2 = 2 := rfl
def «a.b» := 1
theorem a'.b' : 1 = 1 := rfl
local instance : Add E := ⟨fun a _ => a⟩
def even : Nat → Bool | 0 => true | n + 1 => !even n
noncomputable example : Nat := Classical.choice ⟨1⟩
open Nat in
theorem oi : succ 1 = 2 := rfl
mutual
def ev : Nat → Bool | 0 => true | n + 1 => od n
def od : Nat → Bool | 0 => false | n + 1 => ev n
end
"""


def check(client: httpx.Client, *codes: str, **more: Any) -> list[dict[str, Any]]:
    snippets = [{"id": str(i), "code": code} for i, code in enumerate(codes)]
    reply = client.post("/api/check", json={"snippets": snippets, "timeout": 60, **more})
    assert reply.status_code == 200, reply.text
    results: list[dict[str, Any]] = reply.json()["results"]
    assert [r["id"] for r in results] == [s["id"] for s in snippets]
    assert all(("error" in r) != ("response" in r) for r in results)
    return results


def status(result: dict[str, Any]) -> str:
    """What the client's `analyze` calls a result."""
    if "error" in result:
        return "timeout_error" if "timed out" in result["error"] else "server_error"
    response = result["response"]
    if any(m["severity"] == "error" for m in response.get("messages", [])):
        return "lean_error"
    return "sorry" if response.get("sorries") else "valid"


def said(result: dict[str, Any]) -> list[tuple[int, int, str]]:
    return [(m["pos"]["line"], m["pos"]["column"], m["data"]) for m in result["response"].get("messages", [])]


@pytest.mark.lean
def test_snippets_see_nothing_of_each_other_whatever_their_header(lean_service: httpx.Client) -> None:
    """Faults a, b, c: shared state, comments before imports, imports rewritten."""
    name = "theorem foo : 1 = 1 := rfl"
    leak = "def secret := 1\nlocal instance : Inhabited Nat := ⟨7⟩\n@[simp] theorem t : secret = 1 := rfl"
    results = check(
        lean_service, name, name, leak, "theorem u : secret = 1 := rfl",
        "/- c -/ -- d\n\nimport Init\n\n" + name, "import Init.Data.Nat.Basic\n" + name,
    )  # fmt: skip
    assert [status(r) for r in results] == ["valid", "valid", "valid", "lean_error", "valid", "valid"]


@pytest.mark.lean
def test_one_snippets_end_is_its_own(lean_service: httpx.Client) -> None:
    """Faults d, f, h: long lines and much output, one failure in a batch, imports that fail."""
    wide = f"theorem wide (h : {' ∧ '.join(['1 = 2'] * 400)}) : False := by\n  skip"
    bomb = "theorem b : 2 ^ 9999999 % 7 = 1 := by decide"
    results = check(
        lean_service, GOOD, wide, bomb, "import Nope\n" + GOOD.removeprefix("import Init\n"), GOOD
    )
    assert [status(r) for r in (results[0], results[1], results[4])] == ["valid", "lean_error", "valid"]
    assert status(results[2]) != "valid"
    assert "unknown module prefix 'Nope'" in said(results[3])[0][2]
    assert "/" not in said(results[3])[0][2]
    assert status(results[3]) == "lean_error"


FLOOD = """
import sys
nonce = input()
print("STP1", nonce, '{"ready": "1"}', flush=True)
for line in sys.stdin:
    sys.stderr.write("x" * 1_000_000)
    print("STP1", nonce, line, end="", flush=True)
"""


@dataclass(frozen=True, slots=True)
class Flooding(Toolchain):
    """A checker that writes a megabyte to its standard error before it answers."""

    def command(self, program: str) -> list[str]:
        return [sys.executable, "-c", FLOOD]


@pytest.mark.programs
def test_a_checker_that_floods_its_standard_error_goes_on_answering(tmp_path: Path) -> None:
    """Fault e."""
    process = LeanProcess(Flooding("native", tmp_path, tmp_path, ""), "Checker")
    try:
        for i in range(3):
            process.send(i)
            assert process.receive(time.monotonic() + 30) == i
    finally:
        process.kill()


@dataclass(frozen=True, slots=True)
class Babbling(Toolchain):
    """A checker that is ready and then writes what is no reply, for ever."""

    def command(self, program: str) -> list[str]:
        said = "n = input(); print('STP1', n, '{\"ready\": \"1\"}', flush=True)\nwhile True: print('x')"
        return [sys.executable, "-c", said]


@pytest.mark.programs
def test_a_checker_that_babbles_does_not_hold_up_the_clock(tmp_path: Path) -> None:
    process = LeanProcess(Babbling("native", tmp_path, tmp_path, ""), "Checker")
    began = time.monotonic()
    try:
        with pytest.raises(ReplyTimeoutError):
            process.receive(began + 1)
    finally:
        process.kill()
    assert time.monotonic() - began < 60


@pytest.mark.programs
def test_a_code_without_text_is_no_code(live: Live) -> None:
    with live() as client:
        for path in ("/verify", "/one_pass_verify_batch"):
            body = {"codes": [{"custom_id": "a", "code": "x"}, {"custom_id": "b", "formal_proof": "x"}]}
            reply = client.post(path, json=body)
            assert reply.status_code == 422
            assert "codes.1: expected `proof` or `code`" in reply.json()["detail"]


@pytest.mark.lean
def test_every_position_is_the_snippets_own(lean_service: httpx.Client) -> None:
    """Fault i."""
    bad = GOOD.replace("omega", "rfl")
    end = "theorem x : 1 = 1 := rfl /- "
    first, second, third, fourth = check(
        lean_service, bad, "theorem x : 1 = 1 :=", end, "import Init\n\ntheorem s : 1 = 2 := by\n  sorry"
    )
    assert said(first)[0][:2] == (6, 2)
    assert said(second) == [(1, 20, "unexpected end of input")]
    assert said(third)[0] == (1, 28, "unterminated comment")
    assert fourth["response"]["sorries"][0]["pos"] == {"line": 4, "column": 2}
    assert said(fourth)[0][:2] == (3, 8)


@pytest.mark.lean
@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("theorem f : 1 = 2 := by exact sorryAx _ false", "sorry"),
        ("theorem f : 1 = 2 := by\n  sorry", "sorry"),
        ("example : 1 = 2 := by sorry", "sorry"),
        ("private theorem f : 1 = 2 := by sorry\ntheorem g : True := trivial", "sorry"),
        ("axiom c : False\ntheorem f : 1 = 2 := c.elim", "lean_error"),
        ("theorem f : 1 = 1 := by\n  have := Lean.trustCompiler\n  rfl", "lean_error"),
        ("theorem f : 1 = 1 := by native_decide", "lean_error"),
        ("set_option warn.sorry false\ntheorem f : 1 = 2 := sorry", "lean_error"),
        ("macro \"m\" : tactic => `(tactic| sorry)\ntheorem f : 1 = 2 := by m", "lean_error"),
        ("#exit\ntheorem f : 1 = 2 := rfl", "lean_error"),
        ("#eval 1", "lean_error"),
        ("namespace A\ntheorem f : 1 = 1 := by\n  have := Lean.trustCompiler\n  rfl\nend A\n"
         "theorem g : 1 = 1 := rfl", "lean_error"),
        ("theorem stp_audit : False := by trivial", "lean_error"),
        # What our lexer takes for an interpolated string hides the theorem from it.
        ("def q! (s : String) : Nat := 0\ndef x := q! \"{\"\ntheorem f : True :=\n"
         "  have := Lean.trustCompiler\n  trivial\ndef y := q! \"}\"", "lean_error"),
        # And what it takes for a string holds a command, as an option's value.
        ('def q! (s : String) : String := s\ndef a := q! "{"\ndef b := "set_option pp.x "\n'
         'theorem f : 1 = 2 := rfl\ndef c := ""\ndef d := "}"\n#print axioms f', "lean_error"),
        ('theorem f : "set_option pp.all true" = "                      " := rfl', "lean_error"),
        ("theorem f : True := trivial\n#print axioms g", "lean_error"),
        # Fifty messages are all that a reply holds.
        ("example : True := by\n" + '  trace "x"\n' * 60 + "  trivial\ndef f : 1 = 2 := by sorry", "sorry"),
        ("open Nat in\nexample : 1 = 2 := by sorry", "sorry"),
        ("@[instance] example : Add Nat := ⟨fun _ _ => 5⟩\ntheorem f : (2 : Nat) + 2 = 5 := rfl",
         "lean_error"),
        ("variable [Inhabited (Fin ((@id ({α : Type} → Nat → Nat) (sorryAx _ true)) 0))]\n"
         "theorem f : 2 + 2 = 5 := sorryAx _ true", "lean_error"),
        (KINDS, "valid"),
        ("instance : Inhabited (1 = 2) := ⟨sorry⟩", "sorry"),
        # Types that the kernel gets wrong, which only an example uses, or nothing.
        (KERNEL.proof.replace("theorem foo :", "example :"), "lean_error"),
        (KERNEL.proof.rpartition("theorem foo")[0], "lean_error"),
        ("#check Nat\n" + KERNEL.proof.replace("theorem foo :", "example :"), "lean_error"),
        ("set_option maxHeartbeats 400000 in\ntheorem f : 1 = 1 := by\n"
         "  set_option maxHeartbeats 0 in\n  rfl\n#check f\nset_option pp.all true in\n#check Nat.add",
         "valid"),
        ("def f : True :=\n  have := Lean.trustCompiler\n  trivial", "lean_error"),
        ("instance : Inhabited Bool := have := Lean.trustCompiler; ⟨true⟩", "lean_error"),
        ("structure P where\n  x : Nat\nderiving Repr, BEq, DecidableEq, Hashable, Inhabited\n"
         "def g (a b : Nat) : Nat := if h : b = 0 then a else g b (a % b)\ntermination_by b\n"
         "decreasing_by exact Nat.mod_lt _ (by omega)\ntheorem f (p : P) : p = p := rfl", "valid"),
        ("", "valid"),
        (GOOD, "valid"),
        ("theorem f.{u, v} {α : Sort u} {β : Sort v} (a : α) (b : β) : a = a ∧ b = b := ⟨rfl, rfl⟩", "valid"),
        ("mutual\ntheorem a : True := trivial\ntheorem b : True := trivial\nend\nnamespace N.M\n"
         "private theorem c : 1 = 1 := rfl\nend N.M\nsection\nvariable (n : Nat)\ntheorem d : n = n := rfl",
         "valid"),
        ("example (a b : Nat) : a + b = b + a := by omega", "valid"),
    ],
)  # fmt: skip
def test_no_cheat_is_valid_and_no_honest_file_is_refused(
    lean_service: httpx.Client, code: str, wanted: str
) -> None:
    """Fault j."""
    (result,) = check(lean_service, code)
    assert status(result) == wanted
    assert result["stp"]["verdict"] != "proved", "nobody said what it should prove"


@pytest.mark.lean
def test_times_limits_and_the_older_form(lean_service: httpx.Client) -> None:
    """Fault k, and the fields of `/verify`."""
    (result,) = check(lean_service, GOOD, timeout=59.5, debug=True)
    assert result["stp"]["times_ms"]["queue"] >= 0
    assert result["diagnostics"]["repl_uuid"] == result["stp"]["toolchain"]
    for path in ("/verify", "/one_pass_verify_batch"):
        body = {
            "codes": [{"custom_id": 7, "proof": GOOD}, {"custom_id": "b", "code": "theorem f : 1 = 2 := rfl"}]
        }
        results = lean_service.post(path, json=body).json()["results"]
        assert [r["custom_id"] for r in results] == ["7", "b"]
        assert "messages" not in results[0]["response"]
        assert results[0]["response"]["time"] > 0
        assert results[1]["response"]["messages"][0]["severity"] == "error"
    (printed,) = check(lean_service, "theorem f : 1 = 1 := rfl\n#print axioms f")
    assert said(printed) == [(2, 0, "'f' does not depend on any axioms")]


def test_what_is_not_served_is_said(live: Live) -> None:
    with live() as client:
        twice = {"snippets": [{"id": "a", "code": ""}] * 2}
        assert client.post("/api/check", json=twice).json()["detail"] == "`snippets` must have unique ids"
        tree = {"snippets": [{"id": "a", "code": ""}], "infotree": "full"}
        assert "infotree" in client.post("/api/check", json=tree).json()["detail"]
        half = b'{"snippets": [{"id": "\\ud800", "code": ""}]}'
        reply = client.post("/api/check", content=half, headers={"Content-Type": "application/json"})
        assert reply.status_code == 422
        (odd,) = client.post("/api/check", json={"snippets": [{"id": "a", "code": ""}]}).json()["results"]
        assert status(odd) == "lean_error", "the scripted worker proves what nobody has specified"


@pytest.mark.lean
def test_the_unmodified_client_passes(lean_service: httpx.Client, tmp_path: Path) -> None:
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(tmp_path), *CLIENT]
    if subprocess.run(install, capture_output=True, timeout=120).returncode:
        pytest.skip("kimina-client cannot be fetched from the package index here")
    script = f"""
import sys, typing, typing_extensions, asyncio
typing.TypedDict = typing_extensions.TypedDict
sys.path.insert(0, {str(tmp_path)!r})
from kimina_client import AsyncKiminaClient, KiminaClient, Snippet
url = {str(lean_service.base_url)!r}
client = KiminaClient(api_url=url)
assert client.health() == {{"status": "ok"}}
client.test()
codes = [{GOOD!r}, "theorem f : 1 = 2 := by sorry", "theorem f : 1 = 2 := rfl", "axiom c : False"] * 5
snippets = [Snippet(id=str(i), code=code) for i, code in enumerate(codes)]
found = client.check(snippets, show_progress=False)
found.analyze(1.0)
by_id = {{r.id: r.analyze().status.value for r in found.results}}
assert [by_id[str(i)] for i in range(20)] == ["valid", "sorry", "lean_error", "lean_error"] * 5, by_id
async def again():
    other = AsyncKiminaClient(api_url=url)
    await other.test()
    assert (await other.check({GOOD!r}, show_progress=False)).results[0].analyze().status.value == "valid"
    await other.close()
asyncio.run(again())
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=300)


@pytest.mark.lean
def test_a_client_s_header_runs_no_code(lean_service: httpx.Client) -> None:
    """It would run in a process that other clients' proofs share."""
    header = 'import Lean\nmacro "mine" : term => `(5)'
    jobs = [{"id": "1", "header": header, "statement": "theorem foo : True", "proof": "trivial"}]
    [result] = lean_service.post("/v1/verify", json={"jobs": jobs}).json()["results"]
    assert result["verdict"] == "bad_statement"
    assert "runs nothing" in str(result["messages"])


def test_no_service_trusts_its_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(
        "stp.service.provers.open_pool", lambda settings, cache: asked.append(settings.trusting)
    )
    with opening(VerifySettings()) as pools:
        for pool in pools.values():
            pool.result()
    assert asked == [False, False]
