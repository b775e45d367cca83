"""Lean 4 statements as text: where a theorem's statement ends, its plain form, and its key.

Everything works on tokens (`stp.syntax.lean_tokens`), never on raw text. The signature is what stands
between the theorem's name and its own `:=`; its key is computed in `stp.syntax.lean_key`.

Covered: `theorem`, `lemma` and `example` with attributes, modifiers and doc comments before them (dropped:
none of them changes what is stated), proofs after `:=`, by `|` alternatives and by `where`.
Not covered: `open … in` and `set_option … in` before the command, refused because they belong in the
header; the parts of an `or` pattern (`| 0 | 1 => …`) as a theorem's first alternative.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise, takewhile
from math import inf

from stp.errors import UsageError
from stp.syntax.lean_key import LAYOUT, LETS, key_of
from stp.syntax.lean_tokens import Kind, Token, closes, fits, opens, tokens
from stp.syntax.place import place
from stp.types import Source, Statement, System

COMMANDS = frozenset({"theorem", "lemma", "example"})
MODIFIERS = frozenset(
    {"private", "protected", "public", "noncomputable", "nonrec", "unsafe", "partial", "meta"}
)
#: Words that no conjecture may contain: other commands, what stands before them, and ways around a proof.
FORBIDDEN = COMMANDS.union(
    MODIFIERS,
    """@[ def abbrev axiom opaque instance class structure inductive coinductive variable universe
    import open export namespace section end mutual attribute set_option local scoped notation infix infixl
    infixr prefix postfix macro macro_rules syntax elab elab_rules declare_syntax_cat initialize
    builtin_initialize deriving alias include omit run_cmd run_elab run_meta run_tac by_elab native_decide
    sorry sorryAx admit""".split(),  # noqa: SIM905
)
#: Line breaks may end what these begin, so a statement with one of them, or with `fun |`, keeps its lines.
LINED = LAYOUT | {"show", ":="}


@dataclass(frozen=True, slots=True)
class TheoremText:
    """One theorem command. `signature` is as it was written; `proof` is None for a hole.

    A proof by alternatives begins with `|`, one by fields with `where`; any other is the term after `:=`.
    """

    keyword: str
    name: str | None
    signature: str
    proof: str | None


def split_theorem(text: str) -> TheoremText:
    """Splits text with one theorem command; `:= by`, `:= sorry`, `:= by sorry` and `:=` are holes.

    Raises:
        UsageError: something else than such a command; says what was expected at which line and column.
    """
    stream = tokens(text)
    keyword = _command(text, stream)
    name = None
    if keyword.text != "example":
        token = next(stream, None)
        if token is None or token.kind is not Kind.NAME:
            raise _expected("the theorem's name", text, token)
        name = token.text
    after = keyword.end if name is None or token is None else token.end
    _, stop = _signature(text, stream)
    signature = text[after : stop.start if stop else len(text)].strip()
    return TheoremText(keyword.text, name, signature, _proof(text, stop))


def normalise(signature: str) -> str:
    """The signature without comments, on one line with single blanks where that cannot change it.

    One with a word of `LINED` or with `fun |` keeps its lines and columns (a line break may end a `let`,
    and columns shape a `by`): comments become blanks there, and only blank lines and blanks at line ends go.
    """
    parts = list(tokens(signature))
    alternatives = any(a.text in ("fun", "λ") and b.text == "|" for a, b in pairwise(parts))
    if not alternatives and not any(token.text in LINED for token in parts):
        return "".join((" " if token.gap and i else "") + token.text for i, token in enumerate(parts))
    pieces, end = [], 0
    for i, token in enumerate(parts):
        if i and token.gap == "\n":
            pieces.append("\n" + " " * token.column)
        elif i:
            pieces.append(" " * (token.start - end))
        pieces.append(token.text)
        end = token.end
    return "".join(pieces)


def statement_text(name: str, signature: str) -> str:
    """`theorem NAME SIGNATURE`, normalised and without `:=`: the form of `Statement.text`."""
    return named(name, normalise(signature))


def named(name: str, signature: str) -> str:
    """`theorem NAME SIGNATURE`; universe names belong to the name: `foo.{u}`."""
    return f"theorem {name}{'' if signature.startswith('.{') else ' '}{signature}"


def statement_key(text: str) -> str:
    """The name-free key of a signature or of a whole theorem; a proof, if there is one, is ignored.

    The header is not part of it: the same words under other `open`s may state something else. Nor do
    equal keys mean that a proof of one text proves the other, since proofs name hypotheses.

    Raises:
        UsageError: the text does not split, or has no type.
    """
    return _key(_signature_in(text))


def make_statement(
    text: str,
    header: str,
    source: Source,
    name: str | None = None,
    origin: str | None = None,
    parents: tuple[str, ...] = (),
) -> Statement:
    """The `Statement` of a theorem's text, under another name if one is given.

    Raises:
        UsageError: the text does not split, or is an `example` and no name is given.
    """
    theorem = split_theorem(text)
    name = name or theorem.name
    if name is None:
        raise UsageError("expected a name for this `example`, found none: pass one")
    statement = statement_text(name, theorem.signature)
    key = _key(theorem.signature)
    return Statement(System.LEAN, header, name, statement, key, source, origin, parents)


def cut_conjecture(raw: str) -> str | None:
    """The normalised signature in what a model wrote, cut at its own `:=`; None if there is none.

    `raw` is a signature or a theorem, as far as it goes. Refused: no type, brackets that do
    not match, and any word of `FORBIDDEN`; what follows the cut is not looked at.
    """
    try:
        raw = _signature_in(raw)
        parts, stop = _signature(raw, tokens(raw))
        signature = raw[: stop.start] if stop else raw
    except UsageError:
        return None
    if any(
        _is_forbidden(token, following) for token, following in zip(parts, [*parts[1:], None], strict=True)
    ):
        return None
    return normalise(signature)


def _signature_in(text: str) -> str:
    """The signature of a whole theorem, and what begins with no command as it is."""
    first = next(tokens(text), None)
    if first and (first.text in COMMANDS | MODIFIERS or first.text == "@["):
        return split_theorem(text).signature
    return text


def _key(signature: str) -> str:
    parts, _ = _signature(signature, tokens(signature))
    return key_of(parts)


def _is_forbidden(token: Token, following: Token | None) -> bool:
    """`#eval` and its like are refused too (so is `#s`, but not `#{…}`), and `_root_.sorryAx`."""
    if token.text == "#" and following is not None:
        return following.kind is Kind.NAME and following.gap == ""
    return token.text in FORBIDDEN or (token.kind is Kind.NAME and "sorryAx" in token.text)


def _command(text: str, stream: Iterator[Token]) -> Token:
    """The theorem keyword, past attributes and modifiers."""
    for token in stream:
        if token.text in COMMANDS:
            return token
        if token.text == "@[":
            for _ in takewhile(lambda inner: inner.text != "]", stream):
                pass
        elif token.text not in MODIFIERS:
            raise _expected("`theorem`, `lemma` or `example`", text, token)
    raise _expected("`theorem`, `lemma` or `example`", text, None)


def _signature(text: str, stream: Iterator[Token]) -> tuple[list[Token], Token | None]:
    """The signature's tokens, and the token that ends it: its own `:=`, a `|`, `where` or nothing.

    At depth 0 a `:=` belongs to the `let` or `have` before it if there is one, a `=>` to a `fun` or a
    `match`; the first `=>` that nothing claims belongs to the alternative that the last `|` began.
    """
    parts: list[Token] = []
    open_brackets: list[Token] = []
    colon: int | None = None
    bar: int | None = None
    lets, arrows = 0, 0.0  # how many of each the words before still claim
    for token in stream:
        opening, closing = opens(token), closes(token)
        if closing:
            if not open_brackets or not fits(open_brackets[-1], token):
                raise _expected("a bracket that was opened", text, token)
            open_brackets.pop()
        if not open_brackets and not closing:
            if (token.text == ":=" and not lets) or token.text == "where":
                return _typed(text, parts, colon, token), token
            if token.text == "=>" and not arrows and bar is not None:
                return _typed(text, parts[:bar], colon, parts[bar]), parts[bar]
            if colon is None and token.text == ":":
                colon = len(parts)
            elif colon is None and not opening and token.kind is not Kind.NAME:
                raise _expected("a binder or `:`", text, token)
            elif token.text == "|":
                bar, lets = len(parts), 0
            lets += (token.text in LETS) - (token.text == ":=")
            if token.text == "match" or (token.text == "|" and parts[-1].text in ("fun", "λ")):
                arrows = inf
            arrows = max(0.0, arrows + (token.text in ("fun", "λ")) - (token.text in ("=>", "↦")))
        if opening:
            open_brackets.append(token)
        parts.append(token)
    if open_brackets:
        last = open_brackets[-1]
        raise _expected(f"the end of the {last.text!r} of {place(text, last.start)}", text, None)
    return _typed(text, parts, colon, None), None


def _typed(text: str, parts: list[Token], colon: int | None, stop: Token | None) -> list[Token]:
    if colon is None:
        raise _expected("`:` and a type", text, stop)
    if colon + 1 == len(parts):
        raise _expected("a type after `:`", text, stop)
    return parts


def _proof(text: str, stop: Token | None) -> str | None:
    if stop is None:
        return None
    proof = text[stop.start if stop.text != ":=" else stop.end :].strip()
    try:
        words = [token.text for token, _ in zip(tokens(proof), range(3), strict=False)]
    except UsageError:
        return proof  # not Lean, but for the checker to say
    return None if words in ([], ["by"], ["sorry"], ["by", "sorry"]) else proof


def _expected(what: str, text: str, found: Token | None) -> UsageError:
    if found is None:
        return UsageError(f"expected {what}, found the end of the text at {place(text, len(text))}")
    return UsageError(f"expected {what}, found {found.text!r} at {place(text, found.start)}")
