"""What a run may try to prove: open statements alone, and every wrong pool is one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from stp.datasets import decontaminate, lean_core, pool_file, registry, seeds
from stp.datasets.corpora import corpora
from stp.errors import UsageError
from stp.models.prompts import prompt_format
from stp.search.evaluate import proved_by_portfolio
from stp.search.sample import Prover
from stp.selfplay import hard_pool
from stp.selfplay.seeds import draw, draw_tests, fill
from stp.settings import DataSettings, load
from stp.store.store import Store
from stp.verify.pool import Pool

pytestmark = pytest.mark.lean  # statements are read from the installed Lean

TEXTS = {
    "test": "(a b c : Nat) (h : a * b = c) : c * c = a * a * (b * b)",
    "valid": "(n : Nat) : n * 0 = 0 * n * n",
}
COPY = "(a b c : Nat) (h : a * b = c) : c * c = b * b * (a * a)"


@pytest.fixture(scope="module")
def proved() -> set[str]:
    return {seed.statement.key for seed in seeds.load()}


@pytest.fixture
def benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """minif2f-goedel with one statement a side, and a second of the open one that copies the held-out one."""
    texts = [*TEXTS.items(), ("valid", COPY)]
    rows = [
        {"name": f"of_{i}", "split": split, "header": "", "formal_statement": f"theorem of_{i} {text} := by"}
        for i, (split, text) in enumerate(texts)
    ]
    file = tmp_path / registry.entries()["minif2f-goedel"].file
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("STP_DATA_DIR", str(tmp_path))
    decontaminate.held_out.cache_clear()
    yield
    decontaminate.held_out.cache_clear()


def test_no_pool_has_what_a_benchmark_states_wrongly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong, entry = "mathd_numbertheory_343", registry.entries()["minif2f-deepseek"]
    rows = [
        {"name": name, "split": "valid", "header": "", "formal_statement": f"theorem {name} {text} := by"}
        for name, text in ((wrong, "(n : Nat) : n * 7 = n + 6"), ("right", "(n : Nat) : n * 7 = n + n * 6"))
    ]
    (tmp_path / entry.file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("STP_DATA_DIR", str(tmp_path))
    [corpus] = corpora(DataSettings())
    assert wrong in entry.bad
    assert [s.name for s in corpus.open(("minif2f-deepseek",)).values() if s.origin is None] == ["right"]


@pytest.mark.usefixtures("benchmark")
def test_a_pool_has_the_open_side_of_its_benchmarks_and_no_copy_of_the_other(
    tmp_path: Path, proved: set[str]
) -> None:
    pool, copies = draw(DataSettings(statements=0, benchmarks=("minif2f-goedel",)), 0)
    assert [s.name for s in pool if s.origin is None] == ["of_1"]
    (copy,) = [copy for copy in copies.values() if copy.name == "of_2"]
    assert (copy.of, copy.same_key) == ("minif2f-goedel/of_0", False)
    assert not {s.key for s in pool} & ({s.key for s in lean_core.load("test")} | proved)

    ours = next(s for s in pool if s.origin is None)
    copied = next(key for key, copy in copies.items() if copy.name == "of_2")
    (tmp_path / "pool.txt").write_text(f"{ours.key}\n{copied}\n")
    chosen = DataSettings(pool=str(tmp_path / "pool.txt"), benchmarks=("minif2f-goedel",))
    found, left_out = draw(chosen, 0)
    assert ([s.name for s in found], [copy.name for copy in left_out.values()]) == (["of_1"], ["of_2"])
    with pytest.raises(UsageError, match=r"data\.benchmarks"):
        draw(DataSettings(pool=str(tmp_path / "pool.txt")), 0)
    (tmp_path / "pool.txt").write_text(f"{copied}\n")
    with pytest.raises(UsageError, match="nothing to prove"):
        draw(chosen, 0)


def test_a_start_from_few_proofs_leaves_the_statements_of_the_others_to_prove(
    proved: set[str], lean_pool: Pool
) -> None:
    def started(few: int) -> tuple[set[str], set[str]]:
        [corpus] = corpora(DataSettings(seed_statements=few))
        return {s.statement.key for s in corpus.seeds()[0]}, {s.key for s in corpus.unproved()[0]}

    (all_, rest), (some, open_), (fewer, _) = started(0), started(100), started(40)
    assert fewer < some < all_
    assert 90 < len(some) <= 100  # less the copies of held-out statements
    assert open_ == rest | {key for key in all_ - some if key in {s.key for s in lean_core.load("train")}}
    with Store() as store:
        settings = load("tiny", ["data.seed_statements=40", "model.base=elsewhere"])
        assert fill(store, settings, lambda: lean_pool)["seed_statements"] == len(fewer)
        assert {proof.statement for proof in store.correct_proofs(0, 0)} == fewer


def test_proofs_that_a_dataset_has_are_the_seeds_once_the_run_s_prover_accepts_them(
    tmp_path: Path, lean_pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"formal_statement": f"theorem t{i} (a b : Nat) (h : {i} * a < b) : {i} * a + 1 ≤ b := by sorry",
         "proof": given, "split": split}
        for i, given, split in (
            (2, ["omega", "rfl"], "train"), (3, ["rfl"], "train"), (4, ["omega"], "test"), (5, [], "train"),
            (6, "by\n  omega", "train"),
        )
    ]  # fmt: skip
    file = tmp_path / "own.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = load("tiny", [f"data.dataset={file}"])
    with Store() as store:
        fill(store, settings, lambda: lean_pool)
        assert [p.text.split() for p in store.correct_proofs(0, 0)] == [["by", "omega"]] * 2
        assert {s.name for s in store.statements(split="train")} == {"t3", "t5"}
    with Store() as store:
        few = load("tiny", [f"data.dataset={file}", "data.seed_statements=1"])
        assert fill(store, few, lambda: lean_pool)["seed_statements"] == 1
    file.write_text("".join(json.dumps(row) + "\n" for row in rows[1:3]))
    registry.sides.cache_clear()
    decontaminate.held_out.cache_clear()
    with Store() as store:
        assert fill(store, settings, lambda: lean_pool)["seeds"] > 1000
    assert f"{file}: none of its 1 published proofs is accepted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (DataSettings(dataset="mathlib"), "mathlib"),
        (DataSettings(benchmarks=("minif3f",)), "minif3f"),
        (DataSettings(pool="nowhere.txt"), "stp data pool"),
    ],
)
def test_what_is_not_there_is_one_line(data: DataSettings, named: str, proved: set[str]) -> None:
    with pytest.raises(UsageError, match=named) as caught:
        draw(data, 0)
    assert "\n" not in str(caught.value)


def test_the_held_out_statements_that_are_drawn_depend_on_the_seed_alone() -> None:
    few = DataSettings(held_out=20)
    assert draw_tests(few, 1) == draw_tests(few.model_copy(update={"statements": 9}), 1) != draw_tests(few, 2)


@pytest.mark.lean
def test_a_hard_pool_of_one_s_own_has_so_many_candidates_and_none_with_a_published_proof(
    tmp_path: Path, lean_pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hard_pool, "open_pools", lambda *_, **__: nullcontext(lean_pool))
    hard = "theorem {} (a b c : Nat) (h : a * b + {} < c) : a ^ 2 < c ^ 3 + b := by sorry"
    rows = [
        {"name": f"h{i}", "split": "train", "formal_statement": hard.format(f"h{i}", i)} for i in range(4)
    ]
    rows += [
        {
            "name": f"p{i}",
            "split": "train",
            "formal_statement": f"theorem p{i} (n : Nat) : n * {i} = {i} * n := by",
            "proof": [f"exact Nat.mul_comm n {i}"],
        }
        for i in range(4)
    ]
    rows += [
        {"name": "t", "split": "test", "formal_statement": "theorem t (x y : Nat) : x + y = y + x := by"}
    ]
    own, file = tmp_path / "own.jsonl", tmp_path / "pool.txt"
    own.write_text("".join(json.dumps(row) + "\n" for row in rows))
    hard_pool.build(file, load("tiny", [f"data.dataset={own}"]), 3)
    keys = pool_file.read(file)
    with Store() as store:
        begun = fill(store, load("tiny", [f"data.dataset={own}", f"data.pool={file}"]), lambda: lean_pool)
    assert (begun["pool"], begun["seed_statements"]) == (len(keys), 4)
    assert 0 < len(keys) <= 3


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_hard_pool_has_what_neither_fixed_tactics_nor_the_seed_model_prove(
    tmp_path: Path, proved: set[str], lean_pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hard_pool, "open_pools", lambda *_, **__: nullcontext(lean_pool))
    settings, file = load("tiny"), tmp_path / "made" / "pool.txt"
    hard_pool.build(file, settings, 6)
    keys = pool_file.read(file)
    assert 0 < len(keys) <= 6
    chosen, _ = draw(DataSettings(pool=str(file)), 0)
    assert [s.key for s in chosen] == keys
    prover = Prover(None, prompt_format("tiny"), lean_pool, settings.model, settings.verify)  # type: ignore[arg-type]
    assert proved_by_portfolio(prover, chosen) == set()
    assert proved_by_portfolio(prover, [next(seeds.own_statements())])
