"""Isabelle's outer syntax: where tokens end, where statements end, which statements are the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stp.errors import UsageError
from stp.syntax import isabelle, isabelle_screen
from stp.syntax.isabelle_tokens import Kind, tokens, without_comments
from stp.types import Source, Verdict


def words(text: str) -> list[str]:
    return [token.text for token in tokens(text)]


def test_tokens_are_those_of_the_outer_syntax() -> None:
    text = 'lemma foo_1\': "x (* no *)" ‹a ‹b› c› (* c (* d *) *) by(simp add: List.rev.simps(1)) .. '
    text += "'a ?x.3 1.5 _ML"
    assert words(text) == [
        "lemma", "foo_1'", ":", '"x (* no *)"', "‹a ‹b› c›", "by", "(", "simp", "add", ":", "List.rev.simps",
        "(", "1", ")", ")", "..", "'a", "?x.3", "1.5", "_", "ML",
    ]  # fmt: skip
    assert [token.kind for token in tokens("x \"y\" \\<open>z\\<close> 1 ?v .")] == [
        Kind.NAME, Kind.STRING, Kind.CARTOUCHE, Kind.NUMBER, Kind.VARIABLE, Kind.SYMBOL,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("by simp.ML", None), ("by simp..ML", "ML"), ("by 1ML", "ML"), ("by x'ML", None), ("by 'ML", None),
        ("by ?ML", None), ("by (a)ML", "ML"), ("by \"ML\"", None), ("from ‹ML›", None), ("by -ML", "ML"),
        ("by αML", None), ("by x⇩ML", None), ("by (*ML*)", None), ("by _ML", "ML"),
        ("by \"a\"ML\"b\"", "ML"), ("by `ML`", None), ("by x\nML", "ML"),
    ],
)  # fmt: skip
def test_a_command_is_seen_where_isabelle_sees_one(text: str, command: str | None) -> None:
    found = isabelle_screen.screen(text)
    assert (found[1].split("`")[1] if found else None) == command


def test_a_text_that_cannot_be_read_in_one_way_only_is_refused() -> None:
    refused = [
        '"\\"',
        "\\",
        "‹",
        '"',
        "`",
        "(*",
        "*)",
        "{*",
        "\x00",
        "\u2028",
        "∀",
        "‹\\<^ML>›",
        "‹@{x}›",
        "‹―›",
    ]
    for text in refused:
        with pytest.raises(UsageError):
            words(text)


def test_comments_go_and_lines_stay() -> None:
    text = 'lemma (* a\n b *) x: "y" (* c *)\n  by simp'
    plain = without_comments(text)
    assert words(plain) == words(text)
    assert plain.count("\n") == text.count("\n")


def test_a_theorem_ends_where_its_proof_begins() -> None:
    found = isabelle.split_theorem(
        'theorem foo [simp]: fixes x :: nat assumes h: "P" shows "x = x" using h by simp'
    )
    assert (found.keyword, found.name) == ("theorem", "foo")
    assert found.signature == 'fixes x :: nat assumes h: "P" shows "x = x"'
    assert found.proof == "using h by simp"
    assert isabelle.split_theorem('lemma "x = x" sorry').proof is None
    assert isabelle.split_theorem('lemma "x = x"').name is None
    for text in [
        "lemma",
        "lemma foo:",
        'lemma foo "x"',
        "by simp",
        'lemma (in l) foo: "x"',
        'lemma a.b: "x"',
    ]:
        with pytest.raises(UsageError):
            isabelle.split_theorem(text)


SAME = [
    ('lemma a: "x = y"', 'theorem b:   "x  =  y" by simp'),
    ('lemma "\\<forall>x. P x"', 'lemma "∀x. P x"'),
    ('lemma "A ==> B"', 'lemma ‹A ⟹ B›'),
    ('lemma fixes x :: nat shows "x + y = y + x"', 'lemma fixes n :: nat shows "n + y = y + n"'),
    ('lemma assumes h: "P" shows "Q"', 'lemma assumes other: "P" shows c: "Q"'),
    ('lemma a [simp]: "x = y"', 'lemma a: "x = y" (* c *)'),
    ('lemma "P"', 'lemma shows "P"'),
    ("lemma \"x'' = ''a  b''\"", "lemma \"x''  =  ''a  b''\""),
]  # fmt: skip
OTHER = [
    ('lemma "x = y"', 'lemma "y = x"'),
    ('lemma fixes x :: nat shows "x = y"', 'lemma fixes x :: int shows "x = y"'),
    ('lemma assumes "P" shows "Q"', 'lemma assumes "Q" shows "P"'),
    ('lemma "P" "Q"', 'lemma "P Q"'),
    ('lemma fixes x y :: nat shows "x < y"', 'lemma fixes x y :: nat shows "y < x"'),
    ('lemma "x12 = y"', 'lemma "x1 2 = y"'),
    ('lemma fixes x shows "x = z"', 'lemma fixes z shows "z = z"'),
    ("lemma \"length ''a  b'' = 3\"", "lemma \"length ''a b'' = 3\""),
    ("lemma \"x'' = ''a  b''\"", "lemma \"x'' = ''a b''\""),
    ("lemma fixes x shows \"x = ''x''\"", "lemma fixes y shows \"y = ''y''\""),
]  # fmt: skip


@pytest.mark.parametrize(("one", "two"), SAME)
def test_statements_that_say_the_same_have_one_key(one: str, two: str) -> None:
    assert isabelle.statement_key(one) == isabelle.statement_key(two)


@pytest.mark.parametrize(("one", "two"), OTHER)
def test_statements_that_differ_have_two_keys(one: str, two: str) -> None:
    assert isabelle.statement_key(one) != isabelle.statement_key(two)


def test_a_statement_is_made_in_its_plain_form() -> None:
    made = isabelle.make_statement('lemma "x  = \n x" by simp', "", Source.SEED, name="foo")
    assert made.text == 'theorem foo: "x = x"'
    assert made.key == isabelle.statement_key(made.text)
    spaced = isabelle.make_statement("lemma \"x'' =  ''a  b''\" by simp", "", Source.SEED, name="foo")
    assert spaced.text == "theorem foo: \"x'' = ''a  b''\""


@pytest.mark.parametrize(
    ("raw", "signature"),
    [
        (': "x = x"', ': "x = x"'), ('"x  = x"  by simp', ': "x = x"'), ("\\<open>x = x\\<close> (* c", None),
        (': fixes n :: nat\n shows "n = n" using a by simp', ': fixes n :: nat shows "n = n"'),
        ('lemma foo [simp]: "x = x" sorry', ': "x = x"'), ("", None), (":", None), ("by simp", None),
        ("x = x", None), (': lemma lemma "x = y"', None), (': "x = x', None), ('theorem foo "x = x"', None),
    ],
)  # fmt: skip
def test_a_conjecture_ends_where_a_proof_would_begin(raw: str, signature: str | None) -> None:
    found = isabelle.cut_conjecture(raw)
    assert found == signature
    if found:
        assert isabelle.cut_conjecture(found) == found
        isabelle.make_statement(f"theorem t {found}", "", Source.CONJECTURE)


def test_a_contradiction_keeps_what_is_assumed() -> None:
    text = 'theorem t: fixes n :: nat assumes h: "n < 0" shows "n = 3"'
    assert isabelle.contradiction(text) == (
        'theorem contradiction: fixes n :: nat assumes h: "n < 0" shows "False"'
    )
    assert isabelle.contradiction('theorem t: "\\<lbrakk>A; B \\<Longrightarrow> C\\<rbrakk> ==> D x"') == (
        'theorem contradiction: "\\<lbrakk>A; B \\<Longrightarrow> C\\<rbrakk> ==> False"'
    )
    for nothing in ('theorem t: "x = x"', 'theorem t: fixes x shows "x = x"', 'theorem t: "(A ⟹ B) = C"'):
        assert isabelle.contradiction(nothing) is None
    assert isabelle.disjunctions('theorem t: assumes "A \\<or> B" shows "B | A ∨ C" (* ∨ *)') == 3


def test_headers_import_theories_of_sessions_and_state_definitions() -> None:
    assert isabelle_screen.parse_header("") == (("Main",), "")
    text = 'theory X imports Complex_Main "HOL-Library.Multiset" begin definition two where "two = 2"'
    imports, declarations = isabelle_screen.parse_header(text)
    assert imports == ("Complex_Main", "HOL-Library.Multiset")
    assert declarations == 'definition two where "two = 2"'
    for bad in [
        'imports "../Evil"', "imports HOL-Library.Multiset", "imports", 'imports Main begin ML "x"',
        'imports Main keywords "foo" :: thy_decl begin', "sorry",
    ]:  # fmt: skip
        with pytest.raises(UsageError):
            isabelle_screen.parse_header(bad)


def test_a_command_of_the_servers_table_is_refused_though_nobody_listed_it() -> None:
    text = "by simp new_ML_command"
    assert isabelle_screen.screen(text) is None
    found = isabelle_screen.screen(text, commands=frozenset({"new_ML_command"}))
    assert found == (Verdict.CHEATED, "command `new_ML_command` is not allowed, at line 1 column 9")


@given(st.text(alphabet='ab"`\\<>open close^(*){}‹›. \n∀ML', max_size=40))
def test_any_text_is_cut_or_refused_and_nothing_of_it_is_lost(text: str) -> None:
    try:
        found = list(tokens(text))
    except UsageError:
        return
    assert words(without_comments(text)) == [token.text for token in found]
    assert all(text[token.start : token.end] == token.text for token in found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('lemma fixes x :: nat assumes "x > 0" shows "x = 1 ∨ x > 1"', '"x = 1 ∨ x > 1"'),
        ('lemma "a > 0 ⟹ b > 0 ⟹ a * b > 0"', "a * b > 0"),
        ('lemma "x = x"', "x = x"),
    ],
)
def test_a_conclusion_is_what_is_said_behind_the_assumptions(text: str, said: str) -> None:
    assert isabelle.conclusion(text) == said
