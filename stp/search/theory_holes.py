"""The `sorry`s of a user's own Isabelle theory, filled by the portfolio of methods.

A theorem's holes are filled all at once by one method after the other. Isabelle goes on behind a `by` that
fails, so each hole's own line says which methods close it; at last the methods that do are checked together,
strictly. What stands above the theorem is in scope, but for theorems that still have a hole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from stp.errors import UsageError
from stp.search.holes import HoleReport
from stp.search.portfolio import ISABELLE_PORTFOLIO
from stp.syntax.isabelle import COMMANDS, UNNAMED, split_theorem, statement_text
from stp.syntax.isabelle_file import TheoryCommand, commands
from stp.syntax.isabelle_tokens import tokens, without_comments
from stp.types import CheckResult, Job, Limits, System, Verdict
from stp.verify.pool import Pool

#: Stands where a method would, to find its line.
_MARK = "by stp_hole"


def fill_theory(pool: Pool, limits: Limits, text: str) -> Iterator[tuple[str, HoleReport]]:
    """After each hole, in order of position: the text as it stands now, and the report on the hole.

    Raises:
        UsageError: it is no theory.
    """
    head, found = commands(text)
    above = [head]
    shift = 0  # of what stands behind the holes filled so far
    for command in found:
        if not command.holes or next(tokens(command.text)).text not in COMMANDS:
            above.append(command.text)
            continue
        theorem = _Theorem(pool, limits, "\n".join(above), command)
        methods, reports = theorem.fill()
        for hole, method, report in zip(command.holes, methods, reports, strict=True):
            line = text.count("\n", 0, hole[0] + shift) + 1
            if method:
                text = text[: hole[0] + shift] + method + text[hole[1] + shift :]
                shift += len(method) - (hole[1] - hole[0])
            yield text, replace(report, line=line)
        if all(report.state == "proved" for report in reports):
            above.append(theorem.written(methods))


class _Theorem:
    """One theorem with holes and the theory above it."""

    def __init__(self, pool: Pool, limits: Limits, header: str, command: TheoryCommand) -> None:
        self._pool, self._limits, self._header, self._command = pool, limits, header, command
        self._why = ""
        try:
            theorem = split_theorem(command.text)
        except UsageError as error:
            self._why, self.name = str(error), ""
            return
        self.name = theorem.name or UNNAMED
        self._statement = statement_text(self.name, theorem.signature)
        self._body = command.text.index(theorem.signature) + len(theorem.signature)

    def fill(self) -> tuple[list[str], list[HoleReport]]:
        """For each hole a method, or "", and what became of it; lines are not set."""
        count = len(self._command.holes)
        report = HoleReport(self.name, 0, "open", reason=self._why)
        if self._why:
            return [""] * count, [report] * count
        jobs = [self._job([method] * count, strict=False) for method in ISABELLE_PORTFOLIO]
        chosen = [""] * count
        futures = [self._pool.submit(job) for job in jobs]
        tries = len(futures)
        for method, future in zip(ISABELLE_PORTFOLIO, futures, strict=True):
            result = future.result()
            if result.verdict is Verdict.BAD_STATEMENT:
                broken = replace(report, state="broken", reason=result.reason)
                return [""] * count, [broken] * count
            for hole in self._closed(result):
                chosen[hole] = chosen[hole] or method
        if all(chosen):
            result = self._pool.submit(self._job(chosen, strict=True)).result()
            if result.proved:
                return chosen, [replace(report, state="proved", proof=m, tries=tries + 1) for m in chosen]
            return [""] * count, [replace(report, tries=tries + 1, reason=result.reason)] * count
        return chosen, [
            replace(report, state="filled" if method else "open", proof=method, tries=tries)
            for method in chosen
        ]

    def written(self, methods: list[str]) -> str:
        """The theorem with its holes filled, each on a line of its own."""
        text, start = self._command.text, self._command.start
        for (first, last), method in reversed([*zip(self._command.holes, methods, strict=True)]):
            text = f"{text[: first - start]}\n{method}\n{text[last - start :]}"
        return text

    def _job(self, methods: list[str], *, strict: bool) -> Job:
        proof = without_comments(self.written(methods)[self._body :]).strip()
        return Job(
            self.name, self._header, self._statement, proof, System.ISABELLE, limits=self._limits,
            strict=strict,
        )  # fmt: skip

    def _closed(self, result: CheckResult) -> list[int]:
        """The holes at whose lines nothing is wrong, where the theory was gone through."""
        count = len(self._command.holes)
        if result.proved:
            return [*range(count)]
        errors = {message.line for message in result.messages if message.severity == "error"}
        if result.verdict is not Verdict.REJECTED or not errors or 0 in errors:
            return []
        # The statement is one line; the proof, which begins behind it, has a line for each filled hole.
        rows = without_comments(self.written([_MARK] * count)[self._body :]).strip().split("\n")
        lines = [number for number, row in enumerate(rows, 2) if row == _MARK]
        return [hole for hole, line in enumerate(lines) if line not in errors]
