"""Cuts Lean 4 source into tokens as Lean's own tokenizer does, comments left out.

Lean's token table grows with every `notation`, so no fixed list is complete. `SYMBOLS` holds the longer
tokens whose parts mean something else on their own (`<|` is not `<` and `|`, `⋃₀` takes no comma and `⋃`
does); any other character that is not part of a name, number or literal is a token by itself.

Covered: nested comments, doc comments, strings with escapes and gaps, interpolated and raw strings,
character literals, dotted and «quoted» names, numerals in every base, projections (`x.1.2` is no decimal).
Not covered: syntax whose tokens a header changes (a notation that makes a keyword of an identifier).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from typing import NamedTuple

from stp.errors import UsageError
from stp.syntax.place import place


class Kind(Enum):
    """What a token is."""

    NAME = auto()
    NUMBER = auto()
    STRING = auto()
    """A string, or a piece of an interpolated one: `"a{`, `}b{`, `}c"`."""
    CHAR = auto()
    SYMBOL = auto()


class Token(NamedTuple):
    """A piece of the text, with where it stands."""

    kind: Kind
    text: str
    start: int
    column: int
    gap: str
    """What stands before it: "" nothing, " " blanks or comments, "\\n" among them a line break."""

    @property
    def end(self) -> int:
        return self.start + len(self.text)


SYMBOLS = frozenset(
    """:= => -> <- <-> <= >= != == === && || ||| &&& ^^^ <<< >>> ~~~ ++ :: .. ... <... ..< |>. |> <| <|>
        <$> <&> <* *> <*> <;> >>= =<< >> << >=> <=< /\\ \\/ // ^^ ** -[ #[ @[ %[ ![ !![ .{ `` '' ⁻¹' ⁻¹
        ∃! ∑' ∏' Σ' ∏ᶜ ⋃₀ ⋂₀ ∀ᶠ ∃ᶠ ∀ᵐ ∃ᵐ ∀ᵉ ∃ᵉ ∏ᶠ ∑ᶠ ∫⁻""".split()  # noqa: SIM905
)
OPENERS = {"(": ")", "[": "]", "{": "}", "⟨": "⟩", "⦃": "⦄", "⟪": "⟫", "⌊": "⌋", "⌈": "⌉", "⟦": "⟧"}
OPENERS |= {"‹": "›", "⁅": "⁆", "-[": "]", "#[": "]", "@[": "]", "%[": "]", "![": "]", "!![": "]", ".{": "}"}
CLOSERS = frozenset(OPENERS.values())

#: What a name may begin with (Lean's `isIdFirst`), and what it goes on with.
_HEAD = (
    "A-Za-z_\xc0-\xd6\xd8-\xf6\xf8-\u017f"
    "\u0391-\u039f\u03a1\u03a2\u03a4-\u03ba\u03bc-\u03fb"  # Greek but Π, Σ and λ
    "\u1f00-\u1ffe\u2100-\u214f\U0001d49c-\U0001d59f"
)
_REST = _HEAD + "0-9'!?\u2080-\u2089\u2090-\u209c\u1d62-\u1d6a\u2c7c"
_PART = f"(?:«[^»]*»|[{_HEAD}][{_REST}]*)"
_NAME = re.compile(rf"{_PART}(?:\.{_PART})*")
#: A name, or a symbol that begins no longer one, after blanks without comments: most tokens.
_COMMON = re.compile(rf"\s*(?:(?!r#*\")({_NAME.pattern})|([(),\]∈∧∨→≤≥]))")
_BLANKS = re.compile(r"(?:\s+|--[^\n]*)*")
_COMMENT_MARK = re.compile("/-|-/")
_NUMBER = re.compile(r"0[xXbBoO][0-9a-fA-F_]*|[0-9][0-9_]*(?:\.[0-9][0-9_]*)?(?:[eE][+-]?[0-9][0-9_]*)?")
_DIGITS = re.compile("[0-9]+")
_SYMBOL = re.compile("|".join([*map(re.escape, sorted(SYMBOLS, key=len, reverse=True)), "."]), re.DOTALL)


