"""The theorems of a Lean file and the holes in them, found by the lexer.

Covered: theorems under namespaces and sections, with attributes, modifiers and doc comments, whatever their
column; holes anywhere behind a theorem's `:=`, `|` or `where`. Not covered: commands that a macro of the file
brings; a keyword of Lean's that the file makes a plain name with a notation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from stp.errors import UsageError
from stp.syntax.lean import COMMANDS, MODIFIERS, split_theorem
from stp.syntax.lean_tokens import Kind, Token, closes, opens, tokens

#: Words that begin a command wherever they stand first on a line outside brackets.
_BEGIN = (
    COMMANDS
    | MODIFIERS
    | frozenset(
        """def abbrev axiom opaque instance class structure inductive coinductive variable universe namespace
    section end mutual export notation infix infixl infixr prefix postfix macro macro_rules syntax elab
    elab_rules declare_syntax_cat initialize builtin_initialize run_cmd run_elab run_meta include omit
    import module""".split()  # noqa: SIM905
    )
)
#: These begin a command too, but also a tactic: there they stand further right than their command.
_BEGIN_OR_TACTIC = frozenset({"open", "set_option", "attribute", "local", "scoped", "@[", "#"})
_WITH_IN = frozenset({"open", "set_option"})
_MUTUAL = " "
_MODULE_WORDS = frozenset({"module", "prelude", "public", "meta", "import", "all"})
_PREAMBLE = frozenset({"import", "open", "set_option", "universe", "variable"})


@dataclass(frozen=True, slots=True)
class Hole:
    """A `sorry` in a theorem: where it stands in the file."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class FileTheorem:
    """A theorem or lemma of a file; `text[start:end]` is its command, from its first modifier on."""

    name: str
    full_name: str
    """With the namespaces around it."""
    start: int
    end: int
    holes: tuple[Hole, ...]
    private: bool
    """Not to be found by its name."""
    in_mutual: bool = False
    """Among others in a mutual block: the file cannot end behind it."""


def theorems(text: str) -> list[FileTheorem]:
    """The theorems and lemmas of a file, in order.

    Raises:
        UsageError: a comment or string that does not end.
    """
    found = (_theorem(text, command, spaces) for command, spaces in _placed(text))
    return [theorem for theorem in found if theorem]


def restates(text: str, statement: str) -> bool:
    """Does a text state the theorem of a statement `theorem NAME SIGNATURE` again, behind what it needs?"""
    if not any(word in text for word in COMMANDS):
        return False
    try:
        name = split_theorem(statement).name
        return any(theorem.name == name for theorem in theorems(text))
    except UsageError:
        return False


def imports_of(text: str) -> str:
    """The imports that a file begins with, on one line, without comments; "" where a comment or string has no
    end."""
    found: list[str] = []
    importing = False
    try:
        for token in tokens(text):
            if token.text in _MODULE_WORDS:
                importing = importing or token.text == "import"
            elif importing:
                importing = False  # the name of a module
            else:
                break
            found.append(token.text)
    except UsageError:
        return ""
    return " ".join(found)


def definitions(text: str) -> list[str]:
    """Full names of what a file defines by `def` or `abbrev`, in order.

    Raises:
        UsageError: a comment or string that does not end.
    """
    found = []
    for command, spaces in _placed(text):
        at = next((i for i, token in enumerate(command[:-1]) if token.text in ("def", "abbrev")), None)
        if at is not None and command[at + 1].kind is Kind.NAME:
            found.append(_full_name(command[at + 1].text, spaces))
    return found


def commands(text: str) -> int:
    """How many commands a file has.

    Raises:
        UsageError: a comment or string that does not end.
    """
    return sum(1 for _ in _commands(text))


def holds_command(proof: str) -> bool:
    """Does a proof hold a command, wherever it stands? `open` and `set_option` are none with their `in`.

    Raises:
        UsageError: a comment or string that does not end.
    """
    waiting = False
    for token in tokens(proof):
        if token.text in _BEGIN or token.text in _BEGIN_OR_TACTIC - _WITH_IN - {"#"}:
            return True
        if token.text in _WITH_IN:
            if waiting:
                return True
            waiting = True
        elif token.text == "in":
            waiting = False
    return waiting


def preamble_end(text: str) -> int:
    """Where the first command stands that is more than imports, options, opened names and variables.

    Raises:
        UsageError: a comment or string that does not end.
    """
    for command in _commands(text):
        if command[0].text not in _PREAMBLE or any(token.text == "in" for token in command):
            return command[0].start
    return len(text)


def _placed(text: str) -> Iterator[tuple[list[Token], list[str]]]:
    """Each command with the namespaces around it; a section is an empty name, a mutual block a blank one."""
    spaces: list[str] = []
    for command in _commands(text):
        words = [token.text for token in command[:2]]
        if words[0] == "namespace" and len(words) > 1:
            spaces.append(words[1])
        elif words[0] == "section" or words == ["noncomputable", "section"]:
            spaces.append("")
        elif words[0] == "mutual":
            spaces.append(_MUTUAL)
        elif words[0] == "end" and spaces:
            spaces.pop()
        else:
            yield command, spaces


def _full_name(name: str, spaces: list[str]) -> str:
    inside = [] if name.startswith("_root_.") else [space for space in spaces if space.strip()]
    return ".".join([*inside, name.removeprefix("_root_.")])


def _commands(text: str) -> Iterator[list[Token]]:
    command: list[Token] = []
    depth = 0
    for token in tokens(text):
        first = token.start == 0 or token.gap == "\n" or not command
        if first and command and depth == 0 and _begins(token, command):
            yield command
            command = []
        depth = max(0, depth + opens(token) - closes(token))
        command.append(token)
    if command:
        yield command


def _begins(token: Token, command: list[Token]) -> bool:
    """Does a token that is first on its line begin a new command?"""
    if command[-1].text == "in" or not _beyond_modifiers(command):
        return False
    if token.text in _BEGIN:
        return True
    return token.text in _BEGIN_OR_TACTIC and token.column <= command[0].column


def _beyond_modifiers(command: list[Token]) -> bool:
    """Is there more than attributes and modifiers?"""
    in_attributes = False
    for token in command:
        if token.text == "@[":
            in_attributes = True
        elif in_attributes:
            in_attributes = token.text != "]"
        elif token.text not in MODIFIERS:
            return True
    return False


def _theorem(text: str, command: list[Token], spaces: list[str]) -> FileTheorem | None:
    start, end = command[0].start, command[-1].end
    at = next((i for i, token in enumerate(command) if token.text in COMMANDS), None)
    if at is None or command[at].text == "example":
        return None
    try:
        theorem = split_theorem(text[command[at].start : end])
    except UsageError:
        return None
    body = text.index(theorem.signature, command[at].end) + len(theorem.signature)
    holes = tuple(
        Hole(token.start, token.end)
        for token in command
        if token.start >= body and token.kind is Kind.NAME and token.text == "sorry"
    )
    name = theorem.name or ""
    private = any(token.text == "private" for token in command[:at])
    return FileTheorem(name, _full_name(name, spaces), start, end, holes, private, _MUTUAL in spaces)
