"""No cheat passes, each is refused for its reason, and every guard is needed.

`tests/cheats/ATTACK/cases.toml` holds the corpus: statement, proof, the verdict that is due and words that
its reason must hold. The honest corpus beside it: the seed proofs, and what only looks like a cheat.
"""

from __future__ import annotations

import shutil
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from stp.datasets import seeds
from stp.types import EVERYTHING, CheckResult, Job, Limits, Verdict
from stp.verify.lean import toolchain
from stp.verify.lean.process import LeanProcess
from stp.verify.lean.worker import LeanWorker
from stp.verify.pool import Pool

pytestmark = pytest.mark.lean
HERE = Path(__file__).parent
ATTACKS = sorted(path.parent.name for path in HERE.glob("*/cases.toml"))
FALSE = "theorem foo : (2 : Nat) + 2 = 5"
LIMITS = Limits(wall_s=60.0, heartbeats=3_000)


@dataclass(frozen=True)
class Case:
    statement: str
    proof: str
    verdict: str
    reason: str
    theorem: str | None = None  # statement and proof are then whole files
    header: str = ""

    def job(self, id: str, *, strict: bool = False) -> Job:
        return Job(
            id, self.header, self.statement, self.proof, limits=LIMITS, strict=strict, theorem=self.theorem
        )


def cases(attack: str) -> list[Case]:
    text = (HERE / attack / "cases.toml").read_text(encoding="utf-8")
    return [Case(**case) for case in tomllib.loads(text)["case"]]


def proofs(attack: str, part: str) -> list[str]:
    """Of the cases that hold some text."""
    return [case.proof for case in cases(attack) if part in case.proof]


def said(result: CheckResult) -> str:
    return " ".join([result.reason, *map(str, result.messages)])


def test_the_corpus_is_as_large_as_promised() -> None:
    assert sum(len(cases(attack)) for attack in ATTACKS) >= 120


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_cheat_passes(lean_pool: Pool, attack: str) -> None:
    """Nor does one leave behind what makes a later one pass."""
    corpus = cases(attack)
    corpus += [Case(FALSE, "False.elim trivial", "rejected", "type mismatch")] * (4 * lean_pool.workers)
    jobs = [case.job(str(i)) for i, case in enumerate(corpus)]
    wrong = []
    for result in lean_pool.check(jobs):
        case = corpus[int(result.id)]
        assert not result.proved, case
        if result.verdict.value != case.verdict or case.reason not in said(result):
            wrong.append((case, result.verdict.value, said(result)[:200]))
    assert wrong == []


HONEST = [
    # Settings of tactics that are no code.
    ("theorem foo (a b : Nat) : a + b = b + a", "by rw (config := { occs := .pos [1] }) [Nat.add_comm]"),
    ("theorem foo : True", "by simp (config := {}) (maxSteps := (10^3)) +decide -zeta"),
    ("theorem _root_.foo : True", "trivial"),
    # A number of more digits than Python reads: an export holds it as text.
    ("theorem foo : " + "9" * 5000 + " % 3 = 0", "by decide +kernel"),
    # `Nat.gcd` borrows its arguments: the statement's type bears annotations that no export keeps.
    ("theorem t (n : Nat) (h : Nat.gcd n 40 = 10) : Nat.gcd n 40 < 11", "by omega"),
    ("theorem foo : True", "by\n  -- sorry, axiom, native_decide, #exit\n  trivial"),
    ("theorem foo : True", "by /- sorry -/ trivial"),
    ("theorem foo (sorry' : Nat) : sorry' = sorry'", "rfl"),
    ('theorem foo : "sorry" ++ " axiom" = "sorry axiom"', "by decide"),
    ("theorem foo (axiom_of_choice : True) : True", "axiom_of_choice"),
    ("theorem foo («sorry» : Nat) : «sorry» = «sorry»", "rfl"),
    ("theorem foo : 2 ^ 10 = 1024", "by decide +kernel"),
    ("theorem foo (n : no_index Nat) : n = show Nat from n", "rfl"),
    ("theorem foo (n : Nat) : n + 0 = n", "by first | decide +kernel | simp"),
    (
        "theorem foo : ¬ ∀ n : Nat, n * n = 0",
        "by first | exact fun h => absurd (h 0) (by decide +kernel)"
        " | exact fun h => absurd (h 1) (by decide +kernel)",
    ),
    ("theorem foo (a b : Nat) : a + b = b + a", "open Nat in Nat.add_comm a b"),
    ("theorem foo (n : Nat) : 0 < n + 1", "by\n  open Nat in\n  exact succ_pos n"),
    ("theorem foo (p : Prop) : p ∨ ¬p", "open Classical in em p"),
    ("theorem foo (n : Nat) : 0 + n = n", "match n with\n  | 0 => rfl\n  | n + 1 => by simp"),
    ("theorem foo : ∀ n : Nat, 0 + n = n", "fun\n  | 0 => rfl\n  | n + 1 => congrArg Nat.succ (foo n)"),
    (
        "theorem foo (n : Nat) : n ≤ n * n",
        "go n\nwhere go : (n : Nat) → n ≤ n * n\n  | 0 => Nat.le_refl 0\n"
        "  | n + 1 => Nat.le_mul_of_pos_left _ (by omega)",
    ),
    (
        "theorem foo (a b : Nat) : Nat.gcd a b ∣ a",
        "helper a b\nwhere\n  /-- A helper with a comment: sorry. -/\n"
        "  helper (a b : Nat) : Nat.gcd a b ∣ a := Nat.gcd_dvd_left a b",
    ),
    (
        "theorem foo (n : Nat) : ∃ m, n < m",
        "by\n  let rec next (k : Nat) : Nat := k + 1\n  exact ⟨n + 1, Nat.lt_succ_self n⟩",
    ),
    (
        "theorem foo : ∀ n : Nat, n % 2 < 2",
        "fun n => if h : n < 2 then by omega else by have := foo (n - 2); omega\ntermination_by n => n",
    ),
    ("theorem foo (α : Type) (β : Type) (f : α → β) (x y : α) (h : x = y) : f x = f y", "h ▸ rfl"),
    ("theorem foo (a b c : Nat) (h₁ : a ≤ b) (h₂ : b ≤ c) : a ≤ c", "calc a ≤ b := h₁\n  _ ≤ c := h₂"),
    ("theorem foo : True ∧ True", "⟨by trivial, by first | fail | trivial⟩"),
    ("theorem foo (x y : Nat) (h : x = y) : y = x", "by\n  set_option maxRecDepth 2000 in\n  exact h.symm"),
    ('theorem foo :\r\n  "a\r\nb".length = 3', "by\r\n  skip\r\n  decide"),
]


