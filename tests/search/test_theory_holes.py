"""Each hole of a theorem takes the method that works on its own line. Isabelle's answers are given here;
those to real proofs are the business of `make test-isabelle`."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import cast

import pytest

from stp.prove import FileProver
from stp.search.holes import HoleReport
from stp.search.prove import Budget
from stp.search.theory_holes import fill_theory
from stp.settings import load
from stp.types import CheckResult, Job, Limits, Message, Verdict
from stp.verify.pool import Pool

TEXT = """theory Mine imports Main begin

lemma both: "A = A & B = B"
proof (* a comment
  of two lines *)
  show "A = A" sorry
  show "B = B" sorry
qed

end
"""


class Answers:
    """Says of each `by` whether it is among those that close the goal of the line above it."""

    def __init__(self, closing: dict[str, str]) -> None:
        self.closing = closing
        self.jobs: list[Job] = []

    def submit(self, job: Job) -> Future[CheckResult]:
        self.jobs.append(job)
        rows = [job.statement, *job.proof.split("\n")]
        wrong = [
            number
            for number, row in enumerate(rows, 1)
            if row.startswith("by ") and row not in self.closing[rows[number - 2].strip()]
        ]
        messages = tuple(Message("error", line, 0, line, 0, "Failed to finish proof") for line in wrong)
        future: Future[CheckResult] = Future()
        future.set_result(
            CheckResult(job.id, Verdict.REJECTED if wrong else Verdict.PROVED, messages=messages)
        )
        return future


def fill(closing: dict[str, str]) -> tuple[str, list[str], Answers]:
    answers = Answers(closing)
    filled = [*fill_theory(cast(Pool, answers), Limits(), TEXT)]
    reports = [f"{report.line} {report.state} {report.proof}".strip() for _, report in filled]
    return filled[-1][0], reports, answers


def test_methods_are_joined_and_checked_strictly() -> None:
    text, reports, answers = fill({'show "A = A"': "by blast", 'show "B = B"': "by arith"})
    assert reports == ["6 proved by blast", "7 proved by arith"]
    assert text == TEXT.replace('"A = A" sorry', '"A = A" by blast').replace(
        '"B = B" sorry', '"B = B" by arith'
    )
    assert [job.strict for job in answers.jobs][-2:] == [False, True]


def test_a_hole_that_nothing_closes_stays_beside_one_that_is_filled() -> None:
    text, reports, answers = fill({'show "A = A"': "by blast", 'show "B = B"': ""})
    assert reports == ["6 filled by blast", "7 open"]
    assert text == TEXT.replace('"A = A" sorry', '"A = A" by blast')
    assert not any(job.strict for job in answers.jobs)


def test_lemmas_without_a_name_are_not_proved_by_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two lemmas called `goal` one is proved: what fills a hole of the other proves nothing."""
    reports = [
        HoleReport("goal", 3, "proved"),
        HoleReport("goal", 6, "filled"),
        HoleReport("goal", 7, "open"),
    ]
    monkeypatch.setattr("stp.prove.fill_theory", lambda *_: iter([(TEXT, report) for report in reports]))
    monkeypatch.setattr("stp.prove.open_pool", lambda *_, **__: None)
    prover = FileProver(load("isabelle"), tmp_path / "Mine.thy", "portfolio", Budget(1), 1.0)
    *_, (_, found) = prover.fill(TEXT)
    assert [report.state for report in found] == ["proved", "filled", "open"]
