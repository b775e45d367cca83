"""No cheat passes and no honest proof is refused.

`cheats.toml` and `honest.toml` hold the corpora. What the screening must see, and that it sees nothing in
what is honest, is tested anywhere; what the audit must see needs a real Isabelle, and no double is asked.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from stp.errors import UsageError
from stp.syntax.isabelle_screen import KNOWN
from stp.types import Job, Limits, System, Verdict
from stp.verify.isabelle.theories import Submission, make_header, prepare
from stp.verify.isabelle.worker import IsabelleWorker

HERE = Path(__file__).parent
FALSE = 'theorem foo: "1 + 1 = (3::nat)"'


@dataclass(frozen=True)
class Case:
    proof: str
    statement: str = FALSE
    verdict: str = "proved"
    reason: str = ""
    stage: str = "screen"

    def job(self, id: str) -> Job:
        return Job(id, "", self.statement, self.proof, System.ISABELLE, limits=Limits(wall_s=60.0))


def cases(name: str) -> list[Case]:
    return [
        Case(**case) for case in tomllib.loads((HERE / f"{name}.toml").read_text(encoding="utf-8"))["case"]
    ]


CHEATS, HONEST = cases("cheats"), cases("honest")


def test_the_corpora_are_as_large_as_promised() -> None:
    assert len(CHEATS) >= 60
    assert len(HONEST) >= 150
    assert {case.stage for case in CHEATS} == {"screen", "audit"}


def test_the_screening_sees_its_cheats_and_leaves_the_rest_to_the_audit() -> None:
    header = make_header("")
    wrong = []
    for case in CHEATS:
        found = prepare(case.job("1"), header)
        if case.stage == "audit":
            wrong += [] if isinstance(found, Submission) else [(case, found)]
        elif isinstance(found, Submission) or found[0] != case.verdict or case.reason not in found[1]:
            wrong.append((case, found))
    assert wrong == []


@pytest.mark.parametrize(
    "header",
    ['imports "HOL-ex.Cartouche_Examples"', 'imports "Tools.Code_Generator"', "imports STP_Audit"],
)
def test_a_header_imports_of_known_sessions_alone(header: str) -> None:
    """The server would find the theories of any session that its installation has."""
    with pytest.raises(UsageError, match="expected imports of the session HOL or of HOL, HOL-Algebra"):
        make_header(header)


def test_a_header_imports_of_the_session_that_was_chosen() -> None:
    assert make_header('imports "My-Session.Theory"', "My-Session").imports == ("My-Session.Theory",)
    assert make_header('imports Complex_Main "HOL-Library.Multiset"').imports[0] == "Complex_Main"


@pytest.mark.parametrize("name", ["ML", "begin", "sorry", "new_command"])
def test_no_theorem_has_the_name_of_a_command(name: str) -> None:
    header = replace(make_header(""), commands=KNOWN | {"new_command"})
    found = prepare(Job("1", "", f'theorem {name}: "True"', "by simp", System.ISABELLE), header)
    assert not isinstance(found, Submission)
    assert found[0] is Verdict.BAD_STATEMENT


def test_the_screening_refuses_nothing_honest() -> None:
    header = make_header("")
    prepared = [(case, prepare(case.job("1"), header)) for case in HONEST]
    assert [(case, found) for case, found in prepared if not isinstance(found, Submission)] == []


def test_what_is_sent_has_no_comments_and_is_screened_the_same_again() -> None:
    header = make_header("")
    for case in HONEST:
        found = prepare(case.job("1"), header)
        assert isinstance(found, Submission)
        assert "(*" not in found.text
        again = prepare(Job("2", "", case.statement, found.text, System.ISABELLE), header)
        assert isinstance(again, Submission)
        assert again.text == found.text


@pytest.mark.isabelle
@pytest.mark.parametrize("packs", [False, True])
@pytest.mark.parametrize("corpus", ["cheats", "honest"])
def test_a_real_isabelle_gives_each_its_verdict(
    isabelle: IsabelleWorker, monkeypatch: pytest.MonkeyPatch, corpus: str, packs: bool
) -> None:
    monkeypatch.setattr("stp.verify.isabelle.worker._PAYS", -1.0 if packs else 2.0)
    corpus_cases = cases(corpus)
    results = isabelle.check([case.job(str(i)) for i, case in enumerate(corpus_cases)])
    wrong = []
    for case, result in zip(corpus_cases, results, strict=True):
        assert case.verdict == "proved" or result.verdict is not Verdict.PROVED, case
        if result.verdict.value != case.verdict or case.reason not in result.reason:
            wrong.append((case, result.verdict.value, result.reason))
    assert wrong == []