DEFINITIONS = """
structure Point where
  x : Nat
  y : Nat
  small : x < 2 ^ 64 := by omega -- a tactic of its own
deriving Repr, DecidableEq

def Point.zero : Point := { x := 0, y := 0 }

def Point.next (p : Point) (n : Nat) (h : 0 < n := by decide) : Point := { x := 0, y := p.y + n }

example : (Point.zero.next 2).y = 2 := rfl

/-- sorry, axiom: only words. -/
def Point.sum (p : Point) : Nat := p.x + p.y

inductive Tree | leaf | node (l r : Tree)

def Tree.size : Tree → Nat
  | .leaf => 1
  | .node l r => l.size + r.size + 1
"""
GOAL = "theorem Tree.goal (p : Point) (t : Tree) : 0 < p.sum + t.size + Tree.size .leaf := "
FILES = [
    ("theorem foo : 1 + 1 = 2 := sorry", "theorem foo : 1 + 1 = 2 := rfl", "foo"),
    ("theorem foo : 1 + 1 = 2 := by sorry", "theorem foo : 1 + 1 = 2 := by decide", "foo"),
    (DEFINITIONS + GOAL + "sorry", DEFINITIONS + GOAL + "by simp [Tree.size]", "Tree.goal"),
    (
        DEFINITIONS + GOAL + "sorry",
        DEFINITIONS.replace("deriving Repr, DecidableEq", "")  # not what the statement rests on
        + "namespace Tree\nvariable (t : Tree)\n"
        + "@[simp] theorem pos : 0 < t.size := by cases t <;> simp [size]\n"
        + "private def spare (n : Nat) : Nat := n + 1\nend Tree\nsection\nopen Tree\n"
        + "set_option maxRecDepth 1000 in\n" + GOAL + "by\n  have := pos t\n  omega\nend",
        "Tree.goal",
    ),
    (
        "namespace A\nuniverse u\ntheorem foo (α : Type u) (l : List α) : l ++ [] = l := sorry\nend A",
        "universe u\nnamespace A\nmutual\ntheorem even (n : Nat) : True := match n with\n  | 0 => trivial\n"
        "  | n + 1 => odd n\ntheorem odd (n : Nat) : True := match n with\n  | 0 => trivial\n"
        "  | n + 1 => even n\nend\ntheorem foo (α : Type u) (l : List α) : l ++ [] = l := by simp\nend A",
        "A.foo",
    ),
    (
        "theorem foo (n : Nat) : ∃ m, n < m := sorry",
        "inductive Big (n : Nat) : Prop | mk (m : Nat) (h : n < m)\n"
        "class HasBig (n : Nat) : Prop where\n  big : Big n\n"
        "instance (n : Nat) : HasBig n := ⟨.mk (n + 1) (Nat.lt_succ_self n)⟩\n"
        "theorem foo (n : Nat) : ∃ m, n < m := match HasBig.big (n := n) with | .mk m h => ⟨m, h⟩",
        "foo",
    ),
    (
        # A lemma with the statement's `match`: Lean makes one definition, named after the lemma.
        "def two (n : Nat) : Nat := match n with | 0 => 1 | _ => 2\n"
        "theorem foo (n : Nat) : (match n with | 0 => 1 | m + 1 => two m) > 0 := sorry",
        "def one (n : Nat) : Nat := match n with | 0 => 2 | _ => 1\n"
        "def two (n : Nat) : Nat := match n with | 0 => 1 | _ => 2\n"
        "theorem help (n : Nat) : (match n with | 0 => 1 | m + 1 => two m) > 0 := by\n"
        "  split\n  · decide\n  · unfold two; split <;> decide\n"
        "theorem foo (n : Nat) : (match n with | 0 => 1 | m + 1 => two m) > 0 := help n",
        "foo",
    ),
    (
        # The same of proofs inside of terms.
        "def g (n : Nat) (h : 3 < n) : Fin n := ⟨2, by omega⟩\n"
        "theorem foo : (g 4 (by decide)).1 = 2 := sorry",
        "def f (n : Nat) (h : 3 < n) : Fin n := ⟨2, by omega⟩\n"
        "def g (n : Nat) (h : 3 < n) : Fin n := ⟨2, by omega⟩\n"
        "theorem foo : (g 4 (by decide)).1 = 2 := rfl",
        "foo",
    ),
    (
        # And what a `match` distinguishes.
        "inductive Five | a | b | c | d | e\ndef f : Five → Nat\n  | .a => 1\n  | _ => 0\n"
        "theorem foo (x : Five) (h : x ≠ .a) : f x = 0 := sorry",
        "inductive Five | a | b | c | d | e\nderiving instance Repr for Five\n"
        "def g : Five → Bool\n  | .a => true\n  | _ => false\n"
        "def f : Five → Nat\n  | .a => 1\n  | _ => 0\n"
        "attribute [local simp] f in\n"
        "@[elab_as_elim] nonrec theorem helper {p : Nat → Prop} (n : Nat) (h : ∀ n, p n) : p n := h n\n"
        "variable (n : Nat) (h : n = 0)\ninclude h in\ntheorem unused : n + 0 = 0 := by simp [h]\n"
        "theorem foo (x : Five) (h : x ≠ .a) : f x = 0 := by cases x <;> simp_all [f]",
        "foo",
    ),
    (
        "theorem foo (p : Prop) : p ∨ ¬p := sorry",
        "example : True := trivial\n\n/-! # A section -/\n\n"
        "theorem foo (p : Prop) : p ∨ ¬p := Classical.em p\n\n-- sorry",
        "foo",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "file", "theorem"), FILES)
def test_an_honest_file_is_proved_and_proved_again(
    lean_pool: Pool, spec: str, file: str, theorem: str
) -> None:
    result = lean_pool.submit(Job("job", "", spec, file, strict=True, theorem=theorem)).result()
    assert result.proved, said(result)


