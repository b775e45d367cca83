"""What the checker accepts and refuses, by the real Lean; every refusal for the expected reason."""

from __future__ import annotations

import pytest

from stp.syntax.goals import goals_in
from stp.types import CheckResult, Job, Limits, Verdict
from stp.verify.lean import toolchain
from stp.verify.lean.process import LeanProcess, ProcessDiedError
from stp.verify.lean.worker import LeanWorker
from stp.verify.pool import Pool

pytestmark = pytest.mark.lean

COMM = "theorem foo (a b : Nat) : a + b = b + a"
FALSE = "theorem foo : (2 : Nat) + 2 = 5"


def check(pool: Pool, statement: str, proof: str, **options: object) -> CheckResult:
    return pool.submit(Job("job", options.pop("header", ""), statement, proof, **options)).result()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("statement", "proof"),
    [
        (COMM, "by omega"),
        (COMM, "Nat.add_comm a b"),
        (COMM, "by\n  induction a with\n  | zero => simp\n  | succ n ih => omega"),
        (COMM, 'by\n  -- sorry, axiom, #eval\n  have sorry_free : "sorry" = "sorry" := rfl\n  omega'),
        ("theorem foo.{u} {α : Type u} (l : List α) : (l ++ []) = l", "by simp"),
        ("theorem foo : 2 ^ 10 = 1024", "by decide +kernel"),
        ("theorem foo (p : Prop) (h : ¬¬p) : p", "Classical.byContradiction h"),
        (
            "theorem foo (n : Nat) : n < n + 1",
            "go n\nwhere go : (n : Nat) → n < n + 1\n  | 0 => by decide\n  | n + 1 => by omega",
        ),
        (
            "theorem foo (x y : Nat) (h : x = y) : y = x",
            "by\n  set_option maxRecDepth 2000 in\n  exact h.symm",
        ),
    ],
)
def test_an_honest_proof_is_proved(lean_pool: Pool, statement: str, proof: str) -> None:
    result = check(lean_pool, statement, proof)
    assert result.verdict is Verdict.PROVED, (result.reason, result.messages)


@pytest.mark.parametrize(
    ("statement", "proof", "verdict", "reason"),
    [
        (FALSE, "by sorry", Verdict.INCOMPLETE, "sorry"),
        (FALSE, "sorryAx _ false", Verdict.INCOMPLETE, "sorry"),
        (FALSE, "by omega", Verdict.REJECTED, "error"),
        (FALSE, "by simp at", Verdict.REJECTED, "parse"),
        (FALSE, "", Verdict.REJECTED, "empty"),
        (FALSE, "by trivial\n\naxiom cheat : False", Verdict.CHEATED, "second command"),
        (COMM, "by omega\n#eval 1", Verdict.CHEATED, "second command"),
        (COMM, "by omega\nend", Verdict.CHEATED, "second command"),
        (FALSE, "by native_decide", Verdict.CHEATED, "nativeDecide"),
        (FALSE, "by\n  set_option debug.skipKernelTC true in\n  decide", Verdict.CHEATED, "skipKernelTC"),
        (FALSE, "by\n  set_option maxHeartbeats 0 in\n  decide", Verdict.CHEATED, "maxHeartbeats"),
        ("theorem foo : True", "unsafe trivial", Verdict.CHEATED, "unsafe"),
        ("theorem foo : True", "go\nwhere @[simp] go : True := trivial", Verdict.CHEATED, "attr"),
        ("theorem foo : False", "lcProof", Verdict.REJECTED, "lcProof"),
        ("theorem foo : True", "Lean.trustCompiler", Verdict.CHEATED, "trustCompiler"),
    ],
)
def test_a_cheat_is_refused_for_its_reason(
    lean_pool: Pool, statement: str, proof: str, verdict: Verdict, reason: str
) -> None:
    result = check(lean_pool, statement, proof)
    assert result.verdict is verdict, (result.reason, result.messages)
    assert reason in result.reason + "".join(map(str, result.messages))


@pytest.mark.parametrize(
    "statement",
    [
        "theorem foo (a : Nat) : a + c = a",
        "theorem foo (a : Nat) : a +",
        "def foo : Nat",
        "theorem Nat.add_comm (a b : Nat) : a + b = b + a",
        "theorem foo : (sorry : Prop)",
        "theorem foo : True := trivial\ntheorem bar : True",
        "@[simp] theorem foo : True",
    ],
)
def test_a_statement_that_does_not_stand_alone_is_bad(lean_pool: Pool, statement: str) -> None:
    assert check(lean_pool, statement, "by trivial").verdict is Verdict.BAD_STATEMENT


def test_a_proof_that_uses_the_theorem_it_restates_does_not_count(lean_pool: Pool) -> None:
    by_itself = check(lean_pool, COMM, "Nat.add_comm a b", origin="Nat.add_comm")
    assert by_itself.verdict is Verdict.REJECTED
    assert "Nat.add_comm" in by_itself.reason
    assert check(lean_pool, COMM, "by omega", origin="Nat.add_comm").verdict is Verdict.PROVED


