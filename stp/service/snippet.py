"""A snippet, as Kimina's clients send it, as a job: a whole Lean file that nobody has specified.

The checker judges a file by a theorem of a given name, so one is added behind the snippet, where it shifts no
position. It is `True` by a proof that mentions every theorem of the snippet: so the kernel sees each again,
and the axioms that they rest on are walked. Its name holds the snippet's digest: no snippet can hold it.

What a client's usual header asks for, and only concerns budgets or display, is blanked out, character by
character: `set_option maxHeartbeats N` becomes the job's budget, `#print axioms` is answered from the walk,
options below `pp` and `linter` go. `#check NAME` runs, by way of a spec that allows it.

A theorem that our lexer misses, and a definition, rests on no denied axiom all the same: where no spec is
given the checker looks at all that a file declares. Not covered: an `example` is elaborated and checked by
the kernel, but leaves nothing behind, so the axioms of what it uses are not seen; `sorry` in it is.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass

from stp.errors import UsageError
from stp.syntax.lean_tokens import Kind, Token, tokens
from stp.types import MAX_SOURCE_CHARS, Job, Limits

_SCOPES = frozenset({"namespace", "section", "mutual"})
_QUIET = ("pp.", "linter.")
_BASE = frozenset({("autoImplicit", "false"), ("relaxedAutoImplicit", "false")})
#: Universe levels, which a theorem needs spelled out to be mentioned: too many of them are an error, so the
#: first list that is none has all that it needs.
_LEVELS = (*(".{" + ", ".join(["1"] * n) + "}" for n in range(8, 0, -1)), "")
_MODULE_WORDS = frozenset({"module", "prelude", "public", "meta", "import", "all"})


@dataclass(frozen=True, slots=True)
class Snippet:
    """A snippet's job, and what its reply needs."""

    job: Job
    end: tuple[int, int]
    """Line and column behind its last character: what is said of later places is said of what was added."""
    axioms_asked: tuple[tuple[int, str], ...]
    """Line and name of each `#print axioms`."""
    sorries: tuple[tuple[int, int], ...]
    """Line and column of each `sorry`."""


def make_snippet(id_: str, code: str, wall_s: float, heartbeats: int) -> Snippet:
    """The job that checks a snippet; `heartbeats` is the budget where the snippet sets none, and the most."""
    found, theorems = [], []
    try:
        if len(code) <= MAX_SOURCE_CHARS:  # else it is refused unread
            found = list(tokens(code))
            theorems = _theorems(found)
    except UsageError:
        # An unterminated comment or string: Lean says so, and where. If it does not, this is an error there.
        found, theorems = [], ["what_cannot_be_read"]
    line_of = _lines(code)
    blanked, budget, asked = _blank(code, found, line_of)
    name = "stp_audit_" + hashlib.sha256(code.encode("utf-8", "replace")).hexdigest()[:16]
    mentions = "".join(
        "  first " + " ".join(f"| have := @{theorem}{levels}" for levels in _LEVELS) + "\n"
        for theorem in theorems
    )
    # The word kernel: `example` must pass the elaborator's own kernel check, since it leaves nothing behind.
    audit = f"theorem _root_.{name} : _root_.True"
    proof = f"{blanked}\n\n/-! kernel -/\n{audit} := by\n{mentions}  exact _root_.True.intro\n"
    declared = {theorem.rpartition(".")[2] for theorem in theorems}
    checks = [
        f"#check {name.text}"
        for hash_, word, name, behind in zip(found, found[1:], found[2:], [*found[3:], None], strict=False)
        if (hash_.text, word.text) == ("#", "check")
        and hash_.column == 0
        and _is_alone(name, behind)
        and name.text.rpartition(".")[2] not in declared  # of the library: one that the spec knows too
    ]
    spec = "\n".join([code[: _imports_end(found)], *checks, f"{audit} := sorry"]) if checks else ""
    text = code.rstrip()
    return Snippet(
        Job(
            id_, "", spec, proof, theorem=name,
            limits=Limits(wall_s=wall_s, heartbeats=min(budget or heartbeats, heartbeats)),
        ),
        (text.count("\n") + 1, len(text) - text.rfind("\n") - 1),
        asked,
        tuple((line_of(token), token.column) for token in found if token.text in ("sorry", "admit")),
    )  # fmt: skip


def imports_of(code: str) -> str:
    """The beginning of a file, up to the end of its imports."""
    try:
        return code[: _imports_end(list(tokens(code)))]
    except UsageError:
        return ""  # an unterminated comment or string


def _lines(code: str) -> Callable[[Token], int]:
    """What gives a token's line, counted from 1."""
    ends = [found.start() for found in re.finditer("\n", code)]
    return lambda token: bisect(ends, token.start) + 1


def _is_alone(name: Token, behind: Token | None) -> bool:
    """Is the token a name at the end of its command?"""
    ends = behind is None or (behind.gap == "\n" and behind.column == 0)
    return name.kind is Kind.NAME and ends


def _imports_end(found: list[Token]) -> int:
    """Where the imports end, in characters."""
    end, importing = 0, False
    for token in found:
        if token.text in _MODULE_WORDS:
            importing = importing or token.text == "import"
        elif importing:
            importing = False
        else:
            break
        end = token.end
    return end


def _blank(
    code: str, found: list[Token], line_of: Callable[[Token], int]
) -> tuple[str, int, tuple[tuple[int, str], ...]]:
    """The code without what concerns budgets and display, the largest budget that it sets (0: none), and the
    `#print axioms` in it."""
    budgets, asked, spans = [0], [], []
    for i, token in enumerate(found):
        words = [t.text for t in found[i : i + 4]]
        if words[0] == "set_option" and len(words) >= 3:
            option, value = words[1], words[2]
            if option == "maxHeartbeats" and value.isdecimal():
                budgets.append(int(value) or 2**62)  # 0: no limit, in Lean
            elif not option.startswith(_QUIET) and (option, value) not in _BASE:
                continue
            last = found[i + 3] if words[3:] == ["in"] else found[i + 2]
            spans.append((token.start, last.end))
        elif words[:3] == ["#", "print", "axioms"] and len(words) == 4:
            asked.append((line_of(token), words[3]))
            spans.append((token.start, found[i + 3].end))
    pieces, at = [], 0
    for start, end in spans:  # which may overlap
        pieces += [code[at:start], re.sub(r"[^\n]", " ", code[max(start, at) : end])]
        at = max(at, end)
    return "".join([*pieces, code[at:]]), max(budgets), tuple(asked)


def _theorems(found: list[Token]) -> list[str]:
    """Full names of the theorems and lemmas, by the namespaces that are open around them."""
    scopes: list[str] = []
    names = []
    for word, after in zip(found, [*found[1:], None], strict=False):
        named = after is not None and after.kind is Kind.NAME and after.gap != "\n"
        parts = after.text.split(".") if named and after else []
        if word.text == "namespace":
            scopes += parts
        elif word.text in _SCOPES:
            scopes += [""] * max(1, len(parts) if word.text == "section" else 1)
        elif word.text == "end":
            del scopes[max(0, len(scopes) - max(1, len(parts))) :]
        elif word.text in ("theorem", "lemma") and after is not None and after.kind is Kind.NAME:
            inside = after.text.startswith("_root_.")
            path = [] if inside else [scope for scope in scopes if scope]
            names.append(".".join([*path, after.text.removeprefix("_root_.")]))
    return names
