"""The command line as a person meets it: results on stdout, one clear line for what is wrong, exit codes."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from stp.cli import app
from stp.errors import UsageError
from stp.store.store import Store
from stp.types import CheckResult, Job, Limits, Premise, Verdict
from stp.verify.job import job_from_json, result_to_json

pytestmark = pytest.mark.programs


STATEMENT = "theorem t (a b : Nat) : a + b = b + a"


def stp(*arguments: str, send: str | bytes = "") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "stp", *arguments],
        input=send if isinstance(send, bytes) else send.encode(),
        capture_output=True,
        check=False,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


ALL = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_and_every_option_has_help(path: tuple[str, ...]) -> None:
    command = ALL[path]
    assert command.help
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{' '.join(path)}: {parameter.name}"


def test_help_answers_in_under_300_ms() -> None:
    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert stp("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # CPU time, and the best of five: other programs of a busy machine are not the command's fault.
    assert min(seconds() for _ in range(5)) < 0.3


def test_the_version_is_the_package_s() -> None:
    import stp as package

    assert stp("--version").stdout.strip() == package.__version__


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["selfplay", "--set", "attempt.smaples=3"], "attempt.smaples"),
        (["selfplay", "--set", "attempt.samples=many"], "attempt.samples"),
        (["selfplay", "--config", "nowhere.toml"], "nowhere.toml"),
        (["selfplay", "--rounds", "-1"], "--rounds"),
        (["ablate", "--plan", "nowhere.toml"], "nowhere.toml"),
        (["plan", "--config", "nowhere.toml"], "nowhere.toml"),
        (["verify", "--proof", "by simp"], "--statement"),
        (["verify", "My.lean", "--against", "Spec.lean"], "--theorem"),
        (["verify", "--statement", STATEMENT, "--proof", "by simp", "--toolchain", "coq"], "toolchain"),
        (["verify", "--jsonl", "nowhere.jsonl"], "nowhere.jsonl"),
        (["verify", "My.lean", "--header", "import Std"], "--header"),
        (["verify", "--statement", STATEMENT, "--proof", "by simp", "--theorem", "foo"], "--theorem"),
        (["toolchain", "install", "coq"], "coq"),
        (["data", "build", "mathlib"], "mathlib"),
        (["bench", "nothing"], "nothing"),
        (["prove"], "--dataset"),
        (["prove", "--dataset", "minif3f"], "minif3f"),
        (["prove", "--dataset", "lean-core", "--strategy", "magic"], "magic"),
        (["prove", "--dataset", "lean-core", "-k", "0"], "-k"),
        (["prove", "theory.thy"], "theory.thy"),
        (["data", "fetch", "minif3f"], "minif3f"),
        (["sft", "nowhere", "out"], "nowhere"),
        (["selfplay", "--set", f"verify.workers={10**20}"], "verify.workers"),
        (["serve", "--tls-cert", "nosuch", "--tls-key", "nosuch"], "--tls-cert nosuch"),
    ],
)
def test_what_cannot_be_done_as_asked_is_one_line_and_exit_code_2(arguments: list[str], named: str) -> None:
    done = stp(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("stp: ")
    assert done.stderr.count("\n") == 1
    assert named in done.stderr


def test_a_folder_that_is_no_run_is_one_line_and_exit_code_3(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "stp.sqlite").write_text("not a database, and long enough to be looked at" * 99)
    for run in ("missing", "other"):
        done = stp("report", str(tmp_path / run))
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr.startswith("stp: ")
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "missing").exists()


def test_a_run_in_use_is_refused_and_named(tmp_path: Path) -> None:
    with Store(tmp_path / "stp.sqlite"):
        done = stp("selfplay", "--run", str(tmp_path))
    assert done.returncode == 3
    assert str(os.getpid()) in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_run_s_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = stp("selfplay", "--run", str(tmp_path / "file" / "run"))
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1


def test_report_prints_the_table_and_writes_the_page(tmp_path: Path) -> None:
    with Store(tmp_path / "stp.sqlite"):
        pass
    done = stp("report", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "No round" in done.stdout
    assert (tmp_path / "report.html").read_text().startswith("<!")


def test_a_reader_that_went_away_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "stp", "data", "list"], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert b"Traceback" not in done.stderr


def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-u", "-m", "stp", "data", "list"],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 3
    assert done.stderr.decode().startswith("stp: ")
    assert done.stderr.count(b"\n") == 1


def test_lists_name_what_is_there() -> None:
    assert "lean-core" in stp("data", "list").stdout
    kinds = [line.split()[0] for line in stp("toolchain", "list").stdout.splitlines()]
    assert kinds[:3] == ["embedded", "native", "isabelle"]


def test_doctor_names_every_part_and_speaks_json() -> None:
    done = stp("doctor", "--json")
    findings = json.loads(done.stdout)
    assert done.returncode == (3 if any(finding["state"] == "bad" for finding in findings) else 0)
    assert {"python", "torch", "ray", "embedded Lean", "native Lean"} <= {f["name"] for f in findings}
    assert all(finding["text"] for finding in findings)


def test_a_job_is_read_with_all_its_fields() -> None:
    value = {
        "id": "7",
        "header": "open Nat",
        "statement": STATEMENT,
        "proof": "by omega",
        "origin": "Nat.add_comm",
        "limits": {"wall_s": 2, "heartbeats": 9, "memory_mb": 99},
        "premises": True,
    }
    wanted = Job("7", "open Nat", STATEMENT, "by omega", origin="Nat.add_comm", limits=Limits(2, 9, 99))
    read = job_from_json(value, "1")
    assert read.premises
    assert (read.id, read.header, read.origin, read.limits) == (
        wanted.id,
        wanted.header,
        wanted.origin,
        wanted.limits,
    )
    assert job_from_json({"statement": STATEMENT, "proof": "rfl"}, "line").id == "line"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"statement": 3}, "statement"),
        ({"proof": None}, "proof"),
        ({"id": 3}, "id"),
        ({"header": ["open Nat"]}, "header"),
        ({"proof": "\ud800"}, "proof"),
        ({"prof": "by simp"}, "prof"),
        ({"premises": "yes"}, "premises"),
        ({"system": "coq"}, "system"),
        ({"limits": 3}, "limits"),
        ({"limits": {"wall": 3}}, "limits.wall"),
        ({"limits": {"wall_s": "3"}}, "limits.wall_s"),
        ({"limits": {"wall_s": True}}, "limits.wall_s"),
        ({"limits": {"wall_s": float("nan")}}, "limits.wall_s"),
        ({"limits": {"wall_s": float("inf")}}, "limits.wall_s"),
        ({"limits": {"heartbeats": 1.5}}, "limits.heartbeats"),
        ({"limits": {"memory_mb": 0}}, "limits.memory_mb"),
    ],
)
def test_a_wrong_field_of_a_job_is_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(UsageError, match=f"'{field}'"):
        job_from_json({"statement": STATEMENT, "proof": "by simp", **change}, "1")


@pytest.mark.parametrize("value", [None, 3, "text", [], {}, {"statement": STATEMENT}, {"proof": "rfl"}])
def test_what_is_no_job_is_refused(value: object) -> None:
    with pytest.raises(UsageError):
        job_from_json(value, "1")


def test_a_result_is_plain_json() -> None:
    premise = Premise("Nat.add_comm", "Init.Core", "∀ a b, a + b = b + a")
    value = json.loads(json.dumps(result_to_json(CheckResult("1", Verdict.PROVED, premises=(premise,)))))
    assert value["verdict"] == "proved"
    assert value["premises"][0]["name"] == "Nat.add_comm"


@pytest.mark.lean
def test_every_line_is_answered_in_its_place_also_one_that_cannot_be_read() -> None:
    lines = [
        json.dumps({"id": "good", "statement": STATEMENT, "proof": "by omega", "premises": True}).encode(),
        b"{",
        json.dumps({"id": "bad", "statement": STATEMENT, "proof": "by rfl"}).encode(),
        b"",
        json.dumps({"id": "typo", "statement": STATEMENT, "prof": "by rfl"}).encode(),
        b'{"id": "bytes", "proof": "\xff"}',
        b"[" * 100_000,
        json.dumps({"statement": STATEMENT, "proof": "Nat.add_comm a b"}).encode(),
    ]
    done = stp("verify", "--jsonl", "-", send=b"\n".join(lines))
    assert (done.returncode, done.stderr) == (0, "")
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(result["id"], result["verdict"]) for result in results] == [
        ("good", "proved"),
        ("2", "bad_statement"),
        ("bad", "rejected"),
        ("typo", "bad_statement"),
        ("6", "bad_statement"),
        ("7", "bad_statement"),
        ("8", "proved"),
    ]
    assert results[1]["reason"].startswith("line 2: ")
    assert "'prof'" in results[3]["reason"]


class Stream(subprocess.Popen[str]):
    """`stp verify --jsonl -`, open for more lines."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "stp", "verify", "--jsonl", "-"]
        super().__init__(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in background jobs
        )  # fmt: skip

    def verdict(self, proof: str) -> str:
        """The answer to a line, before the next one is sent."""
        assert self.stdin is not None
        assert self.stdout is not None
        self.stdin.write(json.dumps({"statement": STATEMENT, "proof": proof}) + "\n")
        self.stdin.flush()
        return str(json.loads(self.stdout.readline())["verdict"])


