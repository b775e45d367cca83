"""What the store takes and gives back beyond the values of `stp.types`: one frozen class a table."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from stp.types import Premise, Statement, Verdict

#: Why a proof was tried. Pass rates count together "attempt", "probe", its first part, and "complete": failed
#: proofs with proofs of the goals that they left open.
AttemptStage = Literal["seed", "probe", "attempt", "complete", "evaluate"]
Split = Literal["train", "test"]


class Outcome(StrEnum):
    """How far a conjecture came, in the order of the gates."""

    SAMPLED = "sampled"
    """Not gated yet."""
    UNPARSED = "unparsed"
    DUPLICATE = "duplicate"
    CONTAMINATED = "contaminated"
    """A copy of something held out."""
    BLOATED = "bloated"
    """More disjunctions, or longer, than the guards allow."""
    UNCOMPILED = "uncompiled"
    VACUOUS = "vacuous"
    """Its hypotheses contradict each other."""
    REFUTED = "refuted"
    TRIVIAL = "trivial"
    KNOWN = "known"
    """In the library already."""
    SURPLUS = "surplus"
    """Passed the gates, beyond the number wanted."""
    KEPT = "kept"


def proof_key(statement_key: str, text: str) -> str:
    """The key of a proof of one statement; blanks around the text do not matter.

    80 bits behind the beginning of the statement's key: with 10^5 proofs each of 10^5 statements the chance
    of any collision is below 10^-9. Proofs of one statement come together, so that they share the pages of an
    index: scattered keys would each dirty a page of their own in a store of millions.
    """
    return statement_key[:8] + hashlib.sha256(f"{statement_key}\0{text.strip()}".encode()).hexdigest()[:20]


@dataclass(frozen=True, slots=True)
class CorrectProof:
    """A proof that the checker accepted in some rounds."""

    key: str
    statement: str
    text: str
    count: int
    """Times it was sampled in attempts of these rounds; 0: the seed corpus gave it, or goals completed it."""
    heartbeats: int
    premises: tuple[Premise, ...]


@dataclass(frozen=True, slots=True)
class Try:
    """One attempt of a proof search, in its place: `number` counts a statement's tries from 1."""

    statement: str
    number: int
    proof: str
    tokens: int
    verdict: Verdict | None
    """None: not checked yet."""
    reason: str
    axioms: tuple[str, ...]
    heartbeats: int
    toolchain: str


@dataclass(frozen=True, slots=True)
class Tally:
    """What one statement got; crashed, out-of-memory and unchecked attempts are left out."""

    attempts: int
    """At least 1: a statement with nothing to count has no tally."""
    proved: int

    @property
    def pass_rate(self) -> float:
        return self.proved / self.attempts


#: The input of all conjectures that no prompt asked for.
NO_INPUT = -1


@dataclass(frozen=True, slots=True)
class Conjecture:
    """One text that the conjecturer wrote, and what its prompt was made of."""

    round: int
    input: int
    sample: int
    seed: str
    """Key of the statement that was in the prompt."""
    seed_proof: str | None
    """Key of its proof there; None: the statement was one to work towards."""
    lemma_name: str | None
    """None: the trivial lemma."""
    lemma_statement: str | None
    text: str
    outcome: Outcome = Outcome.SAMPLED
    statement: str | None = None
    """Key of the statement that it became, once KEPT."""
    tokens: int = 0
    """What the model wrote for it."""

    @property
    def is_goal(self) -> bool:
        """Did a failed proof leave it open, so that no prompt asked for it?"""
        return self.input == NO_INPUT


@dataclass(frozen=True, slots=True)
class StageMark:
    """How far one stage of one round is; finished once `finished_at` is set."""

    round: int
    name: str
    started_at: str
    finished_at: str | None
    elapsed_s: float
    """Adds up over restarts, to the last commit of each."""
    stats: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProverExample:
    """Train the prover to write this proof of this statement."""

    statement: str
    proof: str
    weight: float


@dataclass(frozen=True, slots=True)
class ConjecturerExample:
    """Train the conjecturer to write this statement where conjecture (input, sample) was asked for.

    `free`: no proof of it uses the lemma, so it is an example for the trivial lemma.
    """

    statement: str
    input: int
    sample: int
    weight: float
    free: bool = False


@dataclass(frozen=True, slots=True)
class ProverText:
    """A `ProverExample` with what its training text is made of."""

    statement: Statement
    proof: str
    weight: float


@dataclass(frozen=True, slots=True)
class ConjecturerText:
    """A `ConjecturerExample` with what its training text is made of."""

    seed: Statement
    seed_proof: str | None
    lemma_statement: str | None
    statement: Statement
    weight: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one statement of a benchmark got in a round; counts include repeats."""

    round: int
    dataset: str
    statement: str
    samples: int
    proved: int
    tokens: int
