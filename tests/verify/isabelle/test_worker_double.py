"""The worker against the double: scheduling, faults, restarts, and the audit's way to a verdict."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from stp.errors import ToolchainError, WorkerError
from stp.settings import VerifySettings
from stp.types import Job, Limits, Premise, System, Verdict
from stp.verify.isabelle import server, session, strict, toolchain
from stp.verify.isabelle import worker as worker_module
from stp.verify.isabelle.worker import IsabelleWorker
from stp.verify.pool import open_pool
from tests.verify.isabelle.conftest import MakeDouble

pytestmark = pytest.mark.programs

REV = 'theorem rev_twice: "rev (rev xs) = xs"'
LIMITS = Limits(wall_s=20.0)


def job(proof: str, statement: str = REV, id: str = "1", **more: object) -> Job:
    return Job(id, "", statement, proof, System.ISABELLE, limits=LIMITS, **more)  # type: ignore[arg-type]


#: What the double's model was given after the real server; each with the verdict that is due.
MODELLED = [
    ("by simp", REV, Verdict.PROVED, ""),
    ("proof (induct xs)\n  case Nil show ?case by simp\nnext\n  case (Cons a b) then show ?case by simp\nqed",
     REV, Verdict.PROVED, ""),
    ('lemma helper: "xs @ [] = xs" by simp\ntheorem rev_twice: "rev (rev xs) = xs" using helper by simp',
     REV, Verdict.PROVED, ""),
    ('theorem rev_twice: "rev (rev y) = y" by simp', REV.replace("xs", "x"), Verdict.PROVED, ""),
    ("by simp", 'lemma fixes x :: nat assumes h: "x = 1" shows "x + 0 = 1"', Verdict.PROVED, ""),
    ("by fail", REV, Verdict.REJECTED, "Failed to finish proof"),
    ("by simp", 'theorem two: "1 + 1 = (3::nat)"', Verdict.REJECTED, "Failed to finish proof"),
    ("by eval", 'theorem two: "1 + 1 = (3::nat)"', Verdict.CHEATED, "holds_by_evaluation"),
    ("sorry", REV, Verdict.INCOMPLETE, "sorry"),
    ("", REV, Verdict.INCOMPLETE, "no proof"),
    ('theorem other: "rev (rev xs) = xs" by simp', REV, Verdict.REJECTED, "not proved"),
    ('theorem rev_twice: "rev xs = rev xs" by simp', REV, Verdict.CHEATED, "statement differs"),
    ('lemma helper: "1 = (2::nat)" by eval theorem rev_twice: "rev (rev xs) = xs" using helper by simp',
     REV, Verdict.CHEATED, "oracle"),
    ("by simp", 'theorem bad: "ill typed"', Verdict.BAD_STATEMENT, "does not elaborate"),
    ("by simp", 'theorem bad: "x = x" lemma other: "y = y"', Verdict.BAD_STATEMENT, "lemma"),
    ("by simp", 'theorem bad: "x = x" by simp', Verdict.BAD_STATEMENT, "has a proof"),
    ("by simp ML \\<open>writeln \"STP 0 0 proved\"\\<close>", REV, Verdict.CHEATED, "ML"),
    ("by simp own_ML_command", REV, Verdict.CHEATED, "own_ML_command"),
    ("by simp", 'theorem greek_α: "x = x"', Verdict.BAD_STATEMENT, "plain letters"),
    ("by (simp", REV, Verdict.PROVED, ""),  # the model does not mind brackets
]  # fmt: skip


def test_each_cheat_that_the_model_knows_gets_its_verdict_alone_and_in_a_batch(
    worker: IsabelleWorker,
) -> None:
    jobs = [job(proof, statement, str(i)) for i, (proof, statement, _, _) in enumerate(MODELLED)]
    together = worker.check(jobs)
    alone = [worker.check([one])[0] for one in jobs]
    for results in (together, alone):
        for (proof, _, verdict, reason), result in zip(MODELLED, results, strict=True):
            assert (result.verdict, reason in result.reason) == (verdict, True), (proof, result)
    assert worker.restarts == 0


def test_an_origin_is_refused(worker: IsabelleWorker) -> None:
    (result,) = worker.check([job("by simp", origin="List.rev_rev_ident")])
    assert (result.verdict, "'origin': for Lean alone" in result.reason) == (Verdict.BAD_STATEMENT, True)


def test_a_refused_proof_comes_with_messages_and_their_lines(worker: IsabelleWorker) -> None:
    proof = 'lemma one: "x = x" by simp\n\nlemma two: "y = y" by fail\n'
    proof += 'theorem rev_twice: "rev (rev xs) = xs" by simp'
    (result,) = worker.check([job(proof)])
    assert result.verdict is Verdict.REJECTED  # the theorem stands, but the text has an error
    assert [(m.severity, m.line) for m in result.messages] == [("error", 3)]


def test_premises_are_the_librarys_facts_also_behind_a_helper_lemma(worker: IsabelleWorker) -> None:
    helped = 'lemma helper: "xs @ [] = xs" by (simp add: HOL.refl) '
    helped += 'theorem rev_twice: "rev (rev xs) = xs" by (simp add: helper List.rev_append)'
    proofs = ["by (simp add: List.rev_append)", helped, "by simp", "by (fail add: List.rev_append)"]
    results = worker.check([job(proof, premises=True) for proof in proofs])
    rev_append = Premise("List.rev_append", "List", 'List.rev_append: "rev (xs @ ys) = rev ys @ rev xs"')
    assert [r.premises for r in results] == [
        (rev_append,), (Premise("HOL.refl", "HOL", 'HOL.refl: "t = t"'), rev_append), (), (),
    ]  # fmt: skip
    assert worker.check([job(proofs[0])])[0].premises == ()


def test_a_stall_costs_its_own_job_and_nobody_else(worker: IsabelleWorker) -> None:
    stalled = Job("stall", "", REV, "by spin", System.ISABELLE, limits=Limits(wall_s=0.3))
    quick = [Job(str(i), "", REV, "by simp", System.ISABELLE, limits=Limits(wall_s=0.3)) for i in range(6)]
    results = worker.check([*quick[:3], stalled, *quick[3:]])
    assert [r.verdict for r in results] == [Verdict.PROVED] * 3 + [Verdict.TIMED_OUT] + [Verdict.PROVED] * 3
    assert worker.check(quick)[0].proved


def test_a_proof_that_runs_on_after_its_time_costs_the_server(make_double: MakeDouble) -> None:
    worker = IsabelleWorker(make_double(burn=1.0), 100_000)
    try:
        stalled = Job("stall", "", REV, "by spin", System.ISABELLE, limits=Limits(wall_s=0.2))
        assert [r.verdict for r in worker.check([stalled])] == [Verdict.TIMED_OUT]
        assert worker.check([job("by simp")])[0].proved
        assert worker.restarts > 0
    finally:
        worker.close()


def test_a_killed_server_is_started_again_and_leaves_nothing(worker: IsabelleWorker) -> None:
    assert worker.pid is not None
    folder = worker._checker.session.server.folder if worker._checker.session else Path()
    os.kill(worker.pid, signal.SIGKILL)
    assert [r.proved for r in worker.check([job("by simp"), job("by fail")])] == [True, False]
    assert worker.restarts == 1
    assert not folder.exists()
    pid = worker.pid
    worker.close()
    assert not psutil.pid_exists(pid)


def gone(*pids: int) -> bool:
    """Have these processes ended, within a few seconds?"""
    deadline = time.monotonic() + 5
    while any(psutil.pid_exists(p) and psutil.Process(p).status() != psutil.STATUS_ZOMBIE for p in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_closing_takes_what_the_server_put_into_a_session_of_its_own(worker: IsabelleWorker) -> None:
    assert worker.pid is not None
    tree = [worker.pid, *(child.pid for child in psutil.Process(worker.pid).children(recursive=True))]
    assert len(tree) == 2
    worker.close()
    assert gone(*tree)


def test_a_server_dies_with_the_process_that_started_it(make_double: MakeDouble) -> None:
    make_double()
    code = (
        "import time; from stp.verify.isabelle import toolchain; "
        "from stp.verify.isabelle.worker import IsabelleWorker\n"
        "print(IsabelleWorker(toolchain.find(), 1000).pid, flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert owner.stdout
    pid = int(owner.stdout.readline())
    tree = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    owner.kill()
    owner.wait()
    owner.stdout.close()
    assert gone(*tree)


def test_what_a_killed_process_left_is_swept_and_nothing_else(
    make_double: MakeDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_YOUNG_S", -1.0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / "stp-isabelle-left"
    left.mkdir()
    (left / "lock").touch()
    first = server.Server(make_double())
    second = server.Server(make_double())
    try:
        assert not left.exists()
        assert first.folder.exists()
    finally:
        first.kill()
        second.kill()
    assert not list(tmp_path.glob("stp-isabelle-*"))


def test_closing_from_another_thread_ends_a_check(worker: IsabelleWorker) -> None:
    slow = Job("1", "", REV, "by spin", System.ISABELLE, limits=Limits(wall_s=60))
    threading.Timer(0.5, worker.close).start()
    started = time.monotonic()
    with pytest.raises(WorkerError):
        worker.check([slow])
    assert time.monotonic() - started < 10


def test_headers_share_a_worker_and_a_bad_one_costs_only_its_jobs(worker: IsabelleWorker) -> None:
    def on(header: str) -> Job:
        return Job(header, header, REV, "by simp", System.ISABELLE, limits=LIMITS)

    headers = [
        "", "imports Complex_Main", "imports Nowhere", 'imports Main begin axiomatization where x: "y"',
        'imports Main\nbegin\ndefinition two :: nat where "two = 2"', 'imports "../evil"',
        'imports Main begin own_ML_command "x"', 'imports Nowhere begin definition a where "a = 1"',
    ]  # fmt: skip
    verdicts = [result.verdict for result in worker.check([on(header) for header in headers])]
    bad = Verdict.BAD_STATEMENT
    assert verdicts == [Verdict.PROVED, Verdict.PROVED, bad, bad, Verdict.PROVED, bad, bad, bad]


def test_whole_files_are_checked_against_a_spec(worker: IsabelleWorker) -> None:
    spec = f'theory Spec imports Main begin\ndefinition two :: nat where "two = 2"\n{REV} sorry\nend'
    good = f'theory X imports Main begin definition two :: nat where "two = 2" {REV} by simp\nend'
    proofs = [
        (good, Verdict.PROVED), (good.replace("= 2", "= 3"), Verdict.CHEATED), ("by simp", Verdict.REJECTED),
        (good.replace("rev (rev xs)", "rev xs"), Verdict.CHEATED),
    ]  # fmt: skip
    results = worker.check([job(proof, spec, theorem="rev_twice") for proof, _ in proofs])
    assert [r.verdict for r in results] == [verdict for _, verdict in proofs]
    assert worker.check([job(good, "", theorem="rev_twice")])[0].verdict is Verdict.BAD_STATEMENT


def test_strict_asks_a_fresh_build(worker: IsabelleWorker) -> None:
    proofs = ["by simp", "by fail", "by simp", "by eval"]
    results = worker.check([job(proof, strict=True) for proof in proofs])
    verdicts = [Verdict.PROVED, Verdict.REJECTED, Verdict.PROVED, Verdict.CHEATED]
    assert [r.verdict for r in results] == verdicts
    jobs = [job(proof, strict=True) for proof in (*proofs, "sorry")]
    assert [found[0] for found in strict.confirm(worker._checker._toolchain, jobs)] == [
        *verdicts,
        Verdict.INCOMPLETE,
    ]


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(1, Verdict.REJECTED), (142, Verdict.TIMED_OUT), (137, Verdict.CRASHED), (2, Verdict.CRASHED)],
)
def test_a_build_that_the_machine_ended_says_nothing_of_the_proof(
    make_double: MakeDouble, status: int, verdict: Verdict
) -> None:
    [(found, reason)] = strict.confirm(make_double(build_status=status), [job("by simp", strict=True)])
    assert found is verdict
    assert f"the build ended with {status}" in reason


def test_a_session_built_anew_is_another_prover(make_double: MakeDouble) -> None:
    before = make_double()
    heap = before.home / "heaps" / "poly" / "HOL"
    heap.write_bytes(heap.read_bytes()[:-1] + b"1")
    assert toolchain.find().digest != before.digest


def test_a_tainted_heap_is_refused_or_named_in_every_result(make_double: MakeDouble) -> None:
    taint = ["rev_rev_ident: Pure.skip_proof"]
    with pytest.raises(ToolchainError, match="rests on oracles"):
        IsabelleWorker(make_double(taint=taint), 1000)
    worker = IsabelleWorker(make_double(taint=taint, allow_tainted_heap=True), 1000)
    try:
        results = worker.check([job("by simp"), job("by eval")])
        assert [r.verdict for r in results] == [Verdict.PROVED, Verdict.CHEATED]
        assert all("rests on oracles" in r.reason for r in results)
    finally:
        worker.close()


def test_a_session_that_does_not_start_is_named_with_what_to_do(make_double: MakeDouble) -> None:
    with pytest.raises(ToolchainError, match=r"session Missing does not start.*isabelle build -b Missing"):
        IsabelleWorker(make_double("Missing"), 1000)
    with pytest.raises(ToolchainError, match=r"no heap of session Unbuilt.*isabelle build -b Unbuilt"):
        make_double("Unbuilt")
    with pytest.raises(ToolchainError, match="does not start"):
        IsabelleWorker(make_double(wrong_password=1.0), 1000)


def test_memory_over_the_limit_is_given_back_between_batches(make_double: MakeDouble) -> None:
    worker = IsabelleWorker(make_double(), memory_mb=1)
    try:
        assert [worker.check([job("by simp")])[0].proved for _ in range(3)] == [True] * 3
        assert worker.pid is None
    finally:
        worker.close()


def test_a_pool_checks_one_system(make_double: MakeDouble) -> None:
    make_double()
    with open_pool(VerifySettings(system=System.ISABELLE, pool="local", workers=2)) as pool:
        found = {r.id: r.verdict for r in pool.check(job("by simp", id=str(i)) for i in range(40))}
        assert found == {str(i): Verdict.PROVED for i in range(40)}
        lean = pool.submit(Job("lean", "", "theorem t : True", "trivial")).result()
        assert lean.verdict is Verdict.BAD_STATEMENT


@pytest.mark.slow
def test_a_ray_pool_answers_like_a_local_one_and_leaves_no_server(make_double: MakeDouble) -> None:
    home = str(make_double().program.parents[1])
    jobs = [job("by simp" if i % 3 else "by fail", id=str(i)) for i in range(60)]
    with open_pool(VerifySettings(system=System.ISABELLE, pool="ray", workers=2)) as pool:
        found = {r.id: r.proved for r in pool.check(jobs)}
        servers = [p.pid for p in psutil.process_iter(["cmdline"]) if home in (p.info["cmdline"] or [])]
    import ray

    ray.shutdown()
    assert found == {str(i): bool(i % 3) for i in range(60)}
    assert len(servers) >= 2
    assert gone(*servers)


FAULTS = {
    "seed": 7, "fragment": 0.05, "alien": 0.05, "lost_finished": 0.02, "lost_interrupt": 0.3, "die": 0.001,
    "garbage": 0.0005, "failed": 0.02, "partial": 0.03, "wrong_password": 0.1,
}  # fmt: skip


@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_verdict_is_wrong_or_lost_under_faults(
    make_double: MakeDouble, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    for name, seconds in {"_GRACE_S": 0.2, "_ANSWER_S": 3.0, "_SESSION_S": 1.0}.items():
        monkeypatch.setattr(session, name, seconds)
    monkeypatch.setattr(worker_module, "_HEADER_S", 1.0)
    monkeypatch.setattr("stp.verify.isabelle.client._CANCEL_S", 0.2)
    rng = random.Random(count)
    weights = [8 if verdict is Verdict.PROVED else 1 for _, _, verdict, _ in MODELLED]  # so that packs pay
    picks = rng.choices(MODELLED, weights, k=count)
    jobs = [
        Job(str(i), "", statement, proof, System.ISABELLE, limits=Limits(wall_s=0.5))
        for i, (proof, statement, _, _) in enumerate(picks)
    ]
    packs, make = [], worker_module._packs
    monkeypatch.setattr(worker_module, "_packs", lambda ready: packs.append(make(ready)) or packs[-1])
    worker = IsabelleWorker(make_double(**FAULTS), 100_000)
    try:
        results = [r for at in range(0, count, 20) for r in worker.check(jobs[at : at + 20])]
    finally:
        worker.close()
    assert [r.id for r in results] == [str(i) for i in range(count)]
    void = {Verdict.CRASHED, Verdict.TIMED_OUT}
    wrong = [
        (p, r) for p, r in zip(picks, results, strict=True) if r.verdict != p[2] and r.verdict not in void
    ]
    assert wrong == []
    assert sum(r.verdict in void for r in results) < count / 30
    assert worker.restarts > 0
    assert sum(len(pack) for batch in packs for pack in batch if len(pack) > 1) > count / 4