def test_honest_files_are_reported(lean_pool: Pool) -> None:
    files = (HERE / "honest.lean").read_text(encoding="utf-8").split("-- another file\n")
    jobs = [Job(str(i), "", "", file, theorem=EVERYTHING) for i, file in enumerate(files)]
    refused = [said(result) for result in lean_pool.check(jobs) if result.verdict is not Verdict.UNJUDGED]
    assert refused == []


def test_honest_proofs_are_proved_again(lean_pool: Pool) -> None:
    jobs = [Job(str(i), "", statement, proof, strict=True) for i, (statement, proof) in enumerate(HONEST)]
    refused = [(result.id, said(result)) for result in lean_pool.check(jobs) if not result.proved]
    assert refused == []


@pytest.mark.parametrize(("statement", "proof"), HONEST)
def test_what_only_looks_like_a_cheat_is_proved(lean_pool: Pool, statement: str, proof: str) -> None:
    result = lean_pool.submit(Job("job", "", statement, proof)).result()
    assert result.proved, said(result)


def test_a_thousand_honest_proofs_are_proved(lean_pool: Pool) -> None:
    corpus = {seed.statement.key: seed for seed in seeds.load()}
    jobs = [
        Job(f"{key} {seed.proof}", seed.statement.header, seed.statement.text, seed.proof,
            origin=seed.statement.origin, limits=Limits(wall_s=60.0, heartbeats=10_000))
        for key, seed in sorted(corpus.items())
    ]  # fmt: skip
    assert len(jobs) >= 1000
    refused = [(result.id, said(result)[:200]) for result in lean_pool.check(jobs) if not result.proved]
    assert refused == []


