"""The `sorry`s of a user's own Lean file, filled one after the other.

What is checked is the file up to the end of the hole's theorem, as it stands with the holes before it
filled, against the same part of the file as it was given. So the file's definitions, namespaces, variables
and lemmas are in scope, and a proof that changes what they mean is refused by the checker (see the decision
on whole files).
What follows the theorem is not looked at.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from stp.errors import UsageError
from stp.search.prove import STAGE, Budget, Search, Target
from stp.search.strategy import Strategy
from stp.store.store import Store
from stp.syntax.goals import goals_in
from stp.syntax.lean_file import FileTheorem, Hole, commands, holds_command, theorems
from stp.syntax.lean_tokens import tokens
from stp.types import CheckResult, Job, Limits, Source, Statement, System, Verdict
from stp.verify.pool import Pool

State = Literal["proved", "filled", "open", "broken"]
Place = Literal["term", "tactic"]
#: Words that leave a hole where a proof should be.
_NO_PROOF = frozenset({"sorry", "admit", "sorryAx", "stop"})
#: What stands for a hole when Lean is asked for its goal: as a term, and as a tactic.
_PROBES: dict[Place, str] = {"term": "(by skip)", "tactic": "(· skip)"}
#: What a hole is once a check said this of it.
_ENDS: tuple[tuple[Verdict, State], ...] = ((Verdict.PROVED, "proved"), (Verdict.INCOMPLETE, "filled"))


@dataclass(frozen=True, slots=True)
class HoleReport:
    """One hole and what became of it.

    `proved`: its theorem is proved, strictly checked. `filled`: what stands there now elaborates, but the
    theorem still rests on a `sorry` elsewhere. `broken`: the file up to there does not compile.
    """

    theorem: str
    line: int
    state: State
    proof: str = ""
    tries: int = 0
    tokens: int = 0
    """What a model wrote for it."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Searcher:
    """What searches for the proofs of holes. Of the budget the tries are for each hole, tokens and seconds
    for all of a text together."""

    pool: Pool
    strategy: Strategy
    budget: Budget
    limits: Limits

    def fill(self, text: str) -> Iterator[tuple[str, HoleReport]]:
        """After each hole, in order of position: the text as it stands now, and the report on the hole."""
        given, asked = text, theorems(text)
        number, at = 0, 0
        began, tokens = time.monotonic(), 0
        while number < len(found := theorems(text)):
            theorem = found[number]
            if at >= len(theorem.holes):
                number, at = number + 1, 0
                continue
            before = len(theorem.holes)
            spec = given[: asked[number].end]
            budget = _left(self.budget, tokens, time.monotonic() - began)
            text, report = self._hole(text, theorem, theorem.holes[at], spec, budget)
            yield text, report
            tokens += report.tokens
            at += len(theorems(text)[number].holes) == before

    def _hole(
        self, text: str, theorem: FileTheorem, hole: Hole, spec: str, budget: Budget | None
    ) -> tuple[str, HoleReport]:
        line = text.count("\n", 0, hole.start) + 1
        report = HoleReport(theorem.full_name, line, "open")
        if theorem.private:
            return text, replace(report, reason="a private theorem, which the checker does not find by name")
        if theorem.in_mutual:
            return text, replace(report, reason="in a mutual block, which is checked only as a whole")
        if budget is None:
            return text, replace(report, reason="nothing is left of --tokens or --seconds")
        now = text[: theorem.end]
        job = self._job(spec, theorem)
        probed = self._probe(now, job, hole)
        if isinstance(probed, CheckResult):
            errors = [message for message in probed.messages if message.severity == "error"]
            if not errors:
                return text, replace(report, reason="Lean shows no goal there")
            return text, replace(report, state="broken", reason=str(errors[0]).strip().replace("\n", " "))
        place, goal = probed

        def filled(proof: str) -> str:
            return now[: hole.start] + written(now, hole, proof, place) + now[hole.end :]

        def is_one(proof: str) -> bool:
            """Is it a proof without a hole of its own, and nothing but a proof?"""
            try:
                return _is_whole(proof) and commands(filled(proof)) == commands(now)
            except UsageError:
                return False

        key = hashlib.sha256(f"{hole.start}\0{now}".encode()).hexdigest()[:24]
        statement = Statement(System.LEAN, text[: theorem.start], "goal", goal, key, Source.DATASET)
        with Store() as store:
            # With other holes beside it, that the rest elaborates is all that can be known.
            enough = frozenset(verdict for verdict, _ in _ENDS[: 1 + (len(theorem.holes) > 1)])
            target = Target(statement, lambda proof: job(filled(proof) if is_one(proof) else ""), enough)
            Search(store, self.pool, self.strategy, [target], budget, f"line {line}").run()
            tried = store.tries(STAGE)
        checked = [row for row in tried if row.verdict is not None]
        report = replace(report, tries=len(checked), tokens=sum(row.tokens for row in tried))
        rows = [row for row in checked if is_one(row.proof)]
        for verdict, state in _ENDS:
            for row in rows:
                if row.verdict is verdict:
                    proof = written(now, hole, row.proof, place)
                    done = text[: hole.start] + proof + text[hole.end :]
                    return done, replace(report, state=state, proof=proof)
        refused = rows and all(row.verdict is Verdict.CHEATED for row in rows)
        return text, replace(report, reason=rows[0].reason if refused else "")

    def _probe(self, now: str, job: Callable[[str], Job], hole: Hole) -> tuple[Place, str] | CheckResult:
        """Whether a term or a tactic stands there, and the hole's goal as a statement; or what is wrong."""
        for place, probe in _PROBES.items():
            result = self.pool.submit(
                replace(job(now[: hole.start] + probe + now[hole.end :]), strict=False)
            ).result()
            if goals := [goal for message in result.goals for goal in goals_in(message.text)]:
                return place, goals[0].statement
            if result.verdict is Verdict.BAD_STATEMENT:
                return result
        return result

    def _job(self, spec: str, theorem: FileTheorem) -> Callable[[str], Job]:
        return lambda submission: Job(
            theorem.full_name, "", spec, submission, limits=self.limits, strict=True,
            theorem=theorem.full_name,
        )  # fmt: skip


