"""Isabelle statements as text: where a theorem's statement ends, its plain form, and its key.

Everything works on tokens (`stp.syntax.isabelle_tokens`). A statement ends where the first command of a proof
begins: Isabelle gives no other command a place in it.

Covered: `theorem`, `lemma`, `corollary` and `proposition`, with or without a name, with `fixes`, `assumes`,
`shows`, `obtains`, `if`, `for` and several conclusions. Attributes of the theorem are dropped: they change
what other proofs find, not what is stated.
Not covered: a theorem in a locale (`(in …)`), refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from stp.errors import UsageError
from stp.syntax.isabelle_tokens import Kind, Token, tokens
from stp.syntax.place import place
from stp.types import Source, Statement, System

COMMANDS = frozenset({"theorem", "lemma", "corollary", "proposition"})
#: What may begin or continue a proof.
PROOF_COMMANDS = frozenset(
    """by . .. apply apply_end done defer prefer back proof qed next { } have show hence thus then from with
    using unfolding note supply subgoal fix assume presume define obtain consider case let also finally
    moreover ultimately include including interpret""".split()  # noqa: SIM905
)
#: Proofs that prove nothing.
HOLES = frozenset({"sorry", "oops", "\\<proof>"})
#: The name of a theorem that was given none.
UNNAMED = "goal"
_ENDS = PROOF_COMMANDS | HOLES
_WORDS = frozenset({"fixes", "assumes", "shows", "obtains", "if", "for", "when", "is", "and", "where", "in"})
_SPELLINGS = {
    "\\<forall>": "∀", "ALL": "∀", "\\<exists>": "∃", "EX": "∃", "\\<not>": "¬", "\\<and>": "∧",
    "\\<or>": "∨",
    "\\<longrightarrow>": "⟶", "-->": "⟶", "\\<Longrightarrow>": "⟹", "==>": "⟹", "\\<Rightarrow>": "⇒",
    "=>": "⇒", "\\<And>": "⋀", "!!": "⋀", "\\<lambda>": "λ", "%": "λ", "\\<le>": "≤", "<=": "≤",
    "\\<ge>": "≥", ">=": "≥", "\\<noteq>": "≠", "~=": "≠", "\\<in>": "∈", "\\<notin>": "∉", "\\<equiv>": "≡",
    "==": "≡", "\\<longleftrightarrow>": "⟷", "<->": "⟷", "\\<times>": "×", "\\<union>": "∪",
    "\\<inter>": "∩", "\\<subseteq>": "⊆", "\\<Sum>": "∑", "\\<Prod>": "∏",
}  # fmt: skip
_OPENING = frozenset({"(", "[", "{", "⟦", "⟨", "\\<lbrakk>", "\\<langle>"})
_CLOSING = frozenset({")", "]", "}", "⟧", "⟩", "\\<rbrakk>", "\\<rangle>"})
#: The words of a proposition. A text, `''a  b''`, is one of them, behind names, which may end in such quotes.
_INNER = re.compile(
    r"\\<\^?\w+>|[^\W\d][\w']*(?:\.[^\W\d][\w']*)*|\?\w+|''(?:\\<\^?\w+>|[^'\\]|'(?!'))*''"
    r"|'[^\W\d]\w*|\d+|-->|==>|<->|=>|<=|>=|==|~=|!!|\S"
)
_WORD_OR_BLANKS = re.compile(rf"{_INNER.pattern}|\s+")


@dataclass(frozen=True, slots=True)
class TheoremText:
    """One theorem command. `signature` is what stands after the name and its colon; `proof` is None for a
    hole or where there is none."""

    keyword: str
    name: str | None
    signature: str
    proof: str | None


def split_theorem(text: str) -> TheoremText:
    """Splits text that begins with a theorem command.

    Raises:
        UsageError: something else than such a command; says what was expected at which line and column.
    """
    stream = [*tokens(text)]
    if not stream or stream[0].text not in COMMANDS:
        raise _expected("`theorem`, `lemma`, `corollary` or `proposition`", text, stream, 0)
    at, name = 1, None
    if _is_name(stream, at) and stream[at].text not in _WORDS:
        name, at = stream[at].text, at + 1
        if "." in name:
            raise UsageError(f"expected a name without dots, found {name!r}")
    if _word(stream, at) == "[":
        at = _past_brackets(text, stream, at)
    if name is not None or _word(stream, at) == ":":
        if _word(stream, at) != ":":
            raise _expected("`:` after the theorem's name", text, stream, at)
        at += 1
    end = next((i for i in range(at, len(stream)) if stream[i].text in _ENDS), len(stream))
    if not any(token.kind in (Kind.STRING, Kind.CARTOUCHE) for token in stream[at:end]):
        raise _expected("a proposition in quotes", text, stream, end)
    if _word(stream, at) == "(":
        raise _expected("a proposition, `fixes`, `assumes` or `shows`", text, stream, at)
    signature = text[stream[at].start : stream[end - 1].end]
    proof = text[stream[end].start :].strip() if end < len(stream) else None
    hole = end < len(stream) and stream[end].text in HOLES and end + 1 == len(stream)
    return TheoremText(stream[0].text, name, signature, None if hole else proof)


def normalise(signature: str) -> str:
    """The signature without comments, on one line with single blanks, and with none where there was none:
    `::` is one word to Isabelle. Blanks of a text, `''a  b''`, stay."""
    pieces: list[str] = []
    end = 0
    for token in tokens(signature):
        text = _WORD_OR_BLANKS.sub(lambda word: " " if word[0].isspace() else word[0], token.text)
        pieces += [" " if pieces and token.start > end else "", text]
        end = token.end
    return "".join(pieces)


def statement_text(name: str, signature: str) -> str:
    """`theorem NAME: SIGNATURE`, normalised: the form of `Statement.text`."""
    return f"theorem {name}: {normalise(signature)}"


def statement_key(text: str) -> str:
    """The name-free key of a signature or of a whole theorem; a proof, if there is one, is ignored.

    Names of the theorem, of assumptions and of fixed variables, spelling of symbols and blanks do not count.
    The header is not part of it: the same words under other imports may state something else.

    Raises:
        UsageError: the text does not split.
    """
    first = next(tokens(text), None)
    if first and first.text in COMMANDS:
        text = split_theorem(text).signature
    return _key(text)


def _key(signature: str) -> str:
    parts = list(_canonical([*tokens(signature)]))
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()[:24]


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
        UsageError: the text does not split.
    """
    theorem = split_theorem(text)
    name = name or theorem.name or UNNAMED
    statement = statement_text(name, theorem.signature)
    key = _key(theorem.signature)
    return Statement(System.ISABELLE, header, name, statement, key, source, origin, parents)