#: Each guard of the checker: its text, the text without it, and a proof that only it refuses.
MUTANTS: dict[str, tuple[dict[str, str], str, str]] = {  # of "file" and "report", texts are whole files
    "one command": (
        {"if !(after.isOfKind ``Parser.Command.eoi) then": "if false then"},
        "theorem foo : True", "trivial\naxiom cheat : False",
    ),
    "nothing behind it": (
        {"match ← errorsOf behind with": "match ([] : List Said) with"},
        "theorem foo : True", "by trivial ) }",
    ),
    "forbidden syntax": (
        {
            "| some name => match forbiddenIn theoremRules stx with":
            "| some name => match (none : Option String) with",
        },
        "theorem foo : True", "go\nwhere @[simp] go : True := trivial",
    ),
    "forbidden kinds": (
        {"if memString last forbiddenKinds then": "if false then"},
        "theorem foo : True", "unsafe trivial",
    ),
    "options": (
        {"if maySet rules name rest then": "if true then"},
        "theorem foo : True", "by\n  set_option maxHeartbeats 0 in\n  trivial",
    ),
    "depth of recursion": (
        {" && !(name == `maxRecDepth && isShallow behind)": ""},
        "theorem foo : True", "by\n  set_option maxRecDepth 100 in\n  trivial",
    ),
    "file: budgets": (
        {"if n == 0 || budget < n then": "if false then"},
        "theorem foo : ∀ a b : Fin 50, a + b = b + a := sorry",
        "set_option maxHeartbeats 0 in\ntheorem foo : ∀ a b : Fin 50, a + b = b + a := by\n  decide",
    ),
    "header: what Lean drops": (
        {
            "let (after, said) ← runLooked base input code state stx":
            "let (after, said) ← runSaid base code input state stx",
        },
        "theorem foo : p", "trivial",
    ),
    "file: what Lean drops from its spec": (
        {
            "let (after, said) ← runLooked header.base input code state stx":
            "let (after, said) ← runSaid header.base code input state stx",
        },
        cases("whole-file")[-1].statement, cases("whole-file")[-1].proof,
    ),
    "what Lean drops from the statement": (
        {"if (scopeOf header.state).varDecls.size == 0 then runSaid": "if true then runSaid"},
        cases("header")[-2].statement, cases("header")[-2].proof,
    ),
    "ends of lines": (
        {"let text := text.crlfToLf\n": "let text := text\n"},
        cases("unicode")[-1].statement, cases("unicode")[-1].proof,
    ),
    "report: names of examples": (
        {"[mkIdentFrom word `_example, mkNullNode]": "[mkIdentFrom word `_other, mkNullNode]"},
        "", proofs("whole-file", "match decl_name% with")[0],
    ),
    "report: variables that throw": (
        {
            "let after ← runGuarded base false input state check fun context ref => "
            "Elab.Command.elabCheck check context ref\n"
            "    return errorsAmong (← saidIn after.messages.toList) matches []":
            "let after ← runGuarded base false input state check\n"
            "    return !((← saidIn after.messages.toList) matches [])",
        },
        "", proofs("whole-file", 'trace "Type : Type 1"')[0],
    ),
    "report: deriving under variables": (
        {"if !(areTypes (scopeOf before).varDecls.toList) && holds isDerived stx then": "if false then"},
        "", proofs("whole-file", "(have := @A.W.ofNat; exact Nat)")[0],
    ),
    "report: deriving with a type": (
        {"toList) && holds isDerived stx": "toList) && stx.isOfKind ``Parser.Command.deriving"},
        "", proofs("whole-file", "deriving Hashable, DecidableEq, SizeOf")[0],
    ),
    "report: attributes taken away": (
        {" || holds isErased stx) then return none": ") then return none"},
        "", proofs("whole-file", "attribute [-instance] bad")[0],
    ),
    "report: quotations": (
        {"if quotesLetRec stx then": "if false then"}, "", proofs("whole-file", "Lean.mkIdent `x))")[0],
    ),
    "report: Lean's own tests": (
        {"else if (`Lean.Server.Test).isPrefixOf n then": "else if false then"},
        "", proofs("whole-file", "import Lean.Server.Test.Cancel")[0],
    ),
    "report: everything": (
        {"reportOn header (all :: done.examples) []": "reportOn header [] []"},
        "", "def f : True :=\n  have := Lean.trustCompiler\n  trivial",
    ),
    "report: what Lean drops": (
        {"if leaves after (isIt claim) then": "if true || leaves after (isIt claim) then"},
        "", proofs("whole-file", "n : Nat := let rec t : 2 + 2 = 5 := t; 3")[0],
    ),
    "report: what another makes": (
        {" && (info.stx.getPos?.getD 0).byteIdx == claim.at_": ""},
        "", proofs("whole-file", "induction n using amb")[0],
    ),
    "report: defaults": (
        {"(if isField then": "(if false then"},
        "", proofs("whole-file", "h : 2 + 2 = 5 := (by subst (match")[0],
    ),
    "report: variables": (
        {"if !(isLonger (scopeOf after).varUIds": "if false && !(isLonger (scopeOf after).varUIds"},
        "", proofs("whole-file", "variable (k : Nat) (p : Prop) (y : by subst (match")[0],
    ),
    "report: variables inside": (
        {"(fun kind parts => kind == ``Parser.Command.mutual": "(fun _ parts => false"},
        "", proofs("whole-file", "mutual\nvariable (k")[0],
    ),
    "report: variables in force": (
        {"if !(← areFine before) then": "if false then"},
        "", proofs("whole-file", "deriving instance DecidableEq")[0],
    ),
    "report: what Lean hides": (
        {"if leaves after isBroken then": "if false then"},
        "", proofs("whole-file", "theorem A.t (a b : T 3)")[0],
    ),
    "report: types of variables": (
        {"| some declaration => holdsSorry declaration.type": "| some _ => false"},
        "", proofs("whole-file", "theorem untouched")[0],
    ),
    "report: names of defaults": (
        {"if mentionsName likeDefault stx then": "if false then"},
        "", proofs("whole-file", "h._default ::")[0],
    ),
    "report: what is omitted": (
        {" && !(← allOmitted before stx": " && false && !(← allOmitted before stx"},
        "", proofs("whole-file", "open A B\nvariable [inst : Lie 0]\ninclude inst\nomit [amb (fun")[0],
    ),
    "report: what stands in front": (
        {"match ← unscoped before (some behind) first with": "match (none : Option String) with"},
        "", proofs("whole-file", "open A B in\nomit")[0],
    ),
    "report: without effect": (
        {"if !(memName stx.getKind scoping || holds isErased stx) then": "if true then"},
        "", proofs("whole-file", "open Nat in\nopen A")[0],
    ),
    "report: what is derived": (
        {"if derivesTerm stx then": "if false then"}, "", proofs("whole-file", "deriving Lie (amb")[0],
    ),
    "report: what it is derived for": (
        {"(kind == ``Parser.Command.deriving && !(": "(false && !("},
        "", proofs("whole-file", "deriving instance BEq for (V")[0],
    ),
    "report: local in a block": (
        {", ``Parser.Term.local, ``Parser.Term.scoped]": "]"},
        "", proofs("whole-file", "mutual\nlocal instance")[0],
    ),
    "report: local of a long name": (
        {"if holds isLocal stx && holds isDeep stx then": "if false then"},
        "", proofs("whole-file", "local instance A.B")[0],
    ),
    "report: a block behind in": (
        {
            "if holds (fun kind parts => kind == ``Parser.Command.mutual && anyHolds isScope parts) stx":
            "if stx.isOfKind ``Parser.Command.mutual && holds isScope stx",
        },
        "", proofs("whole-file", "open Nat in\nmutual")[0],
    ),
    "file: binders that are no classes": (
        {"`synthInstance, `tactic,": "`synthInstance, `checkBinderAnnotations, `tactic,"},
        proofs("whole-file", "set_option checkBinderAnnotations")[0].replace("Nat.add_comm a b", "sorry"),
        proofs("whole-file", "set_option checkBinderAnnotations")[0],
    ),
    "report: two in one": (
        {"if stx.isOfKind ``Parser.Command.in && !(memName": "if false && !(memName"},
        "", "theorem target : True := trivial in\ntheorem u : True := trivial",
    ),
    "report: names of modules": (
        {"match notImported modules with": "match (none : Option String) with"},
        "", "import «Std/Data/HashMap»\ntheorem target : True := trivial",
    ),
    "report: types in domains": (
        {".lam _ t b _ => isPlainField env block t && go b": ".lam _ _ b _ => go b"},
        "", cases("kernel")[-2].proof,
    ),
    "report: questions inside": (
        {" && !(inside && stx.isOfKind ``Parser.Command.printAxioms)": ""},
        "", "theorem a : 1 = 1 := rfl\nset_option pp.all false in\n#print axioms a",
    ),
    "report: examples": (
        {"if !(holdsExample stx) ||": "if true ||"}, "", "example : 1 = 2 := sorry",
    ),
    "what Lean remembers": (
        {'["native", "suggestions"]': '["native"]'}, "theorem foo : 1 + 1 = 2", "by grind +suggestions",
    ),
    "waiting": ({', "sleep"]': "]"}, "theorem foo : True", "by sleep 1; trivial"),
    "file: attributes behind a minus": (
        {'else if last == "eraseAttr" &&': "else if false &&"},
        "theorem foo : True := sorry",
        "attribute [-app_unexpander] unexpandUnit\ntheorem foo : True := trivial",
    ),
    "grind's options": (
        {'|| last == "setOption" then': "then"},
        "theorem foo (f : Nat → Nat) (h : ∀ x, f (f x) = x) : f (f (f 3)) = f 3",
        "by grind =>\n  set_option maxHeartbeats 0 in\n  finish",
    ),
    "settings": (  # in front of the rule on data
        {
            "&& !(areSettings args.toList) then": "&& false then",
            "(memName n plainFunctions || isData info || isField args info)": "true",
        },
        "theorem foo : True", 'by simp (maxSteps := dbgTrace "it ran" (Function.const Unit 7))',
    ),
    "functions in settings": (  # behind the rule on their syntax
        {
            "&& !(areSettings args.toList) then": "&& false then",
            "isTactic stx name info) && isPlain base": "isTactic stx name info) || isPlain base",
        },
        "theorem foo : True", 'by simp (maxSteps := dbgTrace "it ran" fun _ => 7)',
    ),
    "file: no code": (
        {"if code || mayCompile base env stx names.toList then": "if true then"},
        cases("code")[4].statement, cases("code")[4].proof,
    ),
    "file: code of a name": (
        {"info.hasValue && (namesSetting name ||": "info.hasValue && (true ||"},
        cases("code")[-1].statement, cases("code")[-1].proof,
    ),
    "file: names of settings": (
        {" && (name matches .num _ _)": ""},
        cases("code")[-1].statement, cases("code")[-1].proof.replace("tactic_", "_tmp"),
    ),
    "file: functions in data": (
        {"(memName n plainFunctions || isData info || isField args info)": "true"},
        "theorem foo : True := sorry",
        "instance : Coe Bool Nat := ⟨fun _ => Nat.add 3 4⟩\ntheorem foo : True := by simp (maxSteps := true)",
    ),
    "header: no later than its command": (
        {
            "scope.opts.set `Elab.async false": "scope.opts",
            "if maySet rules name rest then": "if true then",
        },
        "theorem foo : True",
        "helper 3\nwhere\n  n : Nat := 7\n  helper : (k : Nat) → True\n"
        "    | 0 => trivial\n    | k + 1 => helper k\n"
        "  termination_by k => k\n"
        "  decreasing_by have : True := (by simp (maxSteps := foo.n)); omega",
    ),
    "header": (
        {"match forbidden givenRules stx with": "match (none : Option String) with"},
        "theorem foo : True", "trivial",
    ),
    "file: tactics by name": (
        {" && !(mentionsName likeTactic stx)": ""},
        cases("code")[-2].statement, cases("code")[-2].proof,
    ),
    "header: notation": (  # which elaborates only where it is compiled
        {
            "if code || mayCompile base env stx names.toList then": "if true then",
            "``Parser.Command.export :: ": "``Parser.Command.export :: `Lean.Parser.Command.notation :: ",
            '["export", "axiom",': '["notation", "notationItem", "export", "axiom",',
        },
        "theorem foo : True", "trivial",
    ),
    "header: kernel": (
        {
            "if maySet rules name rest then": "if true then",
            "let base := header.base\n  match sub": "let base := header.state.env\n  match sub",
            "else match header.base.find? name with": "else match header.state.env.find? name with",
        },
        FALSE, "h",
    ),
    "header: prelude": (
        {"if !(memName `Init imports) then": "if false then"},
        cases("header")[4].statement, cases("header")[4].proof,
    ),
    "file: what the library lacks": (
        {"| none => axiomsBelow header known { acc with denied := name :: acc.denied } rest":
         "| none => axiomsBelow header known acc rest"},
        cases("header")[6].statement, cases("header")[6].proof,
    ),
    "file: types": (
        {"if endsInSort t.type && !(isReserved t.name) && arePlain t.ctors then": "if true then"},
        cases("kernel")[0].statement, cases("kernel")[0].proof,
    ),
    "header: types inside": (
        {".app f a => applied f && isPlainField env block a": ".app f _ => applied f"},
        cases("kernel")[-1].statement, cases("kernel")[-1].proof,
    ),
    "file: names of the kernel": (
        {"name.getRoot == `_nested": "false"},
        cases("kernel")[1].statement, cases("kernel")[1].proof,
    ),
    "compiled code": (
        {", `Lean.reduceBool, `Lean.reduceNat]": "]"},
        "theorem foo : Lean.reduceNat System.Platform.numBits = 32", "rfl",
    ),
    "kernel": (  # behind the elaborator's own, which an option switches off
        {
            "Kernel.Environment.addDecl acc.env {} declaration":
            "Kernel.Environment.addDeclWithoutChecking acc.env declaration",
            "if maySet rules name rest then": "if true then",
        },
        FALSE, "by\n  set_option debug.skipKernelTC true in\n  decide +kernel",
    ),
    "axioms": (
        {
            "let (allowed, denied) ← axiomsOf header {} [] used":
            "let (allowed, denied) := (({} : NameSet), ([] : List Name))",
        },
        FALSE, "sorry",
    ),
    "file: commands": (
        {"if memName stx.getKind rules.wholes &&": "if true &&"},
        "theorem foo : True := sorry", "seal Nat.add\ntheorem foo : True := trivial",
    ),
    "file: commands inside": (
        {"then firstForbidden rules (innerCommands stx) else": "then none else"},
        "theorem foo : True := sorry", "open Nat in seal Nat.add\ntheorem foo : True := trivial",
    ),
    "file: attributes": (
        {'else if last == "attrInstance" &&': "else if false &&"},
        "theorem foo : True := sorry", '@[extern "x"] def u := 1\ntheorem foo : True := trivial',
    ),
    "file: imports": (
        {"match missingFrom spec.imports imports with": "match (none : Option Name) with"},
        "theorem foo : True := sorry", "import Lean\ntheorem foo : True := trivial",
    ),
    "file: meaning": (
        {"match changedIn stated there {} [trusted.name] with": "match (none : Option Name) with"},
        "def a := 1\ntheorem foo : a = 2 := sorry", "def a := 2\ntheorem foo : a = 2 := rfl",
    ),
    "origin": (
        {"if owner == origin || origin.isPrefixOf name || sameType then some": "if false then some"},
        "theorem foo (a b : Nat) : a + b = b + a", "Nat.add_comm a b",
    ),
}  # fmt: skip


