"""The commands a person types, with the double where Isabelle would be."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stp.bench import isabelle
from stp.cli import app
from stp.datasets import registry
from stp.doctor import examine
from stp.errors import MachineryError, StpError, ToolchainError, UsageError
from stp.service.bounds import Bounds
from stp.service.keys import Client
from stp.service.metrics import Metrics
from stp.service.provers import Provers
from stp.settings import VerifySettings
from stp.store.store import Store
from stp.types import Job, System
from stp.verify.isabelle import toolchain
from stp.verify.isabelle.worker import IsabelleWorker
from stp.verify.pool import open_pool
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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--strategy", "portfolio+tree"], "tree reads Lean"),
        (["--strategy", "sample"], "tiny in format tiny writes Lean"),
        (["--strategy", "sample", "--model", "m", "--set", "model.prompt_format=chat"], "m in format chat"),
    ],
)
def test_what_writes_lean_is_refused_for_isabelle(tmp_path: Path, options: list[str], said: str) -> None:
    row = {"name": "t", "split": "test", "header": "theory T imports Main\nbegin"}
    file = tmp_path / registry.entries()["minif2f-isabelle"].file
    file.write_text(json.dumps({**row, "formal_statement": 'theorem t: "True"'}) + "\n")
    command = ["prove", "--dataset", "minif2f-isabelle", "--from", str(tmp_path), *options]
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, UsageError)
    assert said in str(done.exception)


def test_the_bench_holds_its_numbers_to_what_must_be_reached(
    make_double: MakeDouble, monkeypatch: pytest.MonkeyPatch, pack_sizes: list[list[int]]
) -> None:
    make_double()
    for name, size in {"_REPEATS": 1, "_MIX": 16, "_ALONE": 2, "_MANY": 32, "_BATCH": 16}.items():
        monkeypatch.setattr(isabelle, name, size)
    monkeypatch.setitem(isabelle.MUST, "ready_s", 0.0)
    numbers = isabelle.measure()
    assert numbers["jobs"] == 16
    assert pack_sizes == [[1] * 16, [1] * 16, [8, 8], [1], [1], [8, 8], [8, 8]]
    assert numbers["reached"].pop("ready_s") is False
    assert numbers["reached"].keys() == isabelle.MUST.keys() - {"ready_s"}
    assert numbers["audited_per_s"] > 0 < numbers["packed_per_s"]
    assert numbers["alone_s"] > 0
    monkeypatch.setattr(isabelle, "claims", lambda: [(REV, "by fail")] * 16)
    with pytest.raises(MachineryError, match="prove 8 of 16 statements, found 0"):
        isabelle.measure()


def test_a_benchmark_is_proved_by_the_portfolio(make_double: MakeDouble, tmp_path: Path) -> None:
    make_double()
    rows = [
        {"name": "first", "split": "test", "formal_statement": 'theorem first: "rev (rev xs) = xs"'},
        {"name": "wrong", "split": "test", "formal_statement": 'theorem wrong: "1 + 1 = 3"'},
    ]
    (tmp_path / "minif2f_isabelle_xqyww123.jsonl").write_text("\n".join(map(json.dumps, rows)))
    out = tmp_path / "out"
    done = CliRunner().invoke(
        app, ["prove", "--dataset", "minif2f-isabelle", "--from", str(tmp_path), "--strategy", "portfolio",
              "-k", "4", "--out", str(out)],
    )  # fmt: skip
    assert done.exit_code == 0, done.exception
    with Store(out / "stp.sqlite", read_only=True) as store:
        rates = store.tallies(1, "evaluate")
        assert {s.name: rates[s.key].proved for s in store.statements()} == {"first": 1, "wrong": 0}


@pytest.mark.timeout(120)
def test_the_service_checks_isabelle_jobs(make_double: MakeDouble) -> None:
    make_double()

    async def run() -> list[str]:
        provers = Provers(Bounds(), Metrics(), "embedded")
        pool = open_pool(VerifySettings(system=System.ISABELLE, pool="local", workers=1))
        provers.add(System.ISABELLE, pool)
        try:
            jobs = [Job(p, "", REV, p, System.ISABELLE) for p in ("by simp", "by fail", "sorry")]
            found = await asyncio.gather(*provers.submit(jobs, Client("anyone", frozenset())))
            return [result.verdict.value for result in found]
        finally:
            await provers.close()

    assert asyncio.run(run()) == ["proved", "rejected", "incomplete"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["verify", "--system", "isabelle", "Missing.thy", "--theorem", "t"], "Missing.thy: expected a"),
        (["prove", "Missing.thy"], "Missing.thy"),
        (["prove", "Broken.thy", "--strategy", "portfolio"], "expected a file `theory … imports"),
        (["verify", "--system", "coq", "--statement", "x", "--proof", "y"], "system"),
        (["data", "build", "isabelle"], "expected lean-core, seeds, isabelle-main or tiny"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(
    make_double: MakeDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    make_double()
    (tmp_path / "Broken.thy").write_text("no theory")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, StpError), done.output
    assert said in str(done.exception)
    assert "\n" not in str(done.exception)


def test_an_old_isabelle_and_a_silent_one_are_refused(make_double: MakeDouble) -> None:
    program = make_double().program
    for answer, said in [
        ("echo Isabelle2021", "expected Isabelle2023 or later, found Isabelle2021"),
        ("exit 1", "does not answer `isabelle version`"),
    ]:
        program.write_text(f"#!/bin/sh\n{answer}\n")
        with pytest.raises(ToolchainError, match=said):
            toolchain.find()


def test_a_server_that_finds_its_port_taken_is_told_with_its_own_words(make_double: MakeDouble) -> None:
    prover = make_double()
    prover.program.write_text("#!/bin/sh\necho 'Address already in use' >&2\nexit 2\n")
    with pytest.raises(ToolchainError, match=r"ended \(2\): Address already in use; run: stp doctor"):
        IsabelleWorker(prover, 1000)


def test_doctor_and_the_list_of_provers_name_isabelle(
    make_double: MakeDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    def row() -> tuple[str, str]:
        found = next(finding for finding in examine() if finding.name == "Isabelle")
        return found.state, found.text

    make_double()
    assert row()[0] == "ok"
    assert row()[1].endswith("no oracles in its heap")
    make_double(taint=["conjI: Pure.skip_proof"])
    assert row()[0] == "note"
    assert "rests on oracles (conjI: Pure.skip_proof): rebuild it" in row()[1]
    make_double()
    assert "Isabelle2025-double" in CliRunner().invoke(app, ["toolchain", "list"]).stdout
    monkeypatch.setenv("ISABELLE_HOME", "/nowhere")
    assert row() == ("note", "ISABELLE_HOME: expected the command /nowhere/bin/isabelle, found none")
    monkeypatch.delenv("ISABELLE_HOME")
    monkeypatch.setenv("PATH", "")
    assert row()[1].startswith("no Isabelle: `isabelle` is not on PATH")
