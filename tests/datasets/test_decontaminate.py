"""Copies of held-out statements: by key whatever names say, by n-grams where texts were changed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stp.datasets import decontaminate, lean_core, registry, seeds
from stp.datasets.corpora import corpora
from stp.datasets.decontaminate import RESEMBLANCE, Index
from stp.errors import UsageError
from stp.settings import DataSettings
from tests.theorems import theorem

SUM = "(x y z : Nat) (h : x + y = z) (k : y * x < z * z) : x * (y + z) = x * y + x * z"


SEEN = [theorem(f"theorem seen {SUM}"), theorem("theorem short (n : Nat) : n = n")]
INDEX = Index((s.name, s) for s in SEEN)


def test_a_renamed_copy_has_the_same_key() -> None:
    found = INDEX.copy(theorem(f"theorem other {SUM.replace('x', 'a').replace('h :', 'hyp :')}"))
    assert found
    assert (found.name, found.of, found.same_key) == ("other", "seen", True)


@pytest.mark.parametrize(
    ("old", "new"),
    [("(k :", "(positive : 0 < x) (k :"), ("x + y = z", "y + x = z"), ("= x * y + x * z", "= x * z + x * y")],
)
def test_a_copy_that_was_extended_or_mirrored_is_found_by_its_n_grams(old: str, new: str) -> None:
    found = INDEX.copy(theorem(f"theorem changed {SUM.replace(old, new)}"))
    assert found
    assert not found.same_key
    assert RESEMBLANCE <= found.resemblance <= 1


@pytest.mark.parametrize(
    "text",
    [
        "theorem a (n : Nat) (h : n % 2 = 1) : ∃ k, n = 2 * k + 1",
        "theorem b (l m : List Nat) : (l ++ m).length = l.length + m.length",
        "theorem c (x y z : Nat) (h : x + y = z) (k : y * x < z * z) : x ≤ z",
        "theorem d (n : Int) : n = n",
    ],
)
def test_what_only_looks_alike_is_left_alone(text: str) -> None:
    assert INDEX.copy(theorem(text)) is None


@pytest.mark.lean
def test_looking_at_rare_n_grams_alone_misses_no_copy() -> None:
    index, asked = decontaminate.held_out().index, lean_core.load("train")[:100]
    tests = [(s, decontaminate._grams(s)) for s in lean_core.load("test")]
    expected = {
        s.key
        for s in asked
        if (grams := decontaminate._grams(s))
        and any(len(grams & other) >= RESEMBLANCE * len(grams | other) for _, other in tests)
    }
    assert index.copies(asked).keys() == expected
    assert expected


def test_many_statements_together_make_no_copy() -> None:
    hypotheses, conclusion = SUM.split(" : x * (y")
    halves = [f"theorem a {hypotheses} : x ≤ z", f"theorem b (x y z : Nat) : x * (y{conclusion}"]
    index = Index((text[8:9], theorem(text)) for text in halves)
    assert index.copy(SEEN[0]) is None


@pytest.fixture
def benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a benchmark of one test and one valid statement, and no other."""
    texts = {"test": SUM, "valid": "(n : Nat) : n * 0 = 0"}
    rows = [
        {"name": f"of_{s}", "split": s, "header": "", "formal_statement": f"theorem of_{s} {text} := by"}
        for s, text in texts.items()
    ]
    file = tmp_path / registry.entries()["minif2f-goedel"].file
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("STP_DATA_DIR", str(tmp_path))
    decontaminate.held_out.cache_clear()
    yield tmp_path
    decontaminate.held_out.cache_clear()


@pytest.mark.lean
def test_held_out_are_the_test_side_and_the_benchmarks_that_are_here_but_for_their_open_sides(
    benchmark: Path,
) -> None:
    held_out = decontaminate.held_out()
    tests = lean_core.load("test")
    assert held_out.sizes["lean-core"] == len(tests)
    assert held_out.sizes["minif2f-goedel"] == 1
    assert "leanworkbook" in held_out.absent
    given = [SEEN[0], tests[0], theorem("theorem n (n : Nat) : n * 0 = 0")]
    clean, copies = held_out.clean(given)
    assert clean == given[2:]
    assert [copies[s.key].of for s in given[:2]] == ["minif2f-goedel/of_test", f"lean-core/{tests[0].name}"]


@pytest.mark.lean
@pytest.mark.parametrize("name", ["leanworkbook", "own.jsonl"])
def test_of_a_corpus_to_train_on_one_side_is_held_out_and_its_copies_leave_the_other(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def row(i: int, text: str) -> dict[str, str]:
        return {
            "formal_statement": f"theorem t{i} {text} := by sorry",
            "split": "test" if i == 0 else "train",
        }

    rows = [row(0, SUM), row(1, SUM.replace("x + y = z", "y + x = z")), row(2, "(n : Nat) : n * 0 = 0")]
    file = tmp_path / (registry.entries()["leanworkbook"].file if name == "leanworkbook" else name)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("STP_DATA_DIR", str(tmp_path))
    dataset = name if name == "leanworkbook" else str(file)
    try:
        for cached in (decontaminate.held_out, registry.sides):
            cached.cache_clear()
        [corpus] = corpora(DataSettings(dataset=dataset))
        with pytest.raises(UsageError, match=r"data\.dataset: expected at most one for each system"):
            corpora(DataSettings(dataset=f"{dataset}+lean-core"))
        assert decontaminate.held_out(dataset).sizes[dataset] == 1
        assert [s.name for s in corpus.train()] == ["t2"]
        pool, copies = corpus.unproved()
        assert ([s.name for s in pool], [copy.of for copy in copies.values()]) == (["t2"], [f"{dataset}/t0"])
    finally:
        for cached in (decontaminate.held_out, registry.sides):
            cached.cache_clear()


@pytest.mark.lean
def test_the_seed_corpus_has_copies_and_is_cleaned_of_all_their_proofs() -> None:
    corpus = seeds.load()
    kept, copies = decontaminate.held_out().clean_proofs(corpus)
    left_out = [seed for seed in corpus if seed.statement.key in copies]
    assert 0 < len(copies) < 30
    assert len(kept) + len(left_out) == len(corpus)
    assert not copies.keys() & {seed.statement.key for seed in kept}


@pytest.mark.lean
def test_a_question_takes_a_few_milliseconds() -> None:
    index, asked = decontaminate.held_out().index, lean_core.load("train")[:300]
    index.copies(asked[:10])
    began = time.process_time()
    index.copies(asked)
    assert (time.process_time() - began) / len(asked) < 0.01
