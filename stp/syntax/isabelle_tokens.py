"""Cuts Isabelle's outer syntax into tokens as its own lexer does, comments left out.

What matters is that both lexers agree on where strings, cartouches and comments end and on which words stand
outside of them, for those are where commands are. So the text is kept to what is sure: outside quotes only
ASCII, Greek letters and subscripts; inside them no backslash but that of a symbol, no control symbol but sub-
and superscripts, no formal comment, no character that Isabelle may read as one of those.

Covered: nested comments, strings, back-quoted facts, nested cartouches in both spellings, symbols
(`\\<forall>` and `∀`), dotted names, type and schematic variables, numbers.
Not covered, so refused: escapes in strings (`\\"`), `{* … *}` of old versions, script letters outside quotes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

from stp.errors import UsageError
from stp.syntax.place import place


class Kind(Enum):
    """What a token is."""

    NAME = auto()
    """A name or a keyword, dots included: `foo`, `List.rev_rev`, `by`."""
    VARIABLE = auto()
    """`'a`, `?x`, `?'a`."""
    NUMBER = auto()
    STRING = auto()
    """In double quotes or back quotes."""
    CARTOUCHE = auto()
    SYMBOL = auto()
    """A punctuation character, `.` and `..`, or the symbol `\\<proof>`."""


class Token(NamedTuple):
    """A piece of the text, with where it stands."""

    kind: Kind
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def inner(self) -> str:
        """What a string or a cartouche holds."""
        width = len("\\<open>") if self.text.startswith("\\<open>") else 1
        tail = len("\\<close>") if self.text.endswith("\\<close>") else 1
        return self.text[width:-tail]


_GREEK_NAMES = (
    "alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|mu|nu|xi|pi|rho|sigma|tau|upsilon|phi|chi|psi"
    "|omega|Gamma|Delta|Theta|Xi|Pi|Sigma|Upsilon|Phi|Psi|Omega"
)
_LETTER = rf"(?:[A-Za-zαβγδεζηθικμνξπρστυφχψωΓΔΘΞΠΣΥΦΨΩ]|\\<(?:{_GREEK_NAMES})>)"
_NAME = rf"{_LETTER}(?:{_LETTER}|[0-9_']|(?:⇩|\\<\^sub>)(?:{_LETTER}|[0-9]))*"
_PATTERNS = (
    (Kind.NAME, re.compile(rf"{_NAME}(?:\.{_NAME})*")),
    (Kind.VARIABLE, re.compile(rf"\?'?{_NAME}(?:\.[0-9]+)?|'{_NAME}")),
    (Kind.NUMBER, re.compile(r"[0-9]+(?:\.[0-9]+)?")),
    (Kind.SYMBOL, re.compile(r"\.\.|\\<proof>|[!#$%&()*+,\-./:;<=>?@\[\]^_{|}~]")),
)
_BLANKS = re.compile(r"[ \t\n]+")
_COMMENT_MARK = re.compile(r"\(\*|\*\)")
_OPEN, _CLOSE = ("\\<open>", "‹"), ("\\<close>", "›")
_CARTOUCHE_MARK = re.compile(r"\\<open>|‹|\\<close>|›")
_SYMBOL = re.compile(r"\\<(\^?)([A-Za-z][A-Za-z0-9_']*)>")
#: Control symbols that only change how a name looks.
_SCRIPTS = frozenset({"sub", "sup", "bold", "bsub", "esub", "bsup", "esup"})
#: Characters that stand for symbols of terms, beside letters and those of Unicode's class Sm.
_GLYPHS = frozenset("⇐⇚⇩⇧⇘⇙⇗⇖❙↩↪↼↽⇀⇁⇌↝⇃⇂↿↾↕⇕⇑⇓⟨⟩⟪⟫⌈⌉⌊⌋⦇⦈⟦⟧⦃⦄«»…○□◇△▹◃¡¿°·¯ªº½¼¾†‡′ı‹›")
_EMPHASIS = "∗"


def tokens(text: str) -> Iterator[Token]:
    """The tokens of `text` from left to right.

    Raises:
        UsageError: a comment, string or cartouche that does not end, or a character that has no place;
            names it with its line and column.
    """
    at = 0
    while at < len(text):
        if blanks := _BLANKS.match(text, at):
            at = blanks.end()
        elif text.startswith("(*", at):
            at = _comment_end(text, at)
        else:
            token = _token(text, at)
            yield token
            at = token.end


def without_comments(text: str) -> str:
    """The text with a blank, and its line breaks, in the place of each comment: what is sent, so that no
    other reading of a comment can change what was screened."""
    pieces, end = [], 0
    for token in tokens(text):
        pieces += [_gap(text[end : token.start]), token.text]
        end = token.end
    return "".join(pieces) + _gap(text[end:])


def _gap(between: str) -> str:
    return between if between.isspace() or not between else " " + "\n" * between.count("\n")


def _token(text: str, at: int) -> Token:
    if text[at] in '"`':
        return _quoted(text, at)
    if text.startswith(_OPEN, at):
        return _cartouche(text, at)
    if text.startswith(("*)", "{*"), at):
        raise UsageError(f"`{text[at : at + 2]}` has no place at {place(text, at)}")
    for kind, pattern in _PATTERNS:
        if match := pattern.match(text, at):
            return Token(kind, match[0], at)
    what = match[0] if (match := _SYMBOL.match(text, at)) else text[at]
    raise UsageError(f"{_shown(what)} has no place outside quotes, at {place(text, at)}")


def _quoted(text: str, at: int) -> Token:
    end = text.find(text[at], at + 1)
    if end < 0:
        raise _unended("string", text, at)
    _check_inner(text, at + 1, end)
    return Token(Kind.STRING, text[at : end + 1], at)


def _cartouche(text: str, at: int) -> Token:
    depth = 0
    for mark in _CARTOUCHE_MARK.finditer(text, at):
        depth += 1 if mark[0] in _OPEN else -1
        if depth == 0:
            _check_inner(text, at, mark.end())
            return Token(Kind.CARTOUCHE, text[at : mark.end()], at)
    raise _unended("cartouche", text, at)


def _comment_end(text: str, at: int) -> int:
    """Nothing but `(*` and `*)` counts in a comment; `(*)` begins one."""
    depth, start = 0, at
    while mark := _COMMENT_MARK.search(text, at):
        depth += 1 if mark[0] == "(*" else -1
        at = mark.end()
        if depth == 0:
            return at
    raise _unended("comment", text, start)


def _check_inner(text: str, start: int, end: int) -> None:
    """Refuses what might be more than a term within quotes."""
    at = start
    while at < end:
        char = text[at]
        if char == "\\":
            symbol = _SYMBOL.match(text, at, end)
            if not symbol or (symbol[1] and symbol[2] not in _SCRIPTS) or symbol[2] == "comment":
                what = symbol[0] if symbol else "\\"
                raise UsageError(f"{_shown(what)} has no place in a term, at {place(text, at)}")
            at = symbol.end()
            continue
        if text.startswith("@{", at) or not _is_plain(char):
            what = "@{" if char == "@" else char
            raise UsageError(f"{_shown(what)} has no place in a term, at {place(text, at)}")
        at += 1


def _is_plain(char: str) -> bool:
    if char.isascii():
        return char.isprintable() or char in "\n\t"
    if char in _GLYPHS:
        return True
    category = unicodedata.category(char)
    return (category == "Sm" and char != _EMPHASIS) or category in ("Lu", "Ll", "Lo", "No")


def _shown(what: str) -> str:
    return f"`{what}`" if what.isprintable() else f"character U+{ord(what):04X}"


def _unended(what: str, text: str, at: int) -> UsageError:
    return UsageError(f"expected the end of the {what} of {place(text, at)}, found the end of the text")