def test_simp_and_grind_do_not_find_the_theorem_that_a_statement_restates(lean_pool: Pool) -> None:
    statement = "theorem foo (m n : Nat) : m * n % n = 0"
    for proof in ("by simp", "by grind"):
        hidden = check(lean_pool, statement, proof, origin="Nat.mul_mod_left")
        assert hidden.verdict is Verdict.REJECTED
        assert "gives the statement away" not in hidden.reason
    assert check(lean_pool, statement, "by simp").proved


def test_a_deep_search_does_not_end_the_checker(lean_pool: Pool) -> None:
    statement = (
        "theorem foo.{u} {α : Type u} {l : List α} {sep : α} {i : Nat} :"
        " (List.intersperse sep l)[2 * i]? = l[i]?"
    )
    proof = "by induction l generalizing i <;> grind"
    result = check(
        lean_pool, statement, proof, origin="List.getElem?_intersperse_two_mul", limits=Limits(60, 40_000)
    )
    assert result.verdict is Verdict.PROVED, result.reason


def test_heartbeats_bound_a_search_and_the_verdict_says_so(lean_pool: Pool) -> None:
    hard = "theorem foo (f : Nat → Nat) (h : ∀ x, f x = f (x + 1)) : f 0 = f 100"
    result = check(lean_pool, hard, "by simp [h]", limits=Limits(60, 500))
    assert result.verdict in (Verdict.TIMED_OUT, Verdict.REJECTED)
    assert result.heartbeats < 5_000


def test_premises_come_with_module_and_statement(lean_pool: Pool) -> None:
    result = check(lean_pool, COMM, "by rw [Nat.add_comm]", premises=True)
    found = {premise.name: premise for premise in result.premises}
    assert found["Nat.add_comm"].module == "Init.Data.Nat.Basic"
    assert found["Nat.add_comm"].statement.endswith(": n + m = m + n")


def test_nothing_leaks_from_one_job_to_the_next(lean_pool: Pool) -> None:
    assert check(lean_pool, "theorem foo : True", "trivial").proved
    assert check(lean_pool, "theorem bar : True", "foo").verdict is Verdict.REJECTED
    header = "abbrev ℕ := Nat\nopen Nat\n"
    assert check(lean_pool, "theorem foo (a : ℕ) : a = a", "rfl", header=header).proved
    assert check(lean_pool, "theorem foo (a : ℕ) : a = a", "rfl").verdict is Verdict.BAD_STATEMENT


def test_what_is_remembered_is_of_the_same_texts(lean_pool: Pool) -> None:
    """Statements, headers and specs that were elaborated are kept by their texts; of more than are kept the
    older ones are elaborated again."""
    one, two = "def c : Nat := 1\n", "def c : Nat := 2\n"

    def look(round_: int) -> None:
        assert check(lean_pool, "theorem foo : c = 1", "rfl", header=one).proved
        assert check(lean_pool, "theorem foo : c = 1", "rfl", header=two).verdict is Verdict.REJECTED
        assert check(lean_pool, "theorem foo : c = 2", "rfl", header=two).proved
        for spec, name, verdict in (
            (one, "foo", Verdict.PROVED), (one, "bar", Verdict.CHEATED), (two, "foo", Verdict.REJECTED),
        ):  # fmt: skip
            stated = f"{spec}theorem foo : c = 1 := sorry\ntheorem bar : c = 2 := sorry\n"
            job = Job(f"{round_}", "", stated, f"{spec}theorem {name} : c = 1 := rfl", theorem=name)
            [result] = lean_pool.check([job])
            assert result.verdict is verdict, (spec, name, result)
        assert check(lean_pool, COMM, "Nat.add_comm a b").proved
        assert not check(lean_pool, COMM, "Nat.add_comm a b", origin="Nat.add_comm").proved

    look(0)
    look(1)
    others = [Job(f"{i}", "", f"theorem foo : {i} = {i}", "rfl") for i in range(600)]
    assert {result.verdict for result in lean_pool.check(others)} == {Verdict.PROVED}
    look(2)


def test_headers_share_what_they_import() -> None:
    """An import takes 80 MB that Lean never gives back: of 2 GiB, some twenty headers' worth. Then it would
    end, and be started again."""
    names = [f"N{n}" for n in range(25)]
    jobs = [Job(n, f"abbrev {n} := Nat\n", f"theorem foo (a : {n}) : a = a", "rfl") for n in names]
    failing = [Job(n, f"axiom {n} : Nope\n", COMM, "by omega") for n in names]
    file = Job("file", "", "theorem foo : True := sorry", "theorem foo : True := trivial", theorem="foo")
    worker = LeanWorker(toolchain.find("embedded"), memory_mb=8192)
    try:
        before = worker.check([file, jobs[0]]) and worker._process and worker._process.memory_mb()
        assert {result.verdict for result in worker.check(jobs)} == {Verdict.PROVED}
        refused = worker.check(failing)
        assert {result.verdict for result in refused} == {Verdict.BAD_STATEMENT}
        assert {result.messages[0].text.splitlines()[0] for result in refused} == {
            "Unknown identifier `Nope`"
        }
        assert worker.restarts == 0
        assert before
        assert worker._process
        assert worker._process.memory_mb() < before + 500
    finally:
        worker.close()


