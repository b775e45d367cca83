"""Small counterexamples in Isabelle/HOL: a statement's negation, with a proof by values.

That the proof works is the checker's to say; that what it proves contradicts the statement is this module's.
Quantified are the names that the statement fixes, with their types; whatever else is free stays so, and the
negation claims more. A type variable becomes nat, of which the statement speaks too; one with a sort does
not, since nat need not be of it.

Covered: a single proposition, and `fixes` with types, `assumes`, `shows` with one conclusion.
Not covered: variables whose types only Isabelle finds out: `rev xs = xs` is refuted at no value.
"""

from __future__ import annotations

import re
from random import Random

from stp.syntax.isabelle import split_theorem
from stp.syntax.isabelle_tokens import Kind, Token, tokens

_TRIES = 16
#: Small values of the types that variables have once every type variable is nat.
_VALUES = {
    "nat": ("0", "1", "2", "3", "5"),
    "int": ("0", "1", "-1", "2", "-3", "5"),
    "real": ("0", "1", "-1", "2", "1/2", "-3"),
    "bool": ("True", "False"),
    "nat list": ("[]", "[1]", "[2, 0]", "[0, 1, 2]", "[1, 1]"),
    "int list": ("[]", "[1]", "[-2, 0]", "[0, 1, -2]", "[1, 1]"),
    "nat set": ("{}", "{1}", "{0, 2}"),
    "nat option": ("None", "Some 0", "Some 2"),
    "nat => nat": ("Suc", "\\<lambda>_. 0", "\\<lambda>n. n"),
    "nat => bool": ("\\<lambda>n. n = 0", "\\<lambda>_. True", "\\<lambda>_. False"),
}
_QUOTED = (Kind.STRING, Kind.CARTOUCHE)
_TYPE_VARIABLE = re.compile(r"(?<![\w'])'[A-Za-z]\w*")
_UNREAD = re.compile(rf"''|{_TYPE_VARIABLE.pattern}\s*::")
"""A string in a term, a type variable with a sort."""


def refutation(statement: str) -> tuple[str, str] | None:
    """A statement that contradicts the given one, and a proof to try; None for one that is not read here.

    `theorem foo: fixes n :: nat assumes "P n" shows "Q n"` gives `¬ (∀n::nat. (P n) ⟶ (Q n))`, proved by a
    value of n for which the simplifier sees `P n` and `¬ Q n`.

    Raises:
        UsageError: no theorem.
    """
    stream = [*tokens(split_theorem(statement).signature)]
    if any(token.kind in _QUOTED and _UNREAD.search(token.inner) for token in stream):
        return None
    if (parts := _parts(stream)) is None:
        return None
    fixed, assumed, shown = parts
    variables, hypotheses, conclusions = _variables(fixed), _propositions(assumed), _propositions(shown)
    if variables is None or hypotheses is None or conclusions is None or len(conclusions) != 1:
        return None
    rng = Random(statement)
    values = [[f"({value})::{type_}" for value in _VALUES[type_]] for _, type_ in variables]
    tries = dict.fromkeys(tuple(map(rng.choice, values)) for _ in range(_TRIES))
    steps = [["rule notI", *(f'drule spec[where x="{value}"]' for value in tried), "simp"] for tried in tries]
    alternatives = " | ".join(f"({', '.join(step)}; fail)" for step in steps)
    quantified = "".join(f"\\<forall>{name}::{type_}. " for name, type_ in variables)
    claim = " \\<longrightarrow> ".join(f"({text})" for text in (*hypotheses, *conclusions))
    return f'theorem refuted: "\\<not> ({quantified}{claim})"', f"by ({alternatives})"


def _parts(stream: list[Token]) -> tuple[list[Token], list[Token], list[Token]] | None:
    """What stands behind `fixes`, `assumes` and `shows`, which come in this order, each at most once."""
    names = ("fixes", "assumes", "shows")
    places = [i for i, token in enumerate(stream) if token.text in names]
    if len(stream) == 1:
        return [], [], stream
    order = [names.index(stream[i].text) for i in places]
    if not places or places[0] or order != sorted(set(order)):
        return None
    parts: dict[str, list[Token]] = {name: [] for name in names}
    for i, end in zip(places, [*places[1:], len(stream)], strict=True):
        parts[stream[i].text] = stream[i + 1 : end]
    return parts["fixes"], parts["assumes"], parts["shows"]


def _variables(fixed: list[Token]) -> list[tuple[str, str]] | None:
    """(name, type) of each, for `NAME … :: TYPE and …` with types that have values here."""
    text = " ".join(_monomorphic(token) for token in fixed)
    found = []
    for group in filter(None, text.split(" and ")):
        names, _, type_ = group.partition(" : : ")
        type_ = " ".join(re.sub(r"\\<Rightarrow>|⇒|=>", " => ", type_).split())
        if type_ not in _VALUES:
            return None
        found += [(name, type_) for name in names.split()]
    return found


def _propositions(part: list[Token]) -> list[str] | None:
    """Those of a list in which each may have a name before a colon; None where there is more in it."""
    kept = []
    for token, after in zip(part, [*part[1:], None], strict=False):
        if token.kind in _QUOTED:
            kept.append(_monomorphic(token))
        elif token.text not in (":", "and") and not (token.kind is Kind.NAME and after and after.text == ":"):
            return None
    return kept


def _monomorphic(token: Token) -> str:
    """A token's text, without its quotes, at nat for every type variable."""
    return _TYPE_VARIABLE.sub("nat", token.inner if token.kind in _QUOTED else token.text)
