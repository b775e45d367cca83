"""Whole theory files: a spec that states a theorem, and a submission that proves it.

What the spec has before the theorem becomes the header, so its definitions count as stated; what the
submission repeats of them, word for word, is left out of the proof. Everything else of the submission is
screened as any other proof is: definitions of its own are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from stp.errors import UsageError
from stp.syntax.isabelle import COMMANDS, HOLES, PROOF_COMMANDS, split_theorem
from stp.syntax.isabelle_screen import ALLOWED_IN_HEADER, KNOWN, parse_header
from stp.syntax.isabelle_tokens import tokens


@dataclass(frozen=True, slots=True)
class TheoryCommand:
    """A command of a theory, `text[start:end]`; `holes` are the spans of `sorry` in it."""

    text: str
    start: int
    holes: tuple[tuple[int, int], ...]


_STARTS = (ALLOWED_IN_HEADER | KNOWN) - PROOF_COMMANDS - HOLES


def split_spec(spec: str, theorem: str) -> tuple[str, str]:
    """Header and statement of a theorem that a file states, with `sorry` or nothing for a proof.

    Raises:
        UsageError: it is no theory, or does not state that theorem.
    """
    head, commands = _commands(spec)
    stated = next((i for i, command in enumerate(commands) if _states(command, theorem)), None)
    if stated is None:
        raise UsageError(f"expected the spec to state {theorem!r}, found no such theorem in it")
    found = split_theorem(commands[stated])
    if found.proof is not None:
        raise UsageError(f"expected `sorry` for the proof of {theorem!r} in the spec, found a proof")
    return "\n".join([head, *commands[:stated]]), f"theorem {theorem}: {found.signature}"


def proof_in(submission: str, header: str) -> str:
    """What a file holds beyond the header of its spec.

    Raises:
        UsageError: it is no theory, or imports what the header does not.
    """
    head, given = _commands(f"{header}\nend")
    own_head, own = _commands(submission)
    imports = parse_header(head)[0]
    if more := [name for name in parse_header(own_head)[0] if name not in imports]:
        raise UsageError(f"the submission imports {more[0]}, which the spec does not")
    known = {_words(command) for command in given}
    return "\n".join(command for command in own if _words(command) not in known)


def commands(text: str) -> tuple[str, list[TheoryCommand]]:
    """A theory's head, up to `begin`, and its commands with their proofs, without its `end`.

    Raises:
        UsageError: it is no theory.
    """
    stream = [*tokens(text)]
    begin = next((i for i, token in enumerate(stream) if token.text == "begin"), 0)
    if not begin or stream[0].text != "theory" or stream[-1].text != "end":
        raise UsageError("expected a file `theory … imports … begin … end`, found something else")
    starts = [token.start for token in stream[begin + 1 :] if token.text in _STARTS]
    if stream[begin + 1].start != starts[0]:
        raise UsageError(f"expected a command after `begin`, found {stream[begin + 1].text!r}")
    holes = [(token.start, token.end) for token in stream if token.text == "sorry"]
    return text[: stream[begin].end], [
        TheoryCommand(text[a:b].strip(), a, tuple(hole for hole in holes if a <= hole[0] < b))
        for a, b in pairwise(starts)
    ]


def _commands(text: str) -> tuple[str, list[str]]:
    head, found = commands(text)
    return head, [command.text for command in found]


def _states(command: str, theorem: str) -> bool:
    first = next(tokens(command), None)
    return first is not None and first.text in COMMANDS and split_theorem(command).name == theorem


def _words(command: str) -> tuple[str, ...]:
    return tuple(token.text for token in tokens(command))
