"""Cuts Lean 4 source into tokens as Lean's own tokenizer does, comments left out.

Lean's token table grows with every `notation`, so no fixed list is complete. `SYMBOLS` holds the longer
tokens whose parts mean something else on their own (`<|` is not `<` and `|`, `⋃₀` takes no comma and `⋃`
does); any other character that is not part of a name, number or literal is a token by itself.

Covered: nested comments, doc comments, strings with escapes and gaps, interpolated and raw strings,
character literals, dotted and «quoted» names, numerals in every base, projections (`x.1.2` is no decimal).
Not covered: syntax whose tokens a header changes (a notation that makes a keyword of an identifier).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from stp.errors import UsageError


class Kind(Enum):
    NAME = auto()
    NUMBER = auto()
    STRING = auto()
    """A string, or a piece of an interpolated one: `"a{`, `}b{`, `}c"`."""
    CHAR = auto()
    SYMBOL = auto()


@dataclass(frozen=True, slots=True)
class Token:
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
LONGEST = max(map(len, SYMBOLS))
OPENERS = {"(": ")", "[": "]", "{": "}", "⟨": "⟩", "⦃": "⦄", "⟪": "⟫", "⌊": "⌋", "⌈": "⌉", "⟦": "⟧"}
OPENERS |= {"‹": "›", "⁅": "⁆", "-[": "]", "#[": "]", "@[": "]", "%[": "]", "![": "]", "!![": "]", ".{": "}"}
CLOSERS = frozenset(OPENERS.values())


def tokens(text: str) -> Iterator[Token]:
    """The tokens of `text` from left to right, lazily: what follows a cut is never looked at.

    Raises:
        UsageError: a comment, string or quoted name that does not end; names line and column.
    """
    at, before = 0, None
    holes: list[int] = []  # depth of braces in each open hole of an interpolated string
    while True:
        start = _skip_blanks(text, at)
        if start == len(text):
            return
        gap = "\n" if "\n" in text[at:start] else " " if start > at else ""
        in_hole = bool(holes) and holes[-1] == 0 and text[start] == "}"
        if in_hole:
            holes.pop()
        if in_hole or (text[start] == '"' and before and before.kind is Kind.NAME and before.text[-1] == "!"):
            kind, at = Kind.STRING, _chunk_end(text, start)
            if text[at - 1] == "{":
                holes.append(0)
        else:
            kind, at = _plain(text, start, before, gap)
            if holes and text[start:at] in ("{", "}", ".{"):
                holes[-1] += -1 if text[start] == "}" else 1
        before = Token(kind, text[start:at], start, start - text.rfind("\n", 0, start) - 1, gap)
        yield before


def place(text: str, at: int) -> str:
    """Line and column of a position, both counted from 1, for messages."""
    return f"line {text.count(chr(10), 0, at) + 1} column {at - text.rfind(chr(10), 0, at)}"


def opens(token: Token) -> bool:
    """Whether a bracket, or a hole of an interpolated string, begins here."""
    return token.text in OPENERS or (token.kind is Kind.STRING and token.text[-1] == "{")


def closes(token: Token) -> bool:
    return token.text in CLOSERS or (token.kind is Kind.STRING and token.text[0] == "}")


def fits(opener: Token, closer: Token) -> bool:
    """Whether `closer` ends what `opener` began."""
    if opener.kind is Kind.STRING:
        return closer.kind is Kind.STRING
    return OPENERS[opener.text] == closer.text


def is_head(char: str) -> bool:
    """Whether a name may begin with this character (Lean's `isIdFirst`)."""
    code = ord(char)
    if code < 0x80:
        return char.isalpha() or char == "_"
    return (
        (0xC0 <= code <= 0x17F and char not in "×÷")
        or (0x391 <= code <= 0x3FB and char not in "λΠΣ")
        or 0x1F00 <= code <= 0x1FFE
        or 0x2100 <= code <= 0x214F
        or 0x1D49C <= code <= 0x1D59F
    )


def _is_rest(char: str) -> bool:
    code = ord(char)
    if code < 0x80:
        return char.isalnum() or char in "_'!?"
    subscript = 0x2080 <= code <= 0x2089 or 0x2090 <= code <= 0x209C or 0x1D62 <= code <= 0x1D6A
    return is_head(char) or subscript or code == 0x2C7C


def _skip_blanks(text: str, at: int) -> int:
    while at < len(text):
        if text[at].isspace():
            at += 1
        elif text.startswith("--", at):
            at = text.find("\n", at) % (len(text) + 1)  # -1, no line break, becomes the end
        elif text.startswith("/-", at):
            at = _comment_end(text, at)
        else:
            break
    return at


def _comment_end(text: str, start: int) -> int:
    depth, at = 0, start
    while at < len(text):
        if text.startswith("/-", at):
            depth, at = depth + 1, at + 2
        elif text.startswith("-/", at):
            depth, at = depth - 1, at + 2
            if depth == 0:
                return at
        else:
            at += 1
    raise UsageError(f"expected `-/` to end the comment of {place(text, start)}, found the end of the text")


def _plain(text: str, start: int, before: Token | None, gap: str) -> tuple[Kind, int]:
    """Kind and end of the token at `start`, interpolated strings apart."""
    char = text[start]
    if char == "r" and (end := _raw_string_end(text, start)):
        return Kind.STRING, end
    if is_head(char) or char == "«":
        return Kind.NAME, _name_end(text, start)
    if char.isascii() and char.isdigit():
        return Kind.NUMBER, _number_end(text, start, projection=gap == "" and before is not None)
    if char == '"':
        return Kind.STRING, _string_end(text, start)
    lengths = range(LONGEST, 1, -1)
    symbol = next((text[start : start + n] for n in lengths if text[start : start + n] in SYMBOLS), char)
    if symbol == "'" and (end := _char_end(text, start)):
        return Kind.CHAR, end
    return Kind.SYMBOL, start + len(symbol)


def _name_end(text: str, at: int) -> int:
    while True:
        if text[at] == "«":
            at = _find(text, "»", at, "quoted name") + 1
        else:
            while at < len(text) and _is_rest(text[at]):
                at += 1
        if not (
            text[at : at + 1] == "." and at + 1 < len(text) and (text[at + 1] == "«" or is_head(text[at + 1]))
        ):
            return at
        at += 1


def _number_end(text: str, at: int, projection: bool) -> int:
    def digits(at: int, allowed: str = "0123456789_") -> int:
        while at < len(text) and text[at] in allowed:
            at += 1
        return at

    if projection and text[at - 1] == "." and text[at - 2 : at] != "..":
        return digits(at, "0123456789")
    if text[at] == "0" and text[at + 1 : at + 2] in tuple("xXbBoO"):
        return digits(at + 2, "0123456789abcdefABCDEF_")
    at = digits(at)
    if text[at : at + 1] == "." and text[at + 1 : at + 2] in tuple("0123456789"):
        at = digits(at + 1)
    exponent = at + 1 + (text[at + 1 : at + 2] in ("+", "-"))
    if text[at : at + 1] in ("e", "E") and text[exponent : exponent + 1] in tuple("0123456789"):
        at = digits(exponent)
    return at


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