def cut_conjecture(raw: str) -> str | None:
    """`: SIGNATURE`, normalised, of what a model wrote, cut where a proof begins; None if there is none.

    `raw` is a signature, with or without the colon before it, or begins with a theorem command; there is no
    second one in it. Nothing else is screened here: the worker does that with every statement.
    """
    try:
        first = next(tokens(raw), None)
        if first is None or first.text not in COMMANDS:
            raw = f"theorem {UNNAMED}: {raw[first.end :] if first and first.text == ':' else raw}"
        signature = normalise(split_theorem(raw).signature)
        return None if any(token.text in COMMANDS for token in tokens(signature)) else f": {signature}"
    except UsageError:
        return None


def contradiction(statement: str) -> str | None:
    """`theorem contradiction: … shows "False"`, provable where what is assumed cannot all hold; None where
    nothing is assumed. Assumed is what `assumes` says, or what stands before the last `⟹` of the only
    proposition.

    Raises:
        UsageError: no theorem.
    """
    signature, stream, shows = _parts(statement)
    if shows is not None:
        assumed = any(token.text == "assumes" for token in stream)
        return f'theorem contradiction: {signature[: shows.start]}shows "False"' if assumed else None
    if len(stream) == 1 and (arrow := _last_arrow(stream[0].inner)):
        return f'theorem contradiction: "{stream[0].inner[:arrow]} False"'
    return None