#: Headers of those that have one.
HEADERS = {
    "header": "#eval 1",
    "header: notation": 'notation "five" => 5',
    "header: no later than its command": "set_option Elab.async true",
    "header: types inside": cases("kernel")[-1].header,
    "header: kernel": cases("header")[0].header,
    "header: prelude": cases("header")[4].header,
    "header: what Lean drops": cases("header")[-1].header,
    "what Lean drops from the statement": cases("header")[-2].header,
    "what Lean remembers": "import Lean.LibrarySuggestions.Default",
}


#: Two witnesses of the same: each refuses where the other is switched off.
BESIDE = {
    "report: variables in force": "report: deriving under variables",
    "report: variables that throw": "report: deriving under variables",
    "report: variables": "report: what Lean hides",
    "report: variables inside": "report: what Lean hides",
}


def test_every_guard_that_is_switched_off_is_there() -> None:
    """The slow tests would say so half an hour later."""
    text = (toolchain.project_dir() / "STP" / "Checker.lean").read_text(encoding="utf-8")
    guards = [guard for changes, _, _ in MUTANTS.values() for guard in changes]
    assert [guard for guard in guards if text.count(guard) != 1] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_every_guard_is_needed(
    lean_pool: Pool, by_mutants: dict[str, Future[list[CheckResult]]], name: str
) -> None:
    accepted = (Verdict.PROVED, Verdict.UNJUDGED)
    assert lean_pool.submit(attack_on(name)).result().verdict not in accepted
    *by_one_of_two, result = by_mutants[name].result()
    assert all(refused.verdict not in accepted for refused in by_one_of_two)
    assert result.verdict in accepted, said(result)


