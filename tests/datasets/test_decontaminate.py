"""Overlap with the training corpus: by key whatever names say, by n-grams where texts were changed."""

from __future__ import annotations

from stp.datasets.decontaminate import Corpus
from stp.syntax.lean import make_statement
from stp.types import Source, Statement

SUM = "(x y z : Nat) (h : x + y = z) (k : y * x < z * z) : x * (y + z) = x * y + x * z"


def statement(text: str) -> Statement:
    return make_statement(text, "", Source.DATASET)


CORPUS = Corpus.of([statement(f"theorem seen {SUM}"), statement("theorem short (n : Nat) : n = n")])


def test_a_renamed_copy_has_the_same_key() -> None:
    (found,) = CORPUS.overlaps([statement(f"theorem other {SUM.replace('x', 'a').replace('h :', 'hyp :')}")])
    assert (found.name, found.same_key) == ("other", True)


def test_a_copy_with_one_more_hypothesis_is_found_by_its_n_grams() -> None:
    extended = SUM.replace("(k :", "(positive : 0 < x) (k :")
    (found,) = CORPUS.overlaps([statement(f"theorem longer {extended}")])
    assert not found.same_key
    assert 0.6 <= found.shared_frac < 1


def test_what_only_looks_alike_is_left_alone() -> None:
    others = [
        "theorem a (n : Nat) (h : n % 2 = 1) : ∃ k, n = 2 * k + 1",
        "theorem b (l m : List Nat) : (l ++ m).length = l.length + m.length",
    ]
    assert CORPUS.overlaps(map(statement, others)) == []