def conclusion(statement: str) -> str:
    """What the theorem says where its assumptions hold: what stands behind `shows` or `obtains`, or behind
    the last `⟹` of the only proposition.

    Raises:
        UsageError: no theorem.
    """
    signature, stream, shows = _parts(statement)
    if shows is not None:
        return signature[shows.end :].strip()
    if len(stream) == 1:
        return stream[0].inner[_last_arrow(stream[0].inner) :].strip()
    return signature


def disjunctions(statement: str) -> int:
    """How many `∨` the statement has, assumptions included.

    Raises:
        UsageError: no theorem.
    """
    return sum(part in ("∨", "|") for part in _canonical([*tokens(split_theorem(statement).signature)]))


def _parts(statement: str) -> tuple[str, list[Token], Token | None]:
    """The signature, its tokens, and the one that its conclusion stands behind, if it says where."""
    signature = split_theorem(statement).signature
    stream = [*tokens(signature)]
    return signature, stream, next((t for t in stream if t.text in ("shows", "obtains")), None)


def _last_arrow(proposition: str) -> int:
    """Where the last `⟹` outside brackets ends; 0: there is none."""
    depth = end = 0
    for word in _INNER.finditer(proposition):
        depth += (word[0] in _OPENING) - (word[0] in _CLOSING)
        if depth == 0 and _SPELLINGS.get(word[0], word[0]) == "⟹":
            end = word.end()
    return end


def _canonical(stream: list[Token]) -> Iterator[str]:
    """The tokens of a signature: fixed variables numbered, names of assumptions left out.

    All occurrences of a fixed variable are numbered, also where a term binds the name again: an injective
    renaming all the same, so equal keys mean equal statements."""
    numbers = {name: f"?{i}" for i, name in enumerate(_fixed(stream))}
    if not any(token.text in ("shows", "obtains") for token in stream):
        yield "shows"
    for i, token in enumerate(stream):
        if token.kind in (Kind.STRING, Kind.CARTOUCHE):
            yield "“"
            for word in _INNER.findall(token.inner):
                yield numbers.get(word, _SPELLINGS.get(word, word))
            yield "”"
        elif not _labels(stream, i):
            yield numbers.get(token.text, token.text)


def _fixed(stream: list[Token]) -> Iterator[str]:
    """Names behind `fixes` and `for`."""
    fixing = typed = False
    for token in stream:
        if token.text in _WORDS and token.text != "and":
            fixing, typed = token.text in ("fixes", "for"), False
        elif fixing and token.text == "and":
            typed = False
        elif fixing and token.text == ":":
            typed = True
        elif fixing and not typed and token.kind is Kind.NAME:
            yield token.text


def _labels(stream: list[Token], at: int) -> bool:
    """Does this token belong to the name of an assumption or conclusion, `NAME :`? A type has two colons."""
    colon = at if stream[at].text == ":" else at + 1
    if _word(stream, colon) != ":" or _word(stream, colon + 1) == ":" or _word(stream, colon - 1) == ":":
        return False
    return stream[colon - 1].kind is Kind.NAME and stream[colon - 1].text not in _WORDS


def _is_name(stream: list[Token], at: int) -> bool:
    return at < len(stream) and stream[at].kind is Kind.NAME


def _word(stream: list[Token], at: int) -> str:
    return stream[at].text if 0 <= at < len(stream) else ""


def _past_brackets(text: str, stream: list[Token], at: int) -> int:
    depth = 0
    for i in range(at, len(stream)):
        depth += {"[": 1, "]": -1}.get(stream[i].text, 0)
        if depth == 0:
            return i + 1
    raise _expected("`]`", text, stream, len(stream))


def _expected(what: str, text: str, stream: list[Token], at: int) -> UsageError:
    if at >= len(stream):
        return UsageError(f"expected {what}, found the end of the text at {place(text, len(text))}")
    return UsageError(f"expected {what}, found {stream[at].text!r} at {place(text, stream[at].start)}")