@pytest.fixture(scope="module")
def by_mutants(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[list[CheckResult]]]]:
    """What checkers without each guard say. A changed one compiles itself, on one core: two at a time."""
    tests = (item for item in request.session.items if isinstance(item, pytest.Function))
    names = [t.callspec.params["name"] for t in tests if t.originalname == "test_every_guard_is_needed"]
    threads = ThreadPoolExecutor(2)
    yield {name: threads.submit(mutants_on, name, tmp_path_factory.mktemp("mutants")) for name in names}
    threads.shutdown(cancel_futures=True)


def mutants_on(name: str, folder: Path) -> list[CheckResult]:
    """The answer without the guard; where there are two witnesses, first that without the other one alone."""
    changes, job = MUTANTS[name][0], attack_on(name)
    if name not in BESIDE:
        return [checked_by(changed_checker(folder, changes), job)]
    other = MUTANTS[BESIDE[name]][0]
    both = changed_checker(folder / "both", {**other, **changes})
    return [checked_by(changed_checker(folder / "other", other), job), checked_by(both, job)]


def attack_on(name: str) -> Job:
    _, statement, proof = MUTANTS[name]
    return Job(
        "job", HEADERS.get(name, ""), statement, proof, limits=LIMITS,
        origin="Nat.add_comm" if name == "origin" else None,
        theorem={"file": "foo", "report": EVERYTHING}.get(name.partition(":")[0]),
    )  # fmt: skip


@pytest.mark.slow
def test_strict_needs_no_trust_in_the_first_process(lean_pool: Pool, tmp_path: Path) -> None:
    changes, statement, proof = MUTANTS["axioms"]
    mutant = LeanWorker(changed_checker(tmp_path, changes), 4096)
    job = Job("job", "", statement, proof, limits=LIMITS)
    [accepted] = mutant.check([job])
    mutant._second = LeanProcess(toolchain.find("embedded"), "Checker")
    [refused] = mutant.check([replace(job, strict=True)])
    mutant.close()
    assert accepted.proved
    assert (refused.verdict, refused.reason) == (Verdict.INCOMPLETE, "strict: it uses sorry")


#: With a spec that runs code, files that would have it run another's.
STEERED = (
    "import Lean\ndef exit (n : UInt8) : IO Unit := pure ()\n"
    "run_cmd (liftM (exit 7 : IO Unit) : Lean.Elab.Command.CommandElabM Unit)\ntheorem foo : True := sorry"
)
STEERING = STEERED.replace("def exit (n : UInt8) : IO Unit := pure ()", "open IO.Process").replace(
    "sorry", "trivial"
)
#: A header with a recursive definition that it runs.
RECURSIVE = (
    "import Lean\nopen Lean Elab Term\ndef dbl : Nat → Nat\n  | 0 => 0\n  | n + 1 => dbl n + 2\n"
    '#guard dbl 3 == 6\nelab "six" : term => return mkNatLit (dbl 3)'
)
#: One whose code rests on what its earlier commands declare. The embedded library has no code for `foldr`.
LAYERED = (
    "import Lean\nstructure Point where\n  x : Nat\n  y : Nat\n"
    "deriving instance DecidableEq, Repr for Point\n"
    "inductive Tree where | leaf | node (l r : Tree)\nderiving instance DecidableEq for Tree\n"
    "def Tree.size : Tree → Nat\n  | .leaf => 1\n  | .node l r => l.size + r.size\n"
    "theorem two_pos : 0 < 2 := by decide\ndef at_ : Fin 2 := ⟨0, two_pos⟩\n"
    "def total (l : List Nat) : Nat := l.foldr (· + ·) 0\n"
    "#guard (Tree.node .leaf .leaf).size == 2 && Tree.leaf ≠ .node .leaf .leaf\n"
    "#guard Point.mk 1 2 = ⟨1, 2⟩ && at_ == 0"
)
#: The library has no code for what this calls; without its own `2 + 2` is another number.
UNCOMPILED = (
    "import Lean\nopen Lean\nmacro_rules | `($a + $b) => do\n"
    '  if "aXb".replace "X" "Y" == "aYb" then `(HAdd.hAdd $a (Nat.succ $b)) else Macro.throwUnsupported'
)
SEARCHED = "theorem foo (l₁ l₂ : List Nat) (h : List.Sublist l₁ l₂) (h2 : l₂.Nodup) : l₁.Nodup"
POISON = (
    "import «Lean\nrun_cmd (liftM (IO.Process.exit 9 : IO Unit) : Lean.Elab.Command.CommandElabM Unit)»\n"
    "theorem target : True := trivial"
)


def test_a_trusted_header_s_code_runs_and_no_submission_steers_it() -> None:
    worker = LeanWorker(toolchain.find("embedded", trusting=True), 4096)
    jobs = [
        Job("search", "", SEARCHED, "by exact?", limits=Limits(60.0, 500)),  # the first one is no dearer
        Job("own", "", STEERED, STEERED.replace("sorry", "trivial"), theorem="foo"),
        Job("steered", "", STEERED, STEERING, theorem="foo"),
        Job("recursive", RECURSIVE, "theorem foo : six = 6", "rfl"),
        Job("layered", LAYERED, "theorem foo : Point.mk 1 2 ≠ ⟨2, 1⟩", "by decide"),
        Job("uncompiled", UNCOMPILED, "theorem foo : 2 + 2 = 4", "rfl"),
        Job("guard", 'import Lean\n#guard ("a".replace "a" "b") == "c"', "theorem foo : True", "trivial"),
        Job("wrong", RECURSIVE.replace("== 6", "== 7"), "theorem foo : True", "trivial"),
        Job("poison", "", "", POISON, theorem=EVERYTHING),
        Job("panic", "", "theorem foo : Nat.shiftLeft 1 4294967296 = 1", "rfl"),  # is not asked again
    ]
    found = {result.id: result.verdict.value for result in worker.check(jobs)}
    restarts = worker.restarts
    worker.close()
    assert found == {
        "search": "proved", "own": "proved", "steered": "proved", "recursive": "proved", "layered": "proved",
        "uncompiled": "bad_statement", "guard": "bad_statement", "wrong": "bad_statement",
        "poison": "bad_statement", "panic": "crashed",
    }  # fmt: skip
    assert restarts == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("guard", "without", "job", "verdict"),
    [
        (
            "if next.structEq stx then (true, rest) else (false, [])", "(true, next :: rest)",
            Job("steered", "", STEERED, STEERING, theorem="foo"), Verdict.CRASHED,
        ),
        (
            "if code && (forbidden givenRules stx) matches none then", "if code then",
            Job("uncompiled", UNCOMPILED, "theorem foo : 2 + 2 = 4", "rfl"), Verdict.PROVED,
        ),
    ],
)  # fmt: skip
def test_every_guard_of_code_that_runs_is_needed(
    tmp_path: Path, guard: str, without: str, job: Job, verdict: Verdict
) -> None:
    mutant = LeanWorker(replace(changed_checker(tmp_path, {guard: without}), trusting=True), 4096)
    [result] = mutant.check([job])
    mutant.close()
    assert result.verdict is verdict


