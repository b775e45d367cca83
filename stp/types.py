"""The values that pass between the parts: statements, proofs, jobs and what checking them gave."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum


class System(StrEnum):
    """The proof assistant that a statement is written for."""

    LEAN = "lean"
    ISABELLE = "isabelle"


class Source(StrEnum):
    """Where a statement came from."""

    DATASET = "dataset"
    SEED = "seed"
    CONJECTURE = "conjecture"
    NEGATION = "negation"


class Verdict(StrEnum):
    """What a check says of one proof of one statement; everything but PROVED is a denial.

    Only REJECTED, INCOMPLETE and CHEATED mean "this text is no proof of this statement". UNJUDGED is the
    best that a whole file gets where no spec says what it should prove.
    """

    PROVED = "proved"
    REJECTED = "rejected"
    INCOMPLETE = "incomplete"
    CHEATED = "cheated"
    BAD_STATEMENT = "bad_statement"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    CRASHED = "crashed"
    UNJUDGED = "unjudged"


#: Verdicts that say something of the machine and nothing of the proof: they leave a pass rate's denominator.
VOID = frozenset({Verdict.OUT_OF_MEMORY, Verdict.CRASHED})
#: Header, statement and proof of a job together; what is longer is refused unread.
MAX_SOURCE_CHARS = 1_000_000
_REPEATABLE = frozenset(Verdict) - VOID - {Verdict.TIMED_OUT}


@dataclass(frozen=True, slots=True)
class Statement:
    """A theorem without its proof.

    `text` is `theorem NAME SIGNATURE`, with no `:=`. `header` is what stands before it in a file
    (imports, `open`, notation; "" is the bare prelude). `key` is name-free: two statements with one
    key say the same thing (see `stp.syntax.lean.statement_key`).
    """

    system: System
    header: str
    name: str
    text: str
    key: str
    source: Source
    origin: str | None = None
    """The library declaration that this restates; a proof that uses it does not count."""
    parents: tuple[str, ...] = ()
    """Keys of the statements that it was made from."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Budgets of one check. Heartbeats are Lean's (thousands of small allocations) and decide; the
    wall clock is a generous backstop, so that a busy machine does not change verdicts."""

    wall_s: float = 30.0
    heartbeats: int = 200_000
    memory_mb: int = 4096


#: As the theorem of a `Job`: all that the file declares.
EVERYTHING = "*"


@dataclass(frozen=True, slots=True)
class Job:
    """One proof of one statement to check. `proof` is the term after `:=`, for example `by simp`.

    With `theorem` set, both are whole files: `statement` the spec, which states that theorem with `sorry`
    for a proof, and `proof` the submission, which may add lemmas and definitions. With an empty spec the
    verdict is UNJUDGED at best, a report on that theorem, or with `EVERYTHING` on all that the file declares.
    """

    id: str
    header: str
    statement: str
    proof: str
    system: System = System.LEAN
    origin: str | None = None
    limits: Limits = field(default_factory=Limits)
    premises: bool = False
    """Also report the library theorems that the proof uses, each with its statement."""
    strict: bool = False
    """Accept only what a second process, which never sees the submission, accepts again."""
    theorem: str | None = None


@dataclass(frozen=True, slots=True)
class Premise:
    """A library theorem used by a proof: its name, its module and its statement as Lean prints it."""

    name: str
    module: str
    statement: str


@dataclass(frozen=True, slots=True)
class Message:
    """What Lean said of a place in `STATEMENT := PROOF`, or in a whole file: lines from 1, columns in
    characters from 0; all 0 where it belongs to no place."""

    severity: str
    """`error`, `warning` or `information`."""
    line: int
    column: int
    end_line: int
    end_column: int
    text: str

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.severity}: {self.text}"


_UNSOLVED = "unsolved goals\n"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What checking a `Job` gave. `messages` are for people and never evidence."""

    id: str
    verdict: Verdict
    reason: str = ""
    messages: tuple[Message, ...] = ()
    axioms: tuple[str, ...] = ()
    premises: tuple[Premise, ...] = ()
    heartbeats: int = 0
    times_ms: dict[str, float] = field(default_factory=dict)
    """`queue`, `statement`, `proof`, `kernel`; never part of what makes two runs equal."""
    toolchain: str = ""

    @property
    def proved(self) -> bool:
        return self.verdict is Verdict.PROVED

    @property
    def elapsed_s(self) -> float:
        """What the check itself took, in seconds; the wait in the queue says nothing of the proof."""
        return sum(ms for part, ms in self.times_ms.items() if part != "queue") / 1e3

    @property
    def goals(self) -> tuple[Message, ...]:
        """The goals that a failed proof left open, as Lean prints them, each with its place."""
        return tuple(
            replace(message, text=message.text.removeprefix(_UNSOLVED))
            for message in self.messages
            if message.severity == "error" and message.text.startswith(_UNSOLVED)
        )

    @property
    def repeatable(self) -> bool:
        """Does the same text get this verdict again on any machine? Heartbeats that ran out do (the
        checker counted them), a wall clock that ran out does not. Only such results are cached."""
        return self.verdict in _REPEATABLE or (self.verdict is Verdict.TIMED_OUT and self.heartbeats > 0)