def tokens(text: str) -> Iterator[Token]:
    """The tokens of `text` from left to right, lazily: what follows a cut is never looked at.

    Raises:
        UsageError: a comment, string or quoted name that does not end; names line and column.
    """
    at, before = 0, None
    line = 0  # where the token's line begins
    holes: list[int] = []  # depth of braces in each open hole of an interpolated string
    while at < len(text):
        if common := _COMMON.match(text, at):
            kind = Kind.NAME if common.lastindex == 1 else Kind.SYMBOL
            start, end = common.span(common.lastindex or 0)
        else:
            start = _skip_blanks(text, at)
            if start == len(text):
                return
            in_hole = bool(holes) and holes[-1] == 0 and text[start] == "}"
            if in_hole:
                holes.pop()
            if in_hole or (
                text[start] == '"' and before and before.kind is Kind.NAME and before.text[-1] == "!"
            ):
                kind, end = Kind.STRING, _chunk_end(text, start)
                if text[end - 1] == "{":
                    holes.append(0)
            else:
                kind, end = _plain(
                    text, start, projection=start == at and before is not None and before.text == "."
                )
                if holes and text[start:end] in ("{", "}", ".{"):
                    holes[-1] += -1 if text[start] == "}" else 1
        line = text.rfind("\n", at, start) + 1 or line
        gap = "" if start == at else "\n" if line > at else " "
        before = Token(kind, text[start:end], start, start - line, gap)
        line = text.rfind("\n", start, end) + 1 or line
        at = end
        yield before


def opens(token: Token) -> bool:
    """Whether a bracket, or a hole of an interpolated string, begins here."""
    return token.text in OPENERS or (token.kind is Kind.STRING and token.text[-1] == "{")


def closes(token: Token) -> bool:
    """Is it a closing bracket?"""
    return token.text in CLOSERS or (token.kind is Kind.STRING and token.text[0] == "}")


def closing(parts: Sequence[Token], at: int) -> int:
    """Where the bracket closes that opens at `at`; the last place if none does."""
    depth = 0
    for i in range(at, len(parts)):
        depth += opens(parts[i]) - closes(parts[i])
        if depth == 0:
            return i
    return len(parts) - 1


def fits(opener: Token, closer: Token) -> bool:
    """Whether `closer` ends what `opener` began."""
    if opener.kind is Kind.STRING:
        return closer.kind is Kind.STRING
    return OPENERS[opener.text] == closer.text


def _skip_blanks(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    while blanks and text.startswith("/-", blanks.end()):
        blanks = _BLANKS.match(text, _comment_end(text, blanks.end()))
    return blanks.end() if blanks else at


def _comment_end(text: str, start: int) -> int:
    depth = 0
    for mark in _COMMENT_MARK.finditer(text, start):
        depth += 1 if mark[0] == "/-" else -1
        if depth == 0:
            return mark.end()
    raise UsageError(f"expected `-/` to end the comment of {place(text, start)}, found the end of the text")


def _plain(text: str, start: int, projection: bool) -> tuple[Kind, int]:
    """Kind and end of the token at `start`, interpolated strings apart."""
    char = text[start]
    if char == "r" and text[start + 1 : start + 2] in ("#", '"') and (end := _raw_string_end(text, start)):
        return Kind.STRING, end
    if name := _NAME.match(text, start):
        return Kind.NAME, name.end()
    if char == "«":
        return Kind.NAME, _find(text, "»", start, "quoted name")
    if "0" <= char <= "9":
        digits = (_DIGITS if projection else _NUMBER).match(text, start)
        return Kind.NUMBER, digits.end() if digits else start
    if char == '"':
        return Kind.STRING, _string_end(text, start)
    symbol = _SYMBOL.match(text, start)
    if char == "'" and symbol and symbol[0] == "'" and (end := _char_end(text, start)):
        return Kind.CHAR, end
    return Kind.SYMBOL, symbol.end() if symbol else start + 1


def _string_end(text: str, start: int) -> int:
    at = start + 1
    while at < len(text) and text[at] != '"':
        at += 2 if text[at] == "\\" else 1
    return _find(text, '"', at, "string") + 1


def _chunk_end(text: str, start: int) -> int:
    """End of a piece of an interpolated string, after its `{` or `"`."""
    at = start + 1
    while at < len(text) and text[at] not in '"{':
        at += 2 if text[at] == "\\" else 1
    if at >= len(text):
        raise UsageError(f'expected `"` to end the string of {place(text, start)}, found the end of the text')
    return at + 1


def _raw_string_end(text: str, start: int) -> int | None:
    at = start + 1
    while text[at : at + 1] == "#":
        at += 1
    if text[at : at + 1] != '"':
        return None
    fence = '"' + "#" * (at - start - 1)
    return _find(text, fence, at + 1, "raw string") + len(fence)


def _char_end(text: str, start: int) -> int | None:
    if text[start + 1 : start + 2] == "\\":
        return _find(text, "'", start + 3, "character") + 1
    return start + 3 if text[start + 2 : start + 3] == "'" else None


def _find(text: str, mark: str, at: int, what: str) -> int:
    found = text.find(mark, at)
    if found < 0:
        raise UsageError(
            f"expected `{mark}` to end the {what} before {place(text, at)}, found the end of the text"
        )
    return found