def _left(budget: Budget, tokens: int, seconds: float) -> Budget | None:
    """What is left of a budget after these were spent; None: nothing."""
    left_tokens = None if budget.tokens is None else budget.tokens - tokens
    left_seconds = None if budget.seconds is None else budget.seconds - seconds
    is_spent = any(left is not None and left <= 0 for left in (left_tokens, left_seconds))
    return None if is_spent else replace(budget, tokens=left_tokens, seconds=left_seconds)


def written(text: str, hole: Hole, proof: str, place: Place) -> str:
    """A proof as it is written into a hole: in a tactic's place without its `by`, its lines indented."""
    column = hole.start - text.rfind("\n", 0, hole.start) - 1
    indent = len(line := text[hole.start - column : hole.start]) - len(line.lstrip())
    is_tactic = proof.startswith("by") and not proof[2:3].isalnum()
    if place == "tactic":
        if not is_tactic:
            return f"exact ({_lined(proof, column + 2)})"
        body = _dedented(proof[2:])
        if "\n" in body:
            return body.replace("\n", "\n" + " " * column)
        return f"({body})" if ";" in body and not _ends_line(text, hole) else body
    body = _dedented(proof[2:])
    if not is_tactic:
        whole = _lined(proof, indent + 2)
    elif "\n" in body:
        whole = "by\n" + " " * (indent + 2) + _lined(body, indent + 2)
    else:
        whole = f"by {body}"
    alone = text[: hole.start].rstrip().endswith(":=") and not text[hole.end :].strip()
    return whole if alone else f"({whole})"


def _lined(text: str, indent: int) -> str:
    return text.replace("\n", "\n" + " " * indent)


def _dedented(body: str) -> str:
    lines = [line for line in body.strip("\n").splitlines() if line.strip()]
    if body.lstrip(" ")[:1] != "\n":
        return "\n".join([lines[0].strip(), *lines[1:]]) if lines else ""
    margin = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    return "\n".join(line[margin:].rstrip() for line in lines)


def _ends_line(text: str, hole: Hole) -> bool:
    return text[hole.end :].split("\n", 1)[0].strip() == ""


def _is_whole(proof: str) -> bool:
    """Is it without a word that leaves a hole, and without a command, which on a proof's line is one too?

    Raises:
        UsageError: Lean's lexer does not read it to its end.
    """
    return bool(proof) and not (
        any(token.text in _NO_PROOF for token in tokens(proof)) or holds_command(proof)
    )