def checked_by(checker: toolchain.Toolchain, job: Job) -> CheckResult:
    worker = LeanWorker(checker, 4096)
    try:
        [result] = worker.check([job])
    finally:
        worker.close()
    return result


def changed_checker(folder: Path, changes: dict[str, str]) -> toolchain.Toolchain:
    """The embedded Lean with a checker whose text was changed."""
    lean = toolchain.find("embedded")
    shutil.copytree(lean.project, folder / "lean_project")
    checker = folder / "lean_project" / "STP" / "Checker.lean"
    text = checker.read_text(encoding="utf-8")
    for guard, without in changes.items():
        assert text.count(guard) == 1, guard
        text = text.replace(guard, without)
    checker.write_text(text, encoding="utf-8")
    return replace(lean, project=folder / "lean_project")


TRUE, SOUND = ["const", ["True"], []], ["const", ["True", "intro"], []]
LEVEL = ["sort", ["succ", 1, ["zero"]]]


def theorem(name: list[str], type_: int, value: int, levels: tuple[str, ...] = ()) -> list[object]:
    return ["theorem", name, [[level] for level in levels], type_, value, None]


#: What a process that was taken over might export for `theorem foo : True`, and what is said of it.
EXPORTS = {
    "honest": ([TRUE, SOUND], [theorem(["foo"], 0, 1)], "proved", ""),
    "nothing": ([], [], "rejected", "no theorem of that name"),
    "another theorem": ([TRUE, SOUND], [theorem(["bar"], 0, 1)], "rejected", "no theorem of that name"),
    "another statement": (
        [["const", ["False"], []], ["pi", 0, 0], ["bvar", 0], ["lam", 0, 2]],
        [theorem(["foo"], 1, 3)], "cheated", "another statement",
    ),
    "other levels": ([TRUE, SOUND], [theorem(["foo"], 0, 1, ("u",))], "cheated", "universe levels"),
    "no proof": ([TRUE, TRUE], [theorem(["foo"], 0, 1)], "rejected", ""),
    "sorry": (
        [TRUE, ["const", ["sorryAx"], [["zero"]]], ["app", 1, 0], ["const", ["Bool", "true"], []],
         ["app", 2, 3]],
        [theorem(["foo"], 0, 4)], "incomplete", "it uses sorry",
    ),
    "compiler": (
        [TRUE, ["const", ["Lean", "trustCompiler"], []]], [theorem(["foo"], 0, 1)],
        "cheated", "axiom Lean.trustCompiler",
    ),
    "axiom": ([TRUE], [["axiom", ["foo"], [], 0, 0, None]], "rejected", "no declaration"),
    "axiom behind": (
        [TRUE, ["const", ["cheat"], []]], [theorem(["foo"], 0, 1)], "rejected", "",
    ),
    "itself": ([TRUE, ["const", ["foo"], []]], [theorem(["foo"], 0, 1)], "rejected", ""),
    "no theorem": (
        [TRUE, SOUND], [["definition", ["foo"], [], 0, 1, 1]], "rejected", "no theorem of that name",
    ),
    "a constant of the library": (
        [TRUE, SOUND], [theorem(["Nat", "add_comm"], 0, 1), theorem(["foo"], 0, 1)], "rejected", "",
    ),
    "a level that is no number": (
        [TRUE, SOUND, ["sort", ["succ", "1", ["zero"]]]], [theorem(["foo"], 0, 1)], "rejected", "",
    ),
    "a row that is not there": ([TRUE, ["app", 0, 7]], [theorem(["foo"], 0, 1)], "rejected", "not there yet"),
    "a row of itself": ([TRUE, ["app", 1, 1]], [theorem(["foo"], 0, 1)], "rejected", "not there yet"),
    "a loose variable": ([TRUE, ["bvar", 0]], [theorem(["foo"], 0, 1)], "rejected", ""),
    "nonsense": ([["what"]], [], "rejected", "no expression"),
    "not positive": (
        [TRUE, SOUND, LEVEL, ["const", ["Bad"], []], ["pi", 3, 0], ["pi", 4, 3],
         ["const", ["False"], []], ["pi", 3, 6], ["pi", 7, 3]],
        [["inductive", [], 0, [[["Bad"], 2, [[["Bad", "mk"], 8]]]]], theorem(["foo"], 0, 1)], "rejected", "",
    ),
}  # fmt: skip


class Rows:
    """An export's table, written from terms: `("app", f, a)` with terms for f and a."""

    def __init__(self) -> None:
        self.rows: list[object] = []

    def add(self, term: tuple[object, ...]) -> int:
        kind, *parts = term
        if kind in ("app", "pi", "lam"):
            parts = [self.add(part) for part in parts]  # type: ignore[arg-type]
        self.rows.append([kind, *parts])
        return len(self.rows) - 1

    def inductive(self, name: str, params: int, type_: tuple[object, ...], *constructors: object) -> object:
        made = [[[name, f"mk{i}"], self.add(c)] for i, c in enumerate(constructors)]  # type: ignore[arg-type]
        return ["inductive", [], params, [[[name], self.add(type_), made]]]


def const(*parts: str, levels: tuple[object, ...] = ()) -> tuple[object, ...]:
    return ("const", [*parts], [*levels])


ZERO, ONE = ["zero"], ["succ", 1, ["zero"]]
TYPE, BOOL = ("sort", ONE), const("Bool")


