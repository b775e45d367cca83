"""Small counterexamples in Isabelle/HOL: as texts anywhere, and by the real one where there is one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from stp.selfplay.disprove import disprove, disproved
from stp.settings import load
from stp.store.store import Store
from stp.syntax.isabelle import make_statement
from stp.syntax.isabelle_refute import refutation
from stp.types import CheckResult, Job, Limits, Source, System, Verdict
from stp.verify.isabelle.theories import Submission, make_header, prepare
from stp.verify.isabelle.worker import IsabelleWorker
from stp.verify.pool import Checkers

FALSE = [
    'theorem foo: fixes n :: nat shows "n * n = n - 1"',
    'theorem foo: fixes a b :: int assumes "a < b" shows "0 < b"',
    'theorem foo: fixes xs :: "\'a list" assumes h: "xs \\<noteq> []" shows "rev xs = xs"',
    'theorem foo: fixes x y :: \'a and f :: "\'a \\<Rightarrow> \'b" assumes "f x = f y" shows "x = y"',
    'theorem foo: fixes p q :: bool assumes one: "p \\<or> q" and two: "q \\<or> p" shows three: "p"',
    'theorem foo: fixes A :: "nat set" shows "A = {}"',
    'theorem foo: "2 + 2 = (5::nat)"',
    'theorem foo: "n + 1 = (n::nat)"',
]
TRUE = [
    'theorem foo: fixes n :: nat shows "n + 0 = n"',
    'theorem foo: fixes xs :: "\'a list" shows "rev (rev xs) = xs"',
    'theorem foo: fixes f :: "nat => nat" assumes "\\<forall>x. f x = x" shows "f 3 = 3"',
    'theorem foo: "rev xs = xs"',  # false, but not for all values of what is free in it
]


def sent(statement: str) -> Job:
    found = refutation(statement)
    assert found
    return Job("1", "", *found, System.ISABELLE, limits=Limits(wall_s=60.0))


def test_what_is_fixed_is_quantified_at_its_type_and_type_variables_are_nat() -> None:
    statement, proof = refutation(FALSE[2]) or ("", "")
    claim = "\\<forall>xs::nat list. (xs \\<noteq> []) \\<longrightarrow> (rev xs = xs)"
    assert statement == f'theorem refuted: "\\<not> ({claim})"'
    assert proof.startswith('by ((rule notI, drule spec[where x="(')
    assert 'drule spec[where x="([2, 0])::nat list"], simp; fail)' in proof
    statement, _ = refutation(FALSE[3]) or ("", "")
    assert "\\<forall>x::nat. \\<forall>y::nat. \\<forall>f::nat => nat. (f x = f y)" in statement
    assert refutation(FALSE[7]) == (
        'theorem refuted: "\\<not> ((n + 1 = (n::nat)))"',
        "by ((rule notI, simp; fail))",
    )


@pytest.mark.parametrize(
    "signature",
    [
        'fixes x :: "\'a::ring" shows "x - x = x"',
        "fixes x :: 'a shows \"x = (y::'a::ring)\"",
        'fixes x :: \'a :: order shows "x < x"',
        'fixes x :: nat and y shows "x = y"',
        'fixes x shows "x = 1"',
        'fixes u :: "nat => rat" shows "u 0 = 1"',
        "fixes s :: nat shows \"s = size ''a''\"",
        'fixes f :: nat (infixl "+" 9) shows "f = 1"',
        'fixes x :: nat assumes [simp]: "x = 1" shows "x = 2"',
        'fixes x :: nat assumes "x = 1" (is "?p") shows "x = 2"',
        'fixes x :: nat defines "x == 1" shows "x = 2"',
        'fixes x :: nat notes r = refl shows "x = 2"',
        'fixes x :: nat shows "x = 1" and "x = 2"',
        'fixes x :: nat shows "x = 1" if "x = 2"',
        'assumes "x = 1" fixes x :: nat shows "x = 2"',
        'obtains x where "x = (1::nat)"',
        '"x = 1" "x = (2::nat)"',
        '"x = 1" for x :: nat',
    ],
)
def test_what_is_not_sure_to_be_contradicted_is_not_refuted(signature: str) -> None:
    assert refutation(f"theorem foo: {signature}") is None


def test_a_refutation_passes_the_screening() -> None:
    header = make_header("")
    for statement in (*FALSE, *TRUE):
        assert isinstance(prepare(sent(statement), header), Submission), statement


def test_a_disproved_statement_leaves_the_pool() -> None:
    false, true, unread = (
        make_statement(text, "", Source.DATASET, name)
        for name, text in [("false", FALSE[0]), ("true", TRUE[0]), ("unread", 'lemma "x = 1" for x')]
    )
    asked: list[Job] = []

    def check(jobs: list[Job]) -> list[CheckResult]:
        asked.extend(jobs)
        verdicts = {false.key: Verdict.PROVED}
        return [CheckResult(job.id, verdicts.get(job.id, Verdict.REJECTED)) for job in jobs]

    with Store() as store:
        store.add_statements([false, true, unread], 0, "train")
        pool = cast(Checkers, SimpleNamespace(check=check))
        assert disprove(store, pool, load("isabelle")) == {"disproved": 1}
        assert disproved(store) == {false.key}
        (negation,) = store.statements(source=Source.NEGATION)
    assert {job.id for job in asked} == {false.key, true.key}
    assert {job.system for job in asked} == {System.ISABELLE}
    assert negation.text.startswith('theorem negation_of_false: "\\<not> (\\<forall>n::nat. ')


@pytest.mark.isabelle
def test_a_real_isabelle_refutes_what_fails_for_small_values_and_nothing_else(
    isabelle: IsabelleWorker,
) -> None:
    results = isabelle.check([sent(statement) for statement in (*FALSE, *TRUE)])
    assert [result.proved for result in results] == [True] * len(FALSE) + [False] * len(TRUE)
