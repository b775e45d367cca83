"""The commands a person types, with the double where Isabelle would be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stp.cli import app
from stp.doctor import examine
from stp.errors import UsageError
from tests.verify.isabelle.conftest import MakeDouble

pytestmark = pytest.mark.programs

REV = 'theorem t: "rev (rev xs) = xs"'


def verify(*arguments: str, **more: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["verify", "--system", "isabelle", *arguments], **more)  # type: ignore[arg-type]
    return done.exit_code, done.stdout


def test_verify_says_proved_or_why_not(make_double: MakeDouble) -> None:
    make_double()
    assert verify("--statement", REV, "--proof", "by simp") == (0, "proved\n")
    assert verify("--statement", REV, "--proof", "by (tactic ‹all_tac›)") == (
        1, "cheated: method `tactic` runs ML, at line 1 column 5\n",
    )  # fmt: skip
    code, out = verify("--statement", REV, "--proof", "by fail", "--json")
    assert (code, json.loads(out)["verdict"]) == (1, "rejected")


def test_a_stream_answers_jobs_of_another_system_too(make_double: MakeDouble, tmp_path: Path) -> None:
    make_double()
    lines = [
        {"id": "a", "statement": REV, "proof": "by simp"},
        {"id": "b", "statement": "theorem t : True", "proof": "trivial", "system": "lean"},
        {"id": "c", "statement": REV, "proof": "by simp", "system": "coq"},
        {"id": "d", "statement": REV, "proof": "sorry", "system": "isabelle"},
    ]
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text("\n".join(map(json.dumps, lines)))
    code, out = verify("--jsonl", str(jobs))
    found = {row["id"]: row["verdict"] for row in map(json.loads, out.splitlines())}
    assert code == 0
    assert found == {"a": "proved", "b": "bad_statement", "c": "bad_statement", "d": "incomplete"}


THEORY = """theory Mine imports Main begin

definition twice :: "nat => nat" where "twice n = n + n"

lemma first: "rev (rev xs) = xs"
  sorry (* ⟵ here *)

lemma wrong: "1 + 1 = 3" sorry

theorem last: "rev (rev ys) = ys"
proof -
  have "ys = ys" sorry
  then show ?thesis sorry
qed

end
"""


def test_the_holes_of_a_theory_are_filled(make_double: MakeDouble, tmp_path: Path) -> None:
    make_double()
    file = tmp_path / "Mine.thy"
    file.write_text(THEORY)
    done = CliRunner().invoke(app, ["prove", str(file), "--strategy", "portfolio"])
    lines = [line.split(":", 1)[1] for line in done.stdout.splitlines() if line.startswith(str(file))]
    assert [line.split()[:3] for line in lines] == [
        ["6:", "proved", "first"], ["8:", "open", "wrong"], ["12:", "proved", "last"],
        ["13:", "proved", "last"],
    ]  # fmt: skip
    assert done.exit_code == 1, "a hole is left"
    filled = (tmp_path / "Mine.proved.thy").read_text()
    assert filled == THEORY.replace('xs"\n  sorry', 'xs"\n  by simp').replace(
        'ys" sorry', 'ys" by simp'
    ).replace("?thesis sorry", "?thesis by simp")
    assert file.read_text() == THEORY


def test_a_models_strategy_is_refused_for_a_theory(make_double: MakeDouble, tmp_path: Path) -> None:
    make_double()
    file = tmp_path / "Mine.thy"
    file.write_text(THEORY)
    done = CliRunner().invoke(app, ["prove", str(file), "--strategy", "sample"])
    assert isinstance(done.exception, UsageError)
    assert "--strategy portfolio" in str(done.exception)


def test_doctor_and_the_list_of_provers_name_isabelle(
    make_double: MakeDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    def row() -> tuple[str, str]:
        found = next(finding for finding in examine() if finding.name == "Isabelle")
        return found.state, found.text

    make_double()
    assert row()[0] == "ok"
    assert "Isabelle2025-double" in CliRunner().invoke(app, ["toolchain", "list"]).stdout
    monkeypatch.setenv("ISABELLE_HOME", "/nowhere")
    assert row() == ("note", "ISABELLE_HOME: expected the command /nowhere/bin/isabelle, found none")
    monkeypatch.delenv("ISABELLE_HOME")
    monkeypatch.setenv("PATH", "")
    assert row()[1].startswith("no Isabelle: `isabelle` is not on PATH")