def phantom(type_: tuple[object, ...], bit: tuple[object, ...]) -> tuple[object, ...]:
    return ("app", ("app", const("Phantom"), type_), bit)


#: Two parameters, none of them in a field.
PHANTOM = (
    *("Phantom", 2, ("pi", TYPE, ("pi", BOOL, TYPE))),
    ("pi", TYPE, ("pi", BOOL, phantom(("bvar", 1), ("bvar", 0)))),
)
TRUTH, INTRO = const("True"), const("True", "intro")
OTHER = ("app", const("Host"), const("Bool", "true"))
#: Types that this Lean's kernel lets pass: the rule that they are refused by, and without it; its words.
WRONG_TYPES: dict[str, tuple[tuple[str, str], list[tuple[object, ...]], str]] = {
    "a parameter of a nested type is of no type": (  # leanprover/lean4#14576
        (
            "match addAsAxioms env levels (typesOf types) with",
            "match (.ok env : Except Kernel.Exception Kernel.Environment) with",
        ),
        [PHANTOM, ("Host", 0, TYPE, ("pi", phantom(const("Host"), INTRO), const("Host")))],
        "application type mismatch",
    ),
    "a nested type has another parameter than the type": (  # leanprover/lean4#14582
        ("isPlainField env block t && ownParams block depth t &&", "isPlainField env block t &&"),
        [
            PHANTOM,
            (
                *("Host", 1, ("pi", BOOL, TYPE)),
                (
                    "pi",
                    BOOL,
                    ("pi", phantom(OTHER, const("Bool", "true")), ("app", const("Host"), ("bvar", 1))),
                ),
            ),
        ],
        "the kernel gets wrong: Host",
    ),
    "a sort that is Prop once it is computed": (  # leanprover/lean4#14613
        ("  | .sort u => isPlainSort u", "  | .sort _ => true"),
        [("Host", 0, ("sort", ["imax", ONE, ZERO]), ("pi", TRUTH, const("Host")))],
        "the kernel gets wrong: Host",
    ),
    "a field's type is computed": (  # no wrong proof is known by it
        (".app f a => applied f && isPlainField env block a", ".app f a => go f && isPlainField env block a"),
        [("Host", 0, TYPE, ("pi", ("app", ("lam", TYPE, const("Host")), BOOL), const("Host")))],
        "the kernel gets wrong: Host",
    ),
}


def exported(types: list[tuple[object, ...]]) -> dict[str, object]:
    rows = Rows()
    declarations = [rows.inductive(*one) for one in types]  # type: ignore[arg-type]
    declarations.append(theorem(["foo"], rows.add(const("True")), rows.add(const("True", "intro"))))
    return {"rows": rows.rows, "declarations": declarations}


@pytest.mark.parametrize("name", WRONG_TYPES)
def test_types_that_the_kernel_lets_pass_are_refused(second: LeanProcess, name: str) -> None:
    _, types, reason = WRONG_TYPES[name]
    second.send({"id": "1", "statement": "theorem foo : True", "proof": "", "exported": exported(types)})
    reply = second.receive(time.monotonic() + 60)
    assert reply["verdict"] in ("cheated", "rejected"), reply
    assert reason in reply["reason"]


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG_TYPES)
def test_without_the_rule_on_types_the_kernel_lets_them_pass(tmp_path: Path, name: str) -> None:
    change, types, _ = WRONG_TYPES[name]
    process = LeanProcess(changed_checker(tmp_path, dict([change])), "Checker")
    process.send({"id": "1", "statement": "theorem foo : True", "proof": "", "exported": exported(types)})
    reply = process.receive(time.monotonic() + 60)
    process.kill()
    assert reply["verdict"] == "proved", reply


#: A sort of many successors, by brackets that are few.
HIGH = f"Sort {'(' * 35}0{' + 32)' * 35}"


def test_a_strict_proof_may_be_of_a_high_universe(lean_pool: Pool) -> None:
    """Its levels were rows in rows in rows, which ended the pool with Python's RecursionError."""
    proof = f"by\n  have h : ({HIGH}) = ({HIGH}) := rfl\n  trivial"
    job = Job("job", "", "theorem foo : True", proof, limits=LIMITS, strict=True)
    assert lean_pool.submit(job).result().proved


#: A true statement whose `match` Lean makes a definition of.
MATCHED = "theorem foo (n : Nat) : (match n with | 0 => 1 | _ => 2) = (match n with | 0 => 1 | _ => 2)"


def test_what_a_statement_rests_on_is_not_taken_from_an_export(second: LeanProcess) -> None:
    """With its second alternative for both cases `match 0 with | 0 => 1 | _ => 2` would be 2."""
    second.send({"id": "1", "statement": MATCHED, "proof": "rfl", "export": True})
    exported = second.receive(time.monotonic() + 60)["exported"]
    rows = exported["rows"]
    match = next(d for d in exported["declarations"] if d[1] == ["foo", "match_1"])
    domains, at = [], match[3]
    while rows[at][0] == "pi":
        domains.append(rows[at][1])
        at = rows[at][2]
    rows += [["bvar", 0], ["bvar", 2], ["app", len(rows), len(rows) + 1]]
    for domain in reversed(domains):
        rows.append(["lam", domain, len(rows) - 1])
    for value, verdict in ((match[4], "proved"), (len(rows) - 1, "cheated")):
        # Declared behind the new rows: no row of theirs is needed before.
        match[4] = value
        second.send({"id": "1", "statement": MATCHED, "proof": "", "exported": exported})
        assert second.receive(time.monotonic() + 60)["verdict"] == verdict


@pytest.fixture(scope="module")
def second() -> Iterator[LeanProcess]:
    process = LeanProcess(toolchain.find("embedded"), "Checker")
    yield process
    process.kill()


@pytest.mark.parametrize("name", EXPORTS)
def test_what_a_process_exports_is_not_believed(second: LeanProcess, name: str) -> None:
    rows, declarations, verdict, reason = EXPORTS[name]
    exported = {"rows": rows, "declarations": declarations}
    second.send({"id": "1", "statement": "theorem foo : True", "proof": "", "exported": exported})
    reply = second.receive(time.monotonic() + 60)
    assert reply["verdict"] == verdict, reply
    assert reason in reply["reason"]