def test_a_header_is_checked_with_the_proof_that_uses_it(lean_pool: Pool) -> None:
    """Its definitions, types and theorems go through the kernel again, strictly in both processes."""
    header = (
        "inductive Tree (α : Type) | leaf | node (l : Tree α) (a : α) (r : Tree α)\n"
        "def Tree.size {α : Type} : Tree α → Nat\n  | leaf => 1\n  | node l _ r => l.size + r.size + 1\n"
        "theorem Tree.pos {α : Type} (t : Tree α) : 0 < t.size := by cases t <;> simp [size]\n"
        "class Sized (α : Type) where\n  size : α → Nat\n  small : ∀ a, size a < 9 := by decide\n"
        "instance : Sized Bool where size _ := 3\n"
        "open Tree\nvariable {α : Type}\n"
    )
    for statement, proof in (
        ("theorem foo (t : Tree α) : size t ≠ 0", "by have := pos t; omega"),
        ("theorem foo (b : Bool) : Sized.size b < 9", "Sized.small b"),
        ("theorem foo (b : Bool) : Sized.size b = 3", "rfl"),
    ):
        for strict in (False, True):
            result = check(lean_pool, statement, proof, header=header, strict=strict)
            assert result.proved, result


def test_what_was_left_in_a_pipe_answers_no_later_job(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = LeanWorker(toolchain.find("embedded"), 4096)
    true, false = (
        Job("x", "", "theorem foo : True", "trivial"),
        Job("x", "", "theorem foo : 2 + 2 = 5", "rfl"),
    )
    assert worker._process
    worker._process.send({"id": "x", "statement": true.statement, "proof": true.proof})
    found = [result.verdict for result in worker.check([false])]
    restarts = worker.restarts

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(worker, "_result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        worker.check([true, true])
    pid = worker.pid
    worker.close()
    assert (found, restarts, pid) == ([Verdict.REJECTED], 1, None)


def test_a_reply_that_nests_too_deep_is_a_broken_protocol() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    process = LeanProcess.__new__(LeanProcess)
    process._frame, process._scanned, process._outgoing = b"STP1 ", 0, bytearray()
    process._incoming = bytearray(b"STP1 " + b"[" * 100_000 + b"]" * 100_000 + b"\n")
    with pytest.raises(ProcessDiedError, match="unreadable reply"):
        process.receive(0.0)
    with pytest.raises(ProcessDiedError, match="nests too deep"):
        process.send(deep)


def test_what_only_would_end_the_checker_is_not_sent(lean_pool: Pool) -> None:
    for proof in ("(" * 4000 + "trivial" + ")" * 4000, "by omega\0", "\ud800", "x" * 2_000_000):
        assert check(lean_pool, COMM, proof).verdict is Verdict.REJECTED


def test_a_failed_proof_tells_its_open_goals_and_where(lean_pool: Pool) -> None:
    proof = "by\n  constructor\n  · exact hp\n  · skip"
    result = check(lean_pool, "theorem foo (p q : Prop) (hp : p) : p ∧ q", proof)
    [goal] = result.goals
    assert (goal.line, goal.column, goal.end_column) == (4, 2, 8)
    assert goal.text == "case right\np q : Prop\nhp : p\n⊢ q"


def test_an_open_goal_can_be_said_again(lean_pool: Pool) -> None:
    result = check(
        lean_pool, "theorem foo (xs : Array Nat) : xs.toList.length = xs.size", "by cases xs; skip"
    )
    [goal] = goals_in(result.goals[0].text)
    assert ": Array Nat" in goal.target
    assert check(lean_pool, goal.statement, "by rfl").verdict is Verdict.PROVED


def test_what_elaborates_tells_its_warnings_too(lean_pool: Pool) -> None:
    [message] = check(lean_pool, "theorem foo : True", "by sorry").messages
    assert (message.severity, message.line, message.column) == ("warning", 1, 8)


def test_a_long_error_message_is_cut_and_not_fatal(lean_pool: Pool) -> None:
    result = check(
        lean_pool, "theorem foo (x y n : Nat) (l : x < 2 ^ n) (r : y < 2 ^ n) : x ||| y < 2 ^ n", "by grind"
    )
    assert result.verdict is Verdict.REJECTED
    assert len(result.messages[0].text) == 2000


def test_everything_not_proposition_or_theorem_that_the_library_assumes_is_denied(lean_pool: Pool) -> None:
    for name in ("Lean.ofReduceBool", "Lean.ofReduceNat"):
        result = check(lean_pool, "theorem foo : True", f"(fun _ => trivial) @{name}")
        assert result.verdict is Verdict.CHEATED, name
