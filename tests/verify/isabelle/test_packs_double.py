"""Packs of submissions in one theory: what may share one, what a pack may say, and when it pays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from stp.types import Job, Limits, System, Verdict
from stp.verify.isabelle import worker as worker_module
from stp.verify.isabelle.theories import Submission, TheoryBatch, make_header, prepare, results
from stp.verify.isabelle.worker import PACK, IsabelleWorker
from tests.verify.isabelle import double_model
from tests.verify.isabelle.test_worker_double import MODELLED, REV, job

pytestmark = pytest.mark.programs

#: Texts that try to end, leave open or go on behind their own part of a theory.
UNRULY = [
    "proof -", "proof - have True", "apply simp", "by simp by simp", "by simp }", "by simp qed next",
    "{ by simp", "proof - show ?thesis by simp", "proof - show ?thesis by simp qed qed",
    "by simp apply simp done",
    "using fact_0 by simp", "by simp\n\n\n.",
]  # fmt: skip


def test_what_leaves_more_behind_than_its_theorem_gets_a_theory_of_its_own() -> None:
    long = 'theorem t: fixes x :: nat assumes h: "x = 1" and "x < 2" shows "x + 0 = 1"'
    for statement, proof, plain in [
        (REV, "by simp", True),
        (long, "using h by simp", True),
        (REV, "proof (induct xs)\n  case Nil note [simp] = refl show ?case by simp\nqed", True),
        (REV, f"{REV} by simp", False),
        (REV, f"by simp\nlemmas stays = refl {REV} by simp", False),
        (REV, f'by simp lemma [simp]: "x = y" by simp {REV} by simp', False),
        (REV, 'and stays: "x = x" by simp', False),
        (REV, "[simp] by simp", False),
        (long.replace("shows", "shows stays:"), "by simp", False),
        (long.replace("shows", "shows [simp]:"), "by simp", False),
        (long.replace("h:", "h [simp]:"), "by simp", False),
        (long.replace("shows", 'shows "x = x" and'), "by simp", False),
        (long.replace("shows", "notes stays = refl shows"), "by simp", False),
        ('theorem t: obtains x where "x = (1::nat)"', "by simp", False),
        ('theorem t: "x = x" and stays: "y = y"', "by simp", False),
        ('theorem t: "x = x" if "x = x" for x', "by simp", False),
    ]:
        found = prepare(job(proof, statement), make_header(""))
        assert isinstance(found, Submission)
        assert found.plain is plain, (statement, proof)


def test_packs_change_no_verdict_whatever_else_is_in_them(
    worker: IsabelleWorker, monkeypatch: pytest.MonkeyPatch, pack_sizes: list[list[int]]
) -> None:
    honest = [(f'theorem sound_{i}: "rev [{i}, a] = [a, {i}]"', "by simp") for i in range(2 * PACK)]
    cases = [(statement, proof) for proof, statement, _, _ in MODELLED] + [(REV, proof) for proof in UNRULY]
    mixed = [case for pair in zip(honest, cases, strict=False) for case in pair] + cases[len(honest) :]
    jobs = [job(proof, statement, str(i), premises=i % 3 == 0) for i, (statement, proof) in enumerate(mixed)]
    found = {}
    for pays in (2.0, -1.0):
        monkeypatch.setattr(worker_module, "_PAYS", pays)
        found[pays] = [replace(result, times_ms={}) for result in worker.check(jobs)]
    assert found[-1.0] == found[2.0]
    assert [r.proved for r in found[-1.0][: 2 * len(honest) : 2]] == [True] * len(honest)
    assert max(map(max, pack_sizes)) == PACK
    assert worker.restarts == 0


def test_a_stall_in_a_pack_costs_its_own_job_and_nobody_else(
    worker: IsabelleWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "_PAYS", -1.0)
    proofs = ["by simp"] * 3 + ["by spin"] + ["by simp"] * 3
    jobs = [Job(str(i), "", REV, p, System.ISABELLE, limits=Limits(wall_s=0.3)) for i, p in enumerate(proofs)]
    timed_out = [result.id for result in worker.check(jobs) if result.verdict is Verdict.TIMED_OUT]
    assert timed_out == ["3"]


def test_packs_are_made_where_most_of_the_latest_jobs_were_proved(
    worker: IsabelleWorker, pack_sizes: list[list[int]]
) -> None:
    def batch(proof: str) -> list[list[int]]:
        pack_sizes.clear()
        worker.check([job(proof, id=str(i)) for i in range(2 * PACK + 1)])
        return [*pack_sizes]

    alone, packed = [1] * (2 * PACK + 1), [7, 7, 7]
    assert [batch("by simp"), batch("by simp")] == [[alone], [packed]]
    assert [batch("by fail"), batch("by fail")] == [[packed, alone], [alone]]
    worker.check([job("by simp")])
    assert pack_sizes[-1] == [1]


def packed(count: int) -> TheoryBatch:
    header = make_header("")
    ready = [prepare(job("by simp", id=str(i)), header) for i in range(count)]
    return TheoryBatch(header, [[one.hidden() for one in ready if isinstance(one, Submission)]])


def answer(batch: TheoryBatch, **of_proofs: Any) -> dict[str, Any]:
    """What a server says where all was proved, but for the theory with the proofs."""
    status = {
        "consolidated": True, "percentage": 100, "canceled": False, "running": 0, "unprocessed": 0,
        "failed": 0, "ok": True,
    }  # fmt: skip
    lines = [f"STP {batch.nonce} {i} proved" for i in range(len(batch.submissions))]
    said = {batch.check: [{"kind": "writeln", "message": line} for line in lines]}
    nodes = [
        {"theory_name": f"Draft.{name}", "status": status, "messages": said.get(name, [])}
        for name in batch.names
    ]
    nodes[1] = {**nodes[1], **of_proofs}
    return {"ok": True, "errors": [], "nodes": nodes}


@pytest.mark.parametrize(
    ("severity", "line", "failed", "proved"),
    [
        ("warning", 5, 0, [True, True, True]),
        ("error", 2, 1, [False, True, True]),
        ("error", 3, 1, [False, True, True]),
        ("error", 4, 1, [True, False, True]),
        ("error", 9, 1, [True, True, False]),  # behind the last: the theory's end
        ("error", 1, 1, [False, True, True]),
        ("error", None, 1, [False, False, False]),
        ("warning", 5, 1, [False, False, False]),  # a failure that nothing tells of
    ],
)
def test_an_error_counts_against_those_whose_it_may_be(
    severity: str, line: int | None, failed: int, proved: list[bool]
) -> None:
    batch = packed(3)
    at = {"line": line} if line else {}
    messages = [{"kind": severity, "message": "words", "pos": at}]
    status = {**answer(batch)["nodes"][1]["status"], "failed": failed, "ok": not failed}
    found = [*results(batch, answer(batch, messages=messages, status=status), "", "")]
    assert [result is not None and result.proved for result in found] == proved
    placed = [(i, m.line) for i, r in enumerate(found) if r for m in r.messages]
    assert placed == ([(1, 2)] if severity == "warning" and not failed else [])


def test_an_error_without_words_counts_beside_one_with_words() -> None:
    batch = packed(3)
    messages = [
        {"kind": "error", "message": words, "pos": {"line": line}} for words, line in [("", 2), ("words", 4)]
    ]
    status = {**answer(batch)["nodes"][1]["status"], "failed": 2, "ok": False}
    found = [*results(batch, answer(batch, messages=messages, status=status), "", "")]
    assert [result is not None for result in found] == [False, False, True]


def test_a_pack_that_did_not_come_to_its_end_says_nothing() -> None:
    batch = packed(2)
    status = {**answer(batch)["nodes"][1]["status"], "running": 1}
    assert [*results(batch, answer(batch, status=status), "", "")] == [None, None]


def facts_of(batch: TheoryBatch) -> Iterator[str]:
    """What the audit of the model says of the batch's jobs."""
    texts = batch.theories()
    header = double_model.Theory(batch.header.name)
    parents = [double_model.run(texts[name], [header]) for name in (batch.spec, *batch.proofs)]
    for message in double_model.run(texts[batch.check], parents).messages:
        yield str(message["message"]).removeprefix(f"STP {batch.nonce} ")


def test_a_proof_that_rests_on_anothers_fact_is_not_proved_in_a_pack() -> None:
    batch = packed(3)
    first, second, third = batch.submissions
    thief = replace(second, proof=f"using {first.fact} by simp")
    stolen = replace(batch, packs=[[first, thief, third]])
    theory = batch.proofs[0]
    assert [*facts_of(stolen)] == ["0 proved", f"1 refused\nfact {theory}.{first.fact}", "2 proved"]
    assert first.fact != replace(first).hidden().fact
