"""The name-free key of a Lean statement: equal for statements that differ only in how they are written.

Blanks, comments, synonyms (`->` and `→`) and the grouping of binders go; names of bound variables become
numbers. A name is numbered only where that is sure to be right: all its occurrences must be binders that
are understood here, or lie within the surely known scope of one. Numbering every occurrence of a name at
once then is an injective renaming of bound variables, so that two statements with one key say the same.
Where in doubt (patterns, tactic blocks, `{x}` that may be a structure with field `x`, names glued to an
arrow as in `→o`) the name stays, and all that is lost is that two spellings have two keys.

Kept, since Lean minds them: `a[i]` and `a [i]`, `x.1` and `x .1`, lines and columns after `by` and `do`.
Not covered: notation of a header that gives two tokens without a blank another meaning than with one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

from stp.syntax.lean_tokens import CLOSERS, Kind, Token, closes, opens

SYNONYMS = {"->": "→", "<-": "←", "<->": "↔", "<=": "≤", ">=": "≥", "/\\": "∧", "\\/": "∨"}
SYNONYMS |= {"λ": "fun", "↦": "=>", "forall": "∀"}
#: Binders whose body reaches as far to the right as it can.
WIDE = frozenset({"∀", "forall", "∃", "∃!", "fun", "λ"})
#: Binders whose body ends at an operator that binds less than a product.
TIGHT = frozenset({"Σ", "Σ'", "∑", "∑'", "∏", "∏'", "⋃", "⋂", "⨆", "⨅", "∫"})
#: Binders that take a comma too, with names that are not understood here.
OTHER = frozenset({"∀ᶠ", "∃ᶠ", "∀ᵐ", "∃ᵐ", "∀ᵉ", "∃ᵉ", "∑ᶠ", "∏ᶠ", "∫⁻", "⨍", "∮"})
BINDERS = WIDE | TIGHT
COMMAS = BINDERS | OTHER
TIGHT_BODY = frozenset({"*", "/", "^", "•", "∘", "⁻¹", "↑", ".", "@"}) | TIGHT
SPLITS = frozenset({",", ";", "=>", ":="})
ENDS = SPLITS | {":", "then", "else", "with", "from", "where", "in", "∂"}
#: After these, up to the end of the group, lines and columns have a meaning.
LAYOUT = frozenset({"by", "do", "calc"})
#: After these, up to the end of the group, names may be patterns, tactics or options.
OBSCURE = LAYOUT | {"match", "nomatch", "open", "set_option"}
LETS = frozenset({"let", "have", "letI", "haveI"})
#: Notation such as `→o` and `=o[` glues a letter to these; `?x` and `` `x `` spell a name out.
GLUES = frozenset({"→", "->", "≃", "↪", "=", "≺", "≼", "`", "``", "?"})
SETS = frozenset({"|", ":", "∈", "//"})


def key_of(signature: list[Token]) -> str:
    """24 hex digits of SHA-256 over the numbered tokens of a signature whose brackets match."""
    text = json.dumps(_Reader(signature).canonical(), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@dataclass
class _Reader:
    """Reads a signature once: its brackets, then its binders, then which names may be numbered."""

    parts: list[Token]
    inside: list[int] = field(default_factory=list)
    """For each token the index of the bracket that it stands directly in, or -1."""
    close: dict[int, int] = field(default_factory=dict)
    """For each opening bracket its end; for -1, the end of the signature."""
    scopes: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    sites: set[int] = field(default_factory=set)
    """Where a name is bound."""
    obscure: set[int] = field(default_factory=set)
    lined: set[int] = field(default_factory=set)
    """Where line breaks count."""
    binders: set[int] = field(default_factory=set)
    """Opening brackets of `(a b : T)`."""
    groups: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Those of the signature: by opening bracket, the index of `:` and of the end."""

    lets: bool = False
    """Whether a line break may end a body."""

    def canonical(self) -> list[str]:
        self.lets = any(token.text in LETS for token in self.parts)
        self._brackets()
        self._signature_binders()
        for i in range(len(self.parts)):
            self._inner_binder(i)
        numbered = self._numbered()
        numbers: dict[str, int] = {}
        return [word for i in self._expanded() for word in self._emit(i, numbered, numbers)]

    # -- structure ------------------------------------------------------------------------------

    def _brackets(self) -> None:
        stack = [-1]
        for i, token in enumerate(self.parts):
            if closes(token):
                self.close[stack.pop()] = i
            self.inside.append(stack[-1])
            if opens(token):
                stack.append(i)
        self.close[-1] = len(self.parts)

    def _text(self, i: int) -> str:
        return self.parts[i].text if 0 <= i < len(self.parts) else ""

    def _head(self, i: int) -> str | None:
        """The first part of a name; `«x»` is `x`. None for other tokens."""
        return _parts(self.parts[i].text)[0] if self.parts[i].kind is Kind.NAME else None

    def _siblings(self, start: int, group: int) -> list[int]:
        """Indices from `start` to the end of `group`, brackets within it counted but not entered."""
        found, i = [], start
        while i < self.close[group]:
            found.append(i)
            i = self.close.get(i, i)
            i += 1
        return found

    def _bind(self, i: int, start: int, end: int) -> None:
        name = self._head(i)
        if name and name != "_" and name == _parts(self.parts[i].text)[-1]:
            self.sites.add(i)
            self.scopes.setdefault(name, []).append((start, end))

    # -- binders --------------------------------------------------------------------------------

    def _signature_binders(self) -> None:
        for i in self._siblings(0, -1):
            if self._text(i) == ":":
                return
            if i in self.close:
                self._bracketed(i, len(self.parts))
                colon = next((at for at in self._siblings(i + 1, i) if self._text(at) == ":"), None)
                if i in self.binders and colon is not None:
                    self.groups[i] = (colon, self.close[i])
            elif self.parts[i].kind is Kind.NAME:
                self._bind(i, i + 1, len(self.parts))

    def _bracketed(self, opener: int, end: int) -> bool:
        """Binds the names of `(a b : T)` or `[a : T]` up to `end`; False if it is something else."""
        close, i = self.close[opener], opener + 1
        while i < close and self.parts[i].kind is Kind.NAME:
            i += 1
        typed = self._text(i) == ":" and i > opener + 1
        if self._text(opener) not in ("(", "{", "[", "⦃") or not (
            typed or i == close or self._text(i) == ":="
        ):
            return False
        if self._text(opener) == "[" and not typed:
            return True  # an instance without a name
        for site in range(opener + 1, i):
            self._bind(site, close + 1, end)
        self.binders.add(opener)
        return True

    def _inner_binder(self, i: int) -> None:
        word, group = self._text(i), self.inside[i]
        if word in OBSCURE or (word in ("fun", "λ") and self._text(i + 1) == "|"):
            self.obscure.update(range(i, self.close[group]))
            if word in LAYOUT:
                self.lined.update(range(i, self.close[group]))
        elif word in BINDERS:
            self._quantifier(i, group)
        elif word in OTHER:
            self.obscure.update(range(i, self._separator(i + 1, group, ",") or self.close[group]))
        elif word in LETS:
            self._let(i, group)
        elif word == "{":
            self._set_builder(i)

    def _quantifier(self, i: int, group: int) -> None:
        word = self._text(i)
        arrow = word in ("fun", "λ")
        middle = self._separator(i + 1, group, "=>" if arrow else ",")
        if middle is None:
            self.obscure.update(range(i, self.close[group]))
            return
        end = self._scope_end(middle + 1, group, i, word in TIGHT)
        for at in self._siblings(i + 1, group):
            if self._text(at) in ("in", "with"):
                return
            if self.parts[at].kind is Kind.NAME:
                self._bind(at, middle + 1, end)
            elif not (at in self.close and self._binder_group(at, end, arrow)):
                if at in self.close or (arrow and at != middle and self._text(at) != ":"):
                    self.obscure.update(range(i, middle))  # a pattern, whose names may be constructors
                return

    def _binder_group(self, opener: int, end: int, arrow: bool) -> bool:
        # `fun (x) =>` may be a pattern, `∀ (x), …` is not; `∀ [h : P]` binds h.
        typed = any(self._text(at) == ":" for at in self._siblings(opener + 1, opener))
        return (typed or not arrow) and self._bracketed(opener, end)

    def _let(self, i: int, group: int) -> None:
        """`let x := v; body`; a body after a line break is left alone, where `v` ends being less plain."""
        assign = semicolon = None
        for at in self._siblings(i + 1, group):
            word = self._text(at)
            if word in LETS or (assign is not None and self.parts[at].gap == "\n"):
                break
            if word == ":=" and assign is None:
                assign = at
            if word == ";":
                semicolon = at
                break
        plain = self.parts[i + 1].kind is Kind.NAME and self._text(i + 2) in (":", ":=") if assign else False
        if not plain or assign is None:
            self.obscure.update(range(i + 1, assign or self.close[group]))
        elif semicolon is not None:
            self._bind(i + 1, semicolon + 1, self._scope_end(semicolon + 1, group, i, tight=False))

    def _set_builder(self, opener: int) -> None:
        """`{x | p}`, `{x : T | p}`, `{x ∈ s | p}` and `{x : T // p}`; another left side is a pattern."""
        bar = next((at for at in self._siblings(opener + 1, opener) if self._text(at) in ("|", "//")), None)
        if bar is None or opener in self.binders:
            return
        if self.parts[opener + 1].kind is Kind.NAME and self._text(opener + 2) in SETS:
            self._bind(opener + 1, bar + 1, self.close[opener])
        else:
            self.obscure.update(range(opener + 1, bar))

    def _separator(self, start: int, group: int, wanted: str) -> int | None:
        """The `,` or `=>` of a binder, past those that binders in its types take."""
        pending: list[str] = []
        for at in self._siblings(start, group):
            word = SYNONYMS.get(self._text(at), self._text(at))
            if word in (",", "=>"):
                if not pending:
                    return at if word == wanted else None
                if pending.pop() != word:
                    return None
            elif word in COMMAS:
                pending.append("=>" if word == "fun" else ",")
            elif word in (":=", ";"):
                return None
        return None

    def _scope_end(self, start: int, group: int, binder: int, tight: bool) -> int:
        """An index up to which the body of `binder` surely reaches."""
        pending: list[str] = []
        within = [self._text(at) for at in self._siblings(group + 1, group) if at < binder]
        barred = {bar for bar in ("|", "‖") if within.count(bar) % 2}
        for at in self._siblings(start, group):
            word = SYNONYMS.get(self._text(at), self._text(at))
            operator = self.parts[at].kind is Kind.SYMBOL and at not in self.close and word not in TIGHT_BODY
            if self.lets and self.parts[at].gap == "\n":
                return at
            if pending and word == pending[-1]:
                pending.pop()
            elif word in COMMAS:
                pending.append("=>" if word == "fun" else ",")
            elif word in LETS:
                pending += [";", ":="]
            elif (
                word in barred
                or word in (SPLITS if pending else ENDS)
                or (tight and operator and not pending)
            ):
                return at
        return self.close[group]

    # -- names ----------------------------------------------------------------------------------

    def _numbered(self) -> set[str]:
        """Names of which no occurrence is in doubt."""
        safe = set(self.scopes)
        for i in range(len(self.parts)):
            name = self._head(i)
            if name not in safe or self._is_label(i):
                continue
            in_scope = any(start <= i < end for start, end in self.scopes[name])
            if (
                not (i in self.sites or in_scope)
                or i in self.obscure
                or self._is_glued(i)
                or self._may_be_field(i)
            ):
                safe.discard(name)
        return safe

    def _is_label(self, i: int) -> bool:
        """A named argument `(n := 3)` or a field: never a variable."""
        if i in self.sites:
            return False
        before, in_braces = self._text(i - 1), self._text(self.inside[i]) == "{"
        if before in (".", "|>."):
            return self.parts[i].gap == ""
        first = before == "(" or (in_braces and (before in ("{", ",", "with") or self.parts[i].gap == "\n"))
        return first and self._text(i + 1) == ":="

    def _is_glued(self, i: int) -> bool:
        return self.parts[i].gap == "" and self._text(i - 1) in GLUES

    def _may_be_field(self, i: int) -> bool:
        """`{x, y}` may be a set or a structure whose fields x and y are meant; `{f x := …}` names f."""
        group = self.inside[i]
        if i in self.sites or self._text(group) != "{":
            return False
        starts = self._text(i - 1) in ("{", ",", "with") or self.parts[i].gap == "\n"
        fields = any(self._text(at) == ":=" for at in self._siblings(group + 1, group))
        return starts and (fields or self._text(i + 1) in (",", "}"))

    # -- output ---------------------------------------------------------------------------------

    def _expanded(self) -> list[int]:
        """Token indices with `(a b : T)` as `(a : T) (b : T)`, unless T speaks of an `a` outside."""
        order, i = [], 0
        while i < len(self.parts):
            colon, close = self.groups.get(i, (i, i))
            names = {self._head(at) for at in range(i + 1, colon)}
            if names and not any(self._head(at) in names for at in range(colon, close)):
                for at in range(i + 1, colon):
                    order += [i, at, *range(colon, close + 1)]
            else:
                order += range(i, close + 1)
            i = close + 1
        return order

    def _emit(self, i: int, numbered: set[str], numbers: dict[str, int]) -> list[str]:
        token = self.parts[i]
        words = [f"\n{token.column}"] if i in self.lined and token.gap == "\n" else []
        if token.kind is not Kind.NAME:
            glued = i > 0 and token.gap == "" and (token.text in ("[", ".", "!", "?"))
            follows = self.parts[i - 1].kind is not Kind.SYMBOL or self._text(i - 1) in CLOSERS
            return [*words, *([""] if glued and follows else []), SYNONYMS.get(token.text, token.text)]
        head, *rest = _parts(token.text)
        if head in numbered and not self._is_label(i):
            head = f"#{numbers.setdefault(head, len(numbers))}"
        name = ".".join([head, *rest])
        return [*words, *([""] if self._is_glued(i) else []), SYNONYMS.get(name, name)]


def _parts(name: str) -> list[str]:
    """The components of a dotted name; `«x»` is `x` where it could be written so."""
    found, at = [], 0
    while at < len(name):
        if name[at] == "«":
            end = name.index("»", at)
            inner = name[at + 1 : end]
            found.append(inner if inner.isidentifier() else name[at : end + 1])
            at = end + 2
        else:
            end = (name + ".").index(".", at)
            found.append(name[at:end])
            at = end + 1
    return found
