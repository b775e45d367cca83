"""The name-free key of a Lean statement: equal for statements that differ only in how they are written.

Blanks, comments, synonyms (`->` and `→`) and the grouping of binders go; names of bound variables become
numbers. A name is numbered only where that is sure to be right: all its occurrences must be binders that
are understood here, or lie within the surely known scope of one. Numbering every occurrence of a name at
once then is an injective renaming of bound variables, so that two statements with one key say the same.
Where in doubt (patterns, tactic blocks, `{x}` that may be a structure with field `x`, names glued to an
arrow as in `→o`) the name stays, and all that is lost is that two spellings have two keys.

Kept, since Lean minds them: `a[i]` and `a [i]`, `x.1` and `x .1`; and, where a line breaks after a word of
`LAYOUT` or in braces that may be a structure, the column of every token up to the end of that group.
Not covered: notation of a header that gives two tokens without a blank another meaning than with one; a
named argument that passes through a function to its result, as in `id h (n := 3)`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from stp.syntax.lean_tokens import CLOSERS, Kind, Token, closes, opens

SYNONYMS = {"->": "→", "<-": "←", "<->": "↔", "<=": "≤", ">=": "≥", "/\\": "∧", "\\/": "∨"}
SYNONYMS |= {"λ": "fun", "↦": "=>", "forall": "∀"}
#: Binders whose body ends at an operator that binds less than a product; that of the others reaches as far
#: to the right as it can.
TIGHT = frozenset({"Σ", "Σ'", "∑", "∑'", "∏", "∏'", "⋃", "⋂", "⨆", "⨅", "∫"})
BINDERS = TIGHT | {"∀", "∃", "∃!", "fun"}
#: Binders that take a comma too, with names that are not understood here.
OTHER = frozenset({"∀ᶠ", "∃ᶠ", "∀ᵐ", "∃ᵐ", "∀ᵉ", "∃ᵉ", "∑ᶠ", "∏ᶠ", "∫⁻", "⨍", "∮"})
#: What each binder puts before its body.
SEPARATORS = {word: "=>" if word == "fun" else "," for word in BINDERS | OTHER}
TIGHT_BODY = TIGHT | {"*", "/", "^", "•", "∘", "⁻¹", "↑", ".", "@"}
SPLITS = frozenset({",", ";", "=>", ":="})
ENDS = SPLITS | {":", "then", "else", "with", "from", "where", "in", "∂"}
LETS = frozenset({"let", "have", "letI", "haveI"})
#: After these, up to the end of the group, names may be patterns, tactics or options.
OBSCURE = frozenset({"by", "do", "calc", "match", "nomatch", "open", "set_option"})
#: After these, and after `fun |`, lines and columns have a meaning up to the end of the group.
LAYOUT = LETS | {"by", "do", "calc", "match", "nomatch", "suffices", "where"}
#: An application begins after any of these.
NO_FUNCTION = ENDS | LAYOUT | {"if"}
#: Notation such as `→o` and `=o[` glues a letter to these; `?x` and `` `x `` spell a name out.
GLUES = frozenset({"→", "≃", "↪", "=", "≺", "≼", "`", "``", "?"})
SETS = frozenset({"|", ":", "∈", "//"})


def key_of(signature: list[Token]) -> str:
    """24 hex digits of SHA-256 over the numbered tokens of a signature whose brackets match."""
    text = json.dumps(_Reader(signature).canonical(), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


class _Reader:
    """Reads a signature once: its brackets, then its binders, then which names may be numbered."""

    def __init__(self, parts: list[Token]) -> None:
        self.parts = parts
        #: Texts without synonyms; two empty ones after the end, so that -1 and a look ahead find nothing.
        self.words = [*(SYNONYMS.get(token.text, token.text) for token in parts), "", ""]
        #: The first part of each name, `«x»` as `x`; None for other tokens.
        self.heads = [_head(token.text) if token.kind is Kind.NAME else None for token in parts]
        #: For each token the index of the bracket that it stands directly in, or -1.
        self.inside: list[int] = []
        #: For each opening bracket its end; for -1, the end of the signature.
        self.close: dict[int, int] = {}
        #: Where each name is bound, and the spans in which it then means that.
        self.sites: set[int] = set()
        self.scopes: dict[str, list[tuple[int, int]]] = {}
        #: Where names are not understood, and where columns count.
        self.obscure: set[int] = set()
        self.lined: set[int] = set()
        #: Whether a line break may end a body.
        self.lets = not LETS.isdisjoint(self.words)
        #: Opening brackets of `(a b : T)`, and braces of sets: no structures.
        self.binders: set[int] = set()
        self.builders: set[int] = set()
        #: Those of the signature: by opening bracket, the index of `:` and of the end.
        self.groups: dict[int, tuple[int, int]] = {}

    def canonical(self) -> list[str]:
        self._brackets()
        self._signature_binders()
        for i, word in enumerate(self.words):
            if word in INNER:
                self._inner_binder(i, word, self.inside[i])
        numbered = self._numbered()
        numbers: dict[str, int] = {}
        return [word for i in self._expanded() for word in self._emit(i, numbered, numbers)]

    # -- structure ------------------------------------------------------------------------------

    def _brackets(self) -> None:
        stack = [-1]
        for i, token in enumerate(self.parts):
            if self.heads[i]:
                self.inside.append(stack[-1])
                continue
            if closes(token):
                self.close[stack.pop()] = i
            self.inside.append(stack[-1])
            if opens(token):
                stack.append(i)
        self.close[-1] = len(self.parts)

    def _siblings(self, start: int, group: int) -> Iterator[int]:
        """Indices from `start` to the end of `group`, brackets within it counted but not entered."""
        end = self.close[group]
        while start < end:
            yield start
            start = self.close.get(start, start) + 1

    def _find(self, start: int, group: int, *wanted: str) -> int | None:
        return next((at for at in self._siblings(start, group) if self.words[at] in wanted), None)

    def _bind(self, i: int, start: int, end: int) -> None:
        name = self.heads[i]
        # `this` may be bound anew without being written
        if name and name not in ("_", "this") and len(self.parts[i].text) == _head_length(self.parts[i].text):
            self.sites.add(i)
            self.scopes.setdefault(name, []).append((start, end))

    def _doubt(self, start: int, end: int | None, group: int) -> None:
        self.obscure.update(range(start, self.close[group] if end is None else end))

    def _line(self, start: int, group: int) -> None:
        span = range(start, self.close[group])
        if any(self.parts[at].gap == "\n" for at in span[1:]):
            self.lined.update(span)

    # -- binders --------------------------------------------------------------------------------

    def _signature_binders(self) -> None:
        for i in self._siblings(0, -1):
            if self.words[i] == ":":
                return
            if i in self.close:
                self._bracketed(i, len(self.parts))
                colon = self._find(i + 1, i, ":")
                if i in self.binders and colon is not None:
                    self.groups[i] = (colon, self.close[i])
            else:
                self._bind(i, i + 1, len(self.parts))

    def _bracketed(self, opener: int, end: int) -> bool:
        """Binds the names of `(a b : T)` or `[a : T]` up to `end`; False if it is something else."""
        close, i, bracket = self.close[opener], opener + 1, self.words[opener]
        while i < close and self.heads[i]:
            i += 1
        typed = self.words[i] == ":" and i > opener + 1
        if bracket not in ("(", "{", "[", "⦃") or not (typed or i == close or self.words[i] == ":="):
            return False
        if bracket == "[" and not typed:
            return True  # an instance without a name
        for site in range(opener + 1, i):
            self._bind(site, close + 1, end)
        self.binders.add(opener)
        return True

    def _inner_binder(self, i: int, word: str, group: int) -> None:
        alternatives = word == "fun" and self.words[i + 1] == "|"
        if word in LAYOUT or alternatives:
            self._line(i, group)
        if word in OBSCURE or alternatives:
            self._doubt(i, None, group)
        elif word in BINDERS:
            self._quantifier(i, word, group)
        elif word in OTHER:
            self._doubt(i, self._separator(i + 1, group, ","), group)
        elif word in LETS:
            self._let(i, group)
        elif word == "{" and i not in self.binders:
            self._braces(i)

    def _quantifier(self, i: int, word: str, group: int) -> None:
        middle = self._separator(i + 1, group, SEPARATORS[word])
        if middle is None:
            self._doubt(i, None, group)
            return
        arrow = word == "fun"
        end = self._scope_end(middle + 1, group, i, word in TIGHT)
        for at in self._siblings(i + 1, group):
            if self.words[at] in ("in", "with"):
                return
            if self.heads[at]:
                self._bind(at, middle + 1, end)
            elif not (at in self.close and self._binder_group(at, end, arrow)):
                if at in self.close or (arrow and at != middle and self.words[at] != ":"):
                    self._doubt(i, middle, group)  # a pattern, whose names may be constructors
                return

    def _binder_group(self, opener: int, end: int, arrow: bool) -> bool:
        # `fun (x) =>` may be a pattern, `∀ (x), …` is not; `∀ [h : P]` binds h.
        return (not arrow or self._find(opener + 1, opener, ":") is not None) and self._bracketed(opener, end)

    def _let(self, i: int, group: int) -> None:
        """`let x := v; body`; a body after a line break is left alone, where `v` ends being less plain."""
        assign = semicolon = None
        for at in self._siblings(i + 1, group):
            word = self.words[at]
            if word in LETS or (assign is not None and self.parts[at].gap == "\n"):
                break
            if word == ":=" and assign is None:
                assign = at
            if word == ";":
                semicolon = at
                break
        if assign is None or not self.heads[i + 1] or self.words[i + 2] not in (":", ":="):
            self._doubt(i + 1, assign, group)
        elif semicolon is not None:
            self._bind(i + 1, semicolon + 1, self._scope_end(semicolon + 1, group, i, tight=False))

    def _braces(self, opener: int) -> None:
        """`{x | p}`, `{x : T | p}`, `{x ∈ s | p}` and `{x : T // p}`; another left side is a pattern."""
        bar = self._find(opener + 1, opener, "|", "//")
        if bar is None or self._find(opener + 1, opener, ":=") is not None:
            self._line(opener, opener)
        if bar is not None and self.heads[opener + 1] and self.words[opener + 2] in SETS:
            self._bind(opener + 1, bar + 1, self.close[opener])
            self.builders.add(opener)
        elif bar is not None:
            self._doubt(opener + 1, bar, opener)

    def _separator(self, start: int, group: int, wanted: str) -> int | None:
        """The `,` or `=>` of a binder, past those that binders in its types take."""
        pending: list[str] = []
        for at in self._siblings(start, group):
            word = self.words[at]
            if word in (",", "=>"):
                if not pending:
                    return at if word == wanted else None
                if pending.pop() != word:
                    return None
            elif word in SEPARATORS:
                pending.append(SEPARATORS[word])
            elif word in (":=", ";"):
                return None
        return None

    def _scope_end(self, start: int, group: int, binder: int, tight: bool) -> int:
        """An index up to which the body of `binder` surely reaches."""
        pending: list[str] = []
        barred = self._open_bars(group, binder)
        for at in self._siblings(start, group):
            word = self.words[at]
            if self.lets and self.parts[at].gap == "\n":
                return at
            if pending and word == pending[-1]:
                pending.pop()
            elif word in SEPARATORS:
                pending.append(SEPARATORS[word])
            elif word in LETS:
                pending += [";", ":="]
            elif (
                word in barred
                or word in (SPLITS if pending else ENDS)
                or (tight and not pending and word not in TIGHT_BODY and self._is_operator(at))
            ):
                return at
        return self.close[group]

    def _is_operator(self, i: int) -> bool:
        return self.parts[i].kind is Kind.SYMBOL and i not in self.close

    def _open_bars(self, group: int, end: int) -> set[str]:
        """Which of `|` and `‖` were opened in `group` before `end`, so that they may close."""
        if "|" not in self.words and "‖" not in self.words:
            return set()
        bars = [self.words[at] for at in self._siblings(group + 1, group) if at < end]
        return {bar for bar in ("|", "‖") if bars.count(bar) % 2}

    # -- names ----------------------------------------------------------------------------------

    def _numbered(self) -> set[str]:
        """Names of which no occurrence is in doubt."""
        safe = set(self.scopes)
        for i, name in enumerate(self.heads):
            if name is None or name not in safe:
                continue
            if self._is_label(i):
                doubtful = self._of_local(i)
            elif i in self.obscure or self._is_glued(i):
                doubtful = True
            else:
                in_scope = any(start <= i < end for start, end in self.scopes[name])
                doubtful = not (i in self.sites or in_scope) or self._may_be_field(i)
            if doubtful:
                safe.discard(name)
        return safe

    def _is_label(self, i: int) -> bool:
        """A named argument `(n := 3)` or a field: never a variable."""
        if i in self.sites:
            return False
        before, after, gap = self.words[i - 1], self.words[i + 1], self.parts[i].gap
        if before in (".", "|>."):
            return gap == ""
        if after != ":=":
            return False
        in_braces = self.words[self.inside[i]] == "{"
        return before == "(" or (in_braces and (before in ("{", ",", "with") or gap == "\n"))

    def _of_local(self, i: int) -> bool:
        """Whether `n` in `h (n := 3)` may be a name that the type of a bound `h` binds."""
        opener = self.inside[i]
        if self.words[i + 1] != ":=" or self.words[opener] != "(":
            return False
        function = None
        for at in self._siblings(self.inside[opener] + 1, self.inside[opener]):
            if at == opener:
                break
            if self.words[at] in NO_FUNCTION or (self._is_operator(at) and self.words[at] != "."):
                function = None
            elif function is None and not self._is_operator(at):
                function = at
        name = None if function is None else self.heads[function]
        return name is None or name in self.scopes

    def _is_glued(self, i: int) -> bool:
        return self.parts[i].gap == "" and self.words[i - 1] in GLUES

    def _may_be_field(self, i: int) -> bool:
        """`{x, y}` may be a set or a structure whose fields x and y are meant; `{f x := …}` names f."""
        group = self.inside[i]
        if self.words[group] != "{" or group in self.binders or group in self.builders:
            return False
        starts = self.words[i - 1] in ("{", ",", "with") or self.parts[i].gap == "\n"
        return starts and (self.words[i + 1] in (",", "}") or self._find(group + 1, group, ":=") is not None)

    # -- output ---------------------------------------------------------------------------------

    def _expanded(self) -> list[int]:
        """Token indices with `(a b : T)` as `(a : T) (b : T)`, unless T speaks of an `a` outside."""
        order, i = [], 0
        while i < len(self.parts):
            colon, close = self.groups.get(i, (i, i))
            names = set(self.heads[i + 1 : colon])
            if names and names.isdisjoint(self.heads[colon:close]):
                for at in range(i + 1, colon):
                    order += [i, at, *range(colon, close + 1)]
            else:
                order += range(i, close + 1)
            i = close + 1
        return order

    def _emit(self, i: int, numbered: set[str], numbers: dict[str, int]) -> list[str]:
        token, word, name = self.parts[i], self.words[i], self.heads[i]
        if name is None:
            glued = i > 0 and token.gap == "" and word in ("[", ".", "!", "?")
            glued = glued and (self.parts[i - 1].kind is not Kind.SYMBOL or self.words[i - 1] in CLOSERS)
        else:
            glued = self._is_glued(i)
            if name in numbered and not self._is_label(i):
                word = f"#{numbers.setdefault(name, len(numbers))}{word[_head_length(word) :]}"
        words = ["", word] if glued else [word]
        return [f"{token.gap == chr(10)} {token.column}", *words] if i in self.lined else words


INNER = LAYOUT | OBSCURE | BINDERS | OTHER | {"{"}


def _head_length(name: str) -> int:
    return name.index("»") + 1 if name[0] == "«" else len(name.partition(".")[0])


def _head(name: str) -> str:
    """The first component of a dotted name; `«x»` is `x`."""
    return name[: _head_length(name)].strip("«»")
