"""Lean text: where a statement ends, what its plain form is, and what its key forgets and keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stp.errors import UsageError
from stp.syntax.lean import (
    COMMANDS,
    MODIFIERS,
    cut_conjecture,
    make_statement,
    named,
    normalise,
    split_theorem,
    statement_key,
    statement_text,
)
from stp.syntax.lean_tokens import tokens
from stp.types import Source, System

SHARED = Path(__file__).parents[3] / "shared" / "data"


def _words(text: str) -> list[str]:
    return [token.text for token in tokens(text)]


# -- tokens ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a/- x /- y -/ -/b -- c\n d", ["a", "b", "d"]),
        ("/-- doc -/ a", ["a"]),
        (r'"a\"--b" c', [r'"a\"--b"', "c"]),
        (r'r"a\" r#"b"c"# r', [r'r"a\"', r'r#"b"c"#', "r"]),
        ('s!"a{f {x} "}"}b" c', ["s!", '"a{', "f", "{", "x", "}", '"}"', '}b"', "c"]),
        ("h' 'x' '\\n' f '' s", ["h'", "'x'", "'\\n'", "f", "''", "s"]),
        ("«a b».c.«d» Nat.succ x₁.y", ["«a b».c.«d»", "Nat.succ", "x₁.y"]),
        (
            "0xFF 1.5e-3 1_000 x.1.2 1..2",
            ["0xFF", "1.5e-3", "1_000", "x", ".", "1", ".", "2", "1", "..", "2"],
        ),
        ("α→β ∃! x, ⋃₀ S <|> λx", ["α", "→", "β", "∃!", "x", ",", "⋃₀", "S", "<|>", "λ", "x"]),
        ("#[1] a[i]! ![0]", ["#[", "1", "]", "a", "[", "i", "]", "!", "![", "0", "]"]),
    ],
)
def test_tokens_are_leans(text: str, words: list[str]) -> None:
    assert _words(text) == words


# -- splitting ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "signature", "proof"),
    [
        ("theorem a (x : Nat := 3) : x = x := rfl", "a", "(x : Nat := 3) : x = x", "rfl"),
        ("lemma a : let x := 1; x = 1 := by simp", "a", ": let x := 1; x = 1", "by simp"),
        ("theorem a : have h := f; p h := t", "a", ": have h := f; p h", "t"),
        ("theorem a : p { x := 1, y := 2 } := t", "a", ": p { x := 1, y := 2 }", "t"),
        ("theorem a : f (n := 3) = fun x => x := t", "a", ": f (n := 3) = fun x => x", "t"),
        ("theorem a : match n with | 0 => p | _ => q := t", "a", ": match n with | 0 => p | _ => q", "t"),
        ("theorem a : ∀ n, p n\n | 0 => t\n | n+1 => u", "a", ": ∀ n, p n", "| 0 => t\n | n+1 => u"),
        ("theorem a : |x| = y | 0 => t", "a", ": |x| = y", "| 0 => t"),
        ("theorem a : p where\n x := 1", "a", ": p", "where\n x := 1"),
        ("theorem a.{u} (α : Sort u) : p := t", "a", ".{u} (α : Sort u) : p", "t"),
        ("/-- := -/ @[simp, ext] private theorem «a b» : p := t", "«a b»", ": p", "t"),
        ('theorem a : s = ":=" /- := -/ := t', "a", ': s = ":=" /- := -/', "t"),
        ("example (x : Nat) : p := t", None, "(x : Nat) : p", "t"),
        ('theorem a : p := "broken', "a", ": p", '"broken'),
    ],
)
def test_a_theorem_is_cut_at_its_own_assignment(
    text: str, name: str | None, signature: str, proof: str
) -> None:
    theorem = split_theorem(text)
    assert (theorem.name, theorem.signature, theorem.proof) == (name, signature, proof)


@pytest.mark.parametrize("hole", ["", ":=", ":= by", ":= sorry", ":= by\n  sorry", ":= by -- todo\n"])
def test_holes_are_no_proof(hole: str) -> None:
    theorem = split_theorem(f"theorem a : |x| = 1 {hole}")
    assert (theorem.signature, theorem.proof) == (": |x| = 1", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected `theorem`, `lemma` or `example`, found the end of the text at line 1 column 1"),
        ("\n def a : p := t", "`example`, found 'def' at line 2 column 2"),
        ("set_option x 1 in\ntheorem a : p", "found 'set_option' at line 1 column 1"),
        ("theorem : p", "the theorem's name, found ':' at line 1 column 9"),
        ("theorem a (x : Nat) := t", "`:` and a type, found ':=' at line 1 column 21"),
        ("theorem a : := t", "a type after `:`, found ':='"),
        ("theorem a (x] : p", "a bracket that was opened, found ']' at line 1 column 13"),
        ("theorem a (x : Nat", "the end of the '(' of line 1 column 11"),
        ("theorem a + : p", "a binder or `:`, found '+' at line 1 column 11"),
        ("theorem a : /- p", "`-/` to end the comment of line 1 column 13"),
    ],
)
def test_what_does_not_split_is_said_with_its_place(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        split_theorem(text)
    assert message in str(caught.value)


@pytest.mark.parametrize("path", sorted(SHARED.glob("*lean4*.jsonl")) or [None], ids=lambda p: p and p.stem)
def test_shared_statements_split_and_join_unchanged(path: Path | None) -> None:
    if path is None:
        pytest.skip(f"no benchmark statements in {SHARED}")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    texts = {row[name] for row in rows for name in row if name.startswith("formal_statement")}
    theorems = sorted(text for text in texts if text.startswith("theorem"))
    assert len(texts) - len(theorems) <= 14, "ProofNet has 14 `def`s, ProofNet-Verified one `set_option … in`"
    for text in theorems:
        theorem, words = split_theorem(text), _words(text)
        plain = normalise(theorem.signature)
        assert theorem.proof is None
        assert theorem.signature in text
        assert _words(f"theorem {theorem.name} {theorem.signature} := by") == words
        joined = statement_text(theorem.name or "", theorem.signature)
        assert _words(joined) == words[:-2]
        assert split_theorem(joined).signature == plain
        assert statement_key(joined) == statement_key(text)
        assert cut_conjecture(text) == plain


# -- plain form --------------------------------------------------------------------------------------


def test_a_statement_is_one_line_without_comments() -> None:
    text = "theorem a -- c\n  (x : Nat)\n\n  /- d -/ :  x=1 := by"
    statement = make_statement(text, "open Nat", Source.DATASET, origin="Nat.a", parents=("k",))
    assert statement.text == "theorem a (x : Nat) : x=1"
    assert (statement.system, statement.header, statement.name) == (System.LEAN, "open Nat", "a")
    assert (statement.origin, statement.parents) == ("Nat.a", ("k",))
    assert statement.key == statement_key("(y : Nat) : y = 1")


def test_a_name_can_be_given_and_an_example_needs_one() -> None:
    assert make_statement("theorem a : p", "", Source.SEED, name="b").text == "theorem b : p"
    assert make_statement("theorem a.{u} : p", "", Source.SEED).text == "theorem a.{u} : p"
    assert make_statement("example : p", "", Source.SEED, name="b").name == "b"
    with pytest.raises(UsageError, match="name"):
        make_statement("example : p", "", Source.SEED)


def test_lines_and_columns_stay_where_they_count() -> None:
    signature = "(x : Nat) :\n    let y := x -- c\n    /- d -/ y = x\n\n  ∧ p"
    assert normalise(signature) == "(x : Nat) :\n    let y := x\n            y = x\n  ∧ p"
    assert normalise(": f fun\n  | 0 => p\n  | _ => q") == ": f fun\n  | 0 => p\n  | _ => q"


# -- keys --------------------------------------------------------------------------------------------

SAME = [
    ("theorem a (x : Nat) (h : x > 0) : x ≠ 0", "theorem b (n : Nat) (hn : n > 0) : n ≠ 0 := by simp"),
    ("(a b : Nat) : a = b", "(a : Nat) (b : Nat) : a = b"),
    (": ∀ x ∈ s, ∃ y : Nat, y -> x <= y", ": ∀ a ∈ s, ∃ b : Nat, b → a ≤ b"),
    (": f (fun x => x + 1) ∧ q", ": f (λ y ↦ y + 1) /\\ q"),
    ("(l : List Nat) : l.length = 0", "(m : List Nat) : m.length = 0"),
    ("(n : Nat) : f (n := 3) n", "(m : Nat) : f (n := 3) m"),
    (": ∑ i ∈ range 3, i ^ 2 = 5", ": ∑ k ∈ range 3, k ^ 2 = 5"),
    (": let x := 1; x = 1", ": let y := 1; y = 1"),
    (": {x | x > 0} = s", ": {y | y > 0} = s"),
    (": ∀ x : ℝ, |x| < 1 → x < 1", ": ∀ y : ℝ, |y| < 1 → y < 1"),
    (": forall x, x \\/ y <-> z", ": ∀ w, w ∨ y ↔ z"),
    ("{α : Type} [i : Add α] ⦃a : α⦄ : a = a", "{β : Type} [j : Add β] ⦃b : β⦄ : b = b"),
    ('(x y : Nat) : s!"a{x}b{y}" = ""', '(y x : Nat) : s!"a{y}b{x}" = ""'),
    ("(«x» : Nat) : x = 1", "(y : Nat) : y = 1"),
    ("(«a'» : Nat) : a' = 1", "(y : Nat) : y = 1"),
    ("(x : T) {y :\n x} : p", "(x : T) {y : x} : p"),
    (": {x | f\n x} = s", ": {y | f y} = s"),
]
DIFFERENT = [
    ("(x : Nat) : x = 1", "{x : Nat} : x = 1"),
    ("(x : Nat) (h : x > 0) : p", "(x : Nat) : p"),
    ("(l : List Nat) : l.length = 0", "(m : List Nat) : m.size = 0"),
    ("(n : Nat) : f (n := 3) n", "(m : Nat) : f (m := 3) m"),
    ("(x y : Nat) : x < y", "(x y : Nat) : y < x"),
    (": x ≠ y", ": x != y"),
    # names that are free somewhere must not look bound
    (": ∑ i ∈ range 3, i + i = 5", ": ∑ k ∈ range 3, k + i = 5"),
    (": ∑ i ∈ range 3, i + i = 5", ": ∑ k ∈ range 3, k + k = 5"),
    (": (∃ x, P x) ∧ Q x", ": (∃ y, P y) ∧ Q y"),
    (": ⟨fun x => x, x⟩ = p", ": ⟨fun y => y, y⟩ = p"),
    (": (fun x => x : T x) = p", ": (fun y => y : T y) = p"),
    (": |∀ x, p x| = x", ": |∀ y, p y| = y"),
    (": let x := x; x = 1", ": let y := y; y = 1"),
    (": let f := fun x => 1\n  ¬p x", ": let f := fun y => 1\n  ¬p y"),
    ("(x : x) : p", "(y : y) : p"),
    ("(a b : T a) : p", "(a : T a) (b : T a) : p"),
    ("(«a'» : Nat) : a' = 1", "(y : Nat) : a' = 1"),
    ("(x y : Nat) (this : p x) : have : q := t; this", "(x y : Nat) (h : p x) : have : q := t; h"),
    ("(h : ∀ n m, p n m) : q (h (n := 3))", "(h : ∀ m n, p m n) : q (h (n := 3))"),
    ("(h : ∀ n m, p n m) : if h (n := 3) then A else B", "(h : ∀ m n, p m n) : if h (n := 3) then A else B"),
    # spellings that mean something
    (": ∑ x in s, f x = 1", ": ∑ x «in» s, f x = 1"),
    ("(x y : Nat) : P {x, y}", "(y x : Nat) : P {y, x}"),
    ("(x : T) : P {s with x}", "(y : T) : P {s with y}"),
    ("(zero : Nat) : match n with | zero => A | _ => B", "(k : Nat) : match n with | k => A | _ => B"),
    ("(zero : Nat) : f fun (zero, b) => b", "(k : Nat) : f fun (k, b) => b"),
    ("(h : p) : q (by cases h)", "(k : p) : q (by cases k)"),
    ('(x y : Nat) : s!"{x}" = ""', '(y x : Nat) : s!"{x}" = ""'),
    ("(x : T) : f `x", "(y : T) : f `y"),
    # blanks that mean something
    ("(a : Array Nat) (i : Nat) : f a[i]", "(a : Array Nat) (i : Nat) : f a [i]"),
    ("(o : T) : α →o β o", "(o : T) : α → o β o"),
    ("(x : T) : f x.1", "(x : T) : f x .1"),
    (": f (by\n  exact g\n  h)", ": f (by\n  exact g\n    h)"),
    (": f (by exact g\n       h)", ":     f (by exact g\n       h)"),
    (": let f := fun z => let y := b\n  c; d e", ": let f := fun z => let y := b c; d\n  e"),
    (": p {x := f y\n    z}", ": p {x := f y z}"),
    (": p {x\n    y}", ": p {x y}"),
    (
        ": match a with | 0 => match b with | 0 => p\n | _ => q",
        ": match a with | 0 => match b with | 0 => p\n                               | _ => q",
    ),
    (": f fun\n| 0 => fun | 0 => a\n| _ => b", ": f fun\n| 0 => fun | 0 => a\n         | _ => b"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_ways_of_writing_one_statement_share_a_key(one: str, other: str) -> None:
    assert statement_key(one) == statement_key(other)
    assert len(statement_key(one)) == 24


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_statements_that_may_differ_do_not_share_a_key(one: str, other: str) -> None:
    assert statement_key(one) != statement_key(other)


NAMES = st.lists(
    st.sampled_from(
        ["x", "y", "z", "a'", "b₁", "h", "n", "m", "hx", "«kl»", "«k l»", "k_1", "σ", "p", "ψ", "s"]
    ),
    min_size=12,
    max_size=12,
    unique=True,
)


@st.composite
def templates(draw: st.DrawFn) -> str:
    """A signature whose bound names are `{0}`, `{1}`, … and whose free names are capital letters."""
    bound: list[int] = []
    fresh = iter(range(12))

    def term(depth: int) -> str:
        kind = draw(st.integers(0, 8 if depth else 1))
        if kind == 0 and bound:
            return f"{{{draw(st.sampled_from(bound))}}}" + draw(st.sampled_from(["", ".F", ".1"]))
        if kind <= 1:
            return draw(st.sampled_from(["A", "B.C", "0", "17", "2.5"]))
        if kind <= 3:
            operator = draw(st.sampled_from(["+", "*", "=", "∧", "→", "≤"]))
            return f"({term(depth - 1)} {operator} {term(depth - 1)})"
        if kind == 4:
            return f"(F {term(depth - 1)} (n := {term(depth - 1)}))"
        name = next(fresh, None)
        if name is None:
            return "A"
        value = term(depth - 1)
        bound.append(name)
        body = term(depth - 1)
        bound.pop()
        forms = [f"(∀ {{{name}}} : {value}, {body})", f"(∃ {{{name}}} ∈ {value}, {body})"]
        forms += [f"(fun {{{name}}} => {body})", f"(let {{{name}}} := {value}; {body})"]
        return draw(st.sampled_from(forms))

    binders = ""
    for _ in range(draw(st.integers(0, 3))):
        left, right = draw(st.sampled_from([("(", ")"), ("{{", "}}"), ("⦃", "⦄")]))
        kind, name = term(1), next(fresh, None)
        if name is not None:
            binders += f"{left}{{{name}}} : {kind}{right} "
            bound.append(name)
    return f"{binders}: {term(3)}"


@given(templates(), NAMES, NAMES)
def test_renaming_binders_never_changes_the_key(template: str, names: list[str], others: list[str]) -> None:
    assert statement_key(template.format(*names)) == statement_key(template.format(*others))


@given(templates(), NAMES, st.data())
def test_blanks_and_comments_never_change_the_key(
    template: str, names: list[str], data: st.DataObject
) -> None:
    signature = template.format(*names)
    blanks = st.sampled_from([" ", "  ", "\n", " -- x := (\n", "/- a /- b -/ : -/", " /-- d -/\t"])
    spaced = "".join(data.draw(blanks) if char == " " else char for char in template).format(*names)
    if "let" not in signature:  # there a line break may end the value
        assert statement_key(spaced) == statement_key(signature)
    assert statement_key(normalise(spaced)) == statement_key(spaced)
    assert _words(normalise(spaced)) == _words(signature)


@given(templates(), NAMES, st.data())
def test_changing_any_other_token_changes_the_key(
    template: str, names: list[str], data: st.DataObject
) -> None:
    signature = template.format(*names)
    free = [
        t
        for t in tokens(signature)
        if t.text in {"A", "0", "17", "2.5", "+", "*", "=", "∧", "→", "≤", "∃", "F"}
    ]
    if free:
        token = data.draw(st.sampled_from(free))
        other = {"+": "-", "0": "1", "17": "18", "2.5": "25", "∃": "∃!"}.get(token.text, token.text * 2)
        other = {"*": "/", "=": "<", "∧": "∨", "→": "↔", "≤": "≥"}.get(token.text, other)
        changed = signature[: token.start] + other + signature[token.end :]
        assert statement_key(changed) != statement_key(signature)


USES = st.lists(st.integers(0, 2), min_size=1, max_size=4)


@given(USES, USES, NAMES, NAMES, st.sampled_from(["({0} {1} {2} : A) :", ": ∀ {0} {1} {2} : A,"]))
def test_a_key_tells_which_variable_is_meant(
    uses: list[int], others: list[int], names: list[str], renamed: list[str], binders: str
) -> None:
    one = " ".join([binders.format(*names), "F", *(names[i] for i in uses)])
    other = " ".join([binders.format(*renamed), "F", *(renamed[i] for i in others)])
    assert (statement_key(one) == statement_key(other)) == (uses == others)


# -- conjectures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "signature"),
    [
        (" (x : Nat) :  x = x := by simp", "(x : Nat) : x = x"),
        ("theorem foo (x : Nat) : x = x", "(x : Nat) : x = x"),
        (': let x := 1; x = 1 := "unterminated', ": let x := 1; x = 1"),
        (": p := by\ntheorem b : q", ": p"),
        (": #{x | x < 3} = 3", ": #{x | x < 3} = 3"),
        ("(x : Nat)", None),
        ("(x : Nat) :", None),
        (": (1 = 1", None),
        (": 1 = 1)", None),
        (": x = sorry", None),
        (": x = Lean.sorryAx p", None),
        (": p\ntheorem b : q := t", None),
        (": p\n#eval f", None),
        (": open Nat in p", None),
        ("x + y : p", None),
        ("@[simp] theorem foo : p", ": p"),
        ("@[simp] (x : Nat) : x = x", None),
        ("nonrec (x : Nat) : x = x", None),
        (': "abc', None),
        ("", None),
    ],
)
def test_a_conjecture_is_cut_or_refused(raw: str, signature: str | None) -> None:
    assert cut_conjecture(raw) == signature


_WORDS = st.sampled_from([*sorted(MODIFIERS | COMMANDS), "@[simp]", "(x : Nat)", ": x = x", " "])


@given(
    st.text("theorem:=(){}[]⟨⟩ |\"'\\/-s!@«»fun∀,x.1\n", max_size=60)
    | st.lists(_WORDS, max_size=6).map(" ".join)
)
def test_no_text_breaks_the_cutter(raw: str) -> None:
    signature = cut_conjecture(raw)
    if signature is not None:
        assert len(statement_key(signature)) == 24
        assert cut_conjecture(f"{signature} := by") == signature
        make_statement(named("foo", signature), "", Source.CONJECTURE)