@pytest.mark.lean
def test_who_sends_a_line_and_waits_gets_the_answer() -> None:
    with Stream() as child:
        for proof, verdict in (("by omega", "proved"), ("by rfl", "rejected")):
            assert child.verdict(proof) == verdict
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(timeout=60) == 0


@pytest.mark.lean
def test_a_stream_ends_at_ctrl_c_while_more_could_come() -> None:
    with Stream() as child:
        assert child.verdict("by omega") == "proved"
        child.send_signal(signal.SIGINT)
        try:
            assert child.wait(timeout=60) == 130
        finally:
            child.kill()


@pytest.mark.lean
def test_verify_says_the_verdict_and_exits_1_when_the_answer_is_no() -> None:
    done = stp("verify", "--statement", STATEMENT, "--proof", "by rfl")
    assert done.returncode == 1
    assert done.stdout.startswith("rejected")


@pytest.mark.lean
def test_a_file_alone_is_reported_on(tmp_path: Path) -> None:
    file = tmp_path / "My.lean"
    file.write_text(
        "theorem a : 1 = 1 := rfl\nexample : 1 = 2 := by sorry\n#print axioms a\n", encoding="utf-8"
    )
    done = stp("verify", str(file))
    assert (done.returncode, done.stdout) == (1, "incomplete: it uses sorry\n")
    assert "'a' does not depend on any axioms" in done.stderr
