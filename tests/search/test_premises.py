"""The library theorems that are near a statement."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stp.datasets import lean_core
from stp.search.portfolio import Portfolio, closing
from stp.search.premises import Premises, premises_for
from stp.search.strategy import Task
from stp.syntax.lean import make_statement
from stp.types import Job, Source, Statement, System
from stp.verify.pool import Pool

FEW = {
    "List.rev_rev": "(l : List α) : l.reverse.reverse = l",
    "List.rev_append": "(l m : List α) : (l ++ m).reverse = m.reverse ++ l.reverse",
    "Nat.log_pow": "(n : Nat) : (2 ^ n).log2 = n",
    "Nat.pow_pos": "(n m : Nat) : m < (2 ^ n).log2 + m + 1",
    "Nat.add_same": "(n m : Nat) : n + m = m + n",
    "List.map_id": "(l : List α) : l.map id = l",
    "List.length_nil": "[].length = 0",
}
LOG2 = "theorem t (n : Nat) : (2 ^ (n + 1)).log2 = n + 1"


def stated(text: str, origin: str | None = None) -> Statement:
    return make_statement(text, "", Source.DATASET, origin=origin)


def test_what_shares_rare_words_comes_first_and_nothing_else_comes() -> None:
    premises = Premises(FEW)
    assert premises.nearest("(n : Nat) : (2 ^ n + 0).log2 = n", 4) == ["Nat.log_pow", "Nat.pow_pos"]
    assert premises.nearest("(n : Nat) : (2 ^ n + 0).log2 = n", 1) == ["Nat.log_pow"]
    assert premises.nearest("(n : Nat) : (2 ^ n + 0).log2 = n", 4, "Nat.log_pow") == ["Nat.pow_pos"]
    assert premises.nearest("(p : Prop) : p → p", 4) == []
    assert premises.tactic("(p : Prop) : p → p", 4) == ""


def test_equally_near_theorems_come_by_name_whatever_their_order() -> None:
    twins = {f"T.t{n}": "(l : List α) : l.twist = l" for n in range(4)} | FEW
    found = [Premises(dict(order)).nearest("x.twist", 3) for order in (twins.items(), [*twins.items()][::-1])]
    assert found == [["T.t0", "T.t1", "T.t2"]] * 2


def test_the_name_of_a_statement_tells_nothing_and_its_own_theorem_is_left_out() -> None:
    premises = Premises(FEW)
    assert (
        premises.proof(stated("theorem core_log2 (l : List α) : l.map id = l"), 1) == "by grind [List.map_id]"
    )
    own = stated("theorem t (n : Nat) : (2 ^ n).log2 = n", "Nat.log_pow")
    assert premises.proof(own, 4) == "by grind [Nat.pow_pos]"
    isabelle = replace(own, system=System.ISABELLE)
    assert premises.proof(isabelle, 4) == ""
    assert premises_for([isabelle]) is None


def test_the_portfolio_tries_them_once_and_goes_on_without_an_index() -> None:
    target = stated(LOG2)
    proof = Premises(FEW).proof(target, 16)
    assert closing(target, Premises(FEW)).count(proof) == 1
    assert closing(target) == [other for other in closing(target, Premises(FEW)) if other != proof]
    [drafts] = Portfolio(lambda _: Premises(FEW)).propose([Task(target)], 8)
    assert proof in [draft.proof for draft in drafts]


@pytest.mark.lean
def test_grind_proves_more_with_the_library_s_nearest_theorems(lean_pool: Pool) -> None:
    premises = premises_for([stated(LOG2)])
    assert premises
    target = stated(LOG2)
    proofs = ["by grind", premises.proof(target, 16)]
    jobs = [Job(proof, target.header, target.text, proof) for proof in proofs]
    assert [result.proved for result in lean_pool.check(jobs)] == [False, True]


@pytest.mark.lean
def test_a_theorem_that_grind_refuses_would_spoil_the_call_and_is_never_given(lean_pool: Pool) -> None:
    premises = premises_for([stated(LOG2)])
    assert premises
    refused = sorted(lean_core.without_pattern())
    assert refused
    assert lean_core.library().keys() >= {*refused}
    name = next(n for n in refused if "grind" not in n)
    signature = lean_core.library()[name].signature
    assert name not in premises.nearest(signature, 10_000)
    whole = Premises({n: t.signature for n, t in lean_core.library().items()})
    assert name in whole.nearest(signature, 10_000)
    target = stated("theorem t : True")
    jobs = [Job(str(names), "", target.text, f"by grind [{names}]") for names in (name, "Nat.add_comm")]
    assert [result.proved for result in lean_pool.check(jobs)] == [False, True]
