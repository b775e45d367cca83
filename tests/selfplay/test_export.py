"""What a run gives away: rows that others can load, cards, and no proof that is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoModelForCausalLM

from stp.datasets.tables import read_table
from stp.download import digest
from stp.errors import StoreError, UsageError
from stp.models.prompts import prompt_format
from stp.models.tiny import make_tiny
from stp.selfplay.export import Exported, export
from stp.service.schema import JobIn
from stp.settings import TinySettings, load
from stp.store.rows import Conjecture, ConjecturerExample, Evaluation, Outcome, ProverExample, proof_key
from stp.store.store import Store
from stp.syntax.lean import make_statement
from stp.types import CheckResult, Source, Statement, Verdict
from stp.verify.job import job_from_json

STYLE = prompt_format("tiny")
SMALL = TinySettings(vocabulary=300, hidden=32, layers=2, heads=4, context_tokens=96)


def statement(name: str, signature: str, source: Source = Source.DATASET, **more: Any) -> Statement:
    return make_statement(f"theorem {name} {signature}", "open Nat", source, **more)


EASY = statement("easy", "(a : Nat) : a = a")
HARD = statement("hard", "(a b : Nat) : a + b = b + a", origin="Nat.add_comm")
FALSE = statement("false", "(a : Nat) : a = 1")
HELD = statement("held", "(a : Nat) : a ≤ a")
GUESS = statement("guess", "(a b : Nat) : b + a = a + b", Source.CONJECTURE)
UNPROVED = statement("unproved", "(a : Nat) : a < 1", Source.CONJECTURE)
NEGATION = statement("negated", ": ∃ a : Nat, a ≠ 1", Source.NEGATION, parents=(FALSE.key,))


def tried(store: Store, round: int, s: Statement, **texts: tuple[Verdict, int]) -> None:
    """Attempts at a statement, `by NAME` each: what the checker said of it and how often it was sampled."""
    stage = "evaluate" if s is HELD else "attempt"
    rows = [(s.key, f"by {name}" if name != "cut" else "", count, 1) for name, (_, count) in texts.items()]
    store.add_attempts(round, stage, rows)  # type: ignore[arg-type]
    store.add_checks(
        (proof_key(s.key, text), CheckResult("", verdict))
        for (_, text, *_), (verdict, _) in zip(rows, texts.values(), strict=True)
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Round 0, and round 1 with what its prover and conjecturer are trained on."""
    folder = tmp_path / "run"
    with Store(folder / "stp.sqlite") as store:
        store.set_meta("settings", load("tiny").model_dump(mode="json"))
        store.set_meta("toolchain", "0123abcd")
        store.add_statements([EASY, HARD, FALSE], 0, "train")
        store.add_statements([HELD], 0, "test")
        store.add_statements([NEGATION], 0)
        store.add_statements([GUESS, UNPROVED], 1, "train")
        tried(
            store, 1, EASY, rfl=(Verdict.PROVED, 3), simp_all=(Verdict.PROVED, 1), wrong=(Verdict.REJECTED, 4)
        )
        tried(
            store, 1, HARD, omega=(Verdict.PROVED, 1), slow=(Verdict.TIMED_OUT, 2), cut=(Verdict.REJECTED, 9),
            crash=(Verdict.CRASHED, 1), sorry=(Verdict.INCOMPLETE, 5), native=(Verdict.CHEATED, 1),
        )  # fmt: skip
        tried(store, 1, GUESS, omega=(Verdict.PROVED, 1), wrong=(Verdict.REJECTED, 7))
        tried(store, 1, UNPROVED, wrong=(Verdict.REJECTED, 8))
        tried(store, 1, HELD, simp=(Verdict.PROVED, 1), wrong=(Verdict.REJECTED, 1))
        asked = (1, 0, 0, EASY.key, proof_key(EASY.key, "by rfl"), "Nat.lemma", "Nat.lemma : 1 = 1")
        store.add_conjectures([Conjecture(*asked, "theorem g : 1 = 1", Outcome.KEPT, GUESS.key)])
        store.add_examples(1, [
            ConjecturerExample(GUESS.key, 0, 0, 2.0),
            ProverExample(HARD.key, proof_key(HARD.key, "by omega"), 0.5),
            ProverExample(HARD.key, proof_key(HARD.key, "by slow"), 0.5),  # as no round would choose it
        ])  # fmt: skip
        for stage, stats in (("train", {"examples": 3, "loss": 1.5}), ("evaluate", {})):
            store.begin_stage(1, stage)
            store.finish_stage(1, stage, stats)
        store.add_evaluations([Evaluation(1, "lean-core", HELD.key, 2, 1, 2)])
        store.add_evaluations([Evaluation(1, "lean-core/fixed", HELD.key, 2, 2, 0)])
    make_tiny(folder / "models" / "round-1", [EASY.text, "by rfl"], SMALL, seed=0)
    return folder


def rows(out: Path, kind: str, split: str = "train") -> list[dict[str, Any]]:
    return read_table(out / "dataset" / kind / f"{split}.jsonl")


def card(path: Path) -> tuple[dict[str, Any], str]:
    _, front, body = path.read_text().split("---\n", 2)
    return yaml.safe_load(front), body


def test_rows_to_train_on_are_the_run_s_own_with_prompts_of_both_roles(run: Path, tmp_path: Path) -> None:
    done = export(run, tmp_path / "out", "jsonl", strict=False)
    assert done == Exported(
        {"sft/train": 2, "preferences/train": 3, "environment/train": 3, "environment/test": 1}, 0, 1
    )
    prover, conjecturer = rows(tmp_path / "out", "sft")
    assert prover == {
        "prompt": STYLE.prover(HARD).text, "target": "by omega", "weight": 0.5, "role": "prover",
        "round": 1, "statement": HARD.key, "proof": proof_key(HARD.key, "by omega"), "strict": False,
    }  # fmt: skip
    assert (conjecturer["role"], conjecturer["weight"]) == ("conjecturer", 2.0)
    assert conjecturer["prompt"] == STYLE.conjecturer("Nat.lemma : 1 = 1", EASY.text, "by rfl").text
    assert conjecturer["target"] == "(a b : Nat) : b + a = a + b"


def test_a_pair_is_a_proof_beside_a_text_that_is_none(run: Path, tmp_path: Path) -> None:
    """Neither what was cut or timed out nor what crashed is a failure."""
    export(run, tmp_path / "out", "jsonl", strict=False)
    found = {(row["statement"], row["chosen"], row["rejected"], row["rejected_verdict"])
             for row in rows(tmp_path / "out", "preferences")}  # fmt: skip
    assert found == {
        (EASY.key, "by rfl", "by wrong", "rejected"), (HARD.key, "by omega", "by sorry", "incomplete"),
        (GUESS.key, "by omega", "by wrong", "rejected"),
    }  # fmt: skip


def test_an_environment_row_has_the_check_that_a_proof_of_it_must_pass(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "out", "jsonl", strict=False)
    train = {row["key"]: row for row in rows(tmp_path / "out", "environment")}
    assert train.keys() == {EASY.key, HARD.key, GUESS.key}
    [held] = rows(tmp_path / "out", "environment", "test")
    assert (held["key"], held["attempts"], held["proved"]) == (HELD.key, 0, 0)
    hard = train[HARD.key]
    assert (hard["statement"], hard["header"], hard["system"]) == (HARD.text, "open Nat", "lean")
    assert (hard["attempts"], hard["proved"]) == (18, 1)
    job = job_from_json({**hard["job"], "proof": "by omega"}, "1")
    assert (job.statement, job.header, job.origin, job.strict) == (
        HARD.text,
        "open Nat",
        "Nat.add_comm",
        True,
    )
    assert job.limits.heartbeats == load("tiny").verify.heartbeats
    assert JobIn(**hard["job"], proof="by omega").statement == HARD.text


def test_nothing_held_out_is_to_train_on(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "out", "jsonl", strict=False)
    for kind in ("sft", "preferences", "environment"):
        assert HELD.key not in (tmp_path / "out" / "dataset" / kind / "train.jsonl").read_text()


def test_the_dataset_s_card_says_what_and_whence(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "out", "jsonl", strict=False)
    front, body = card(tmp_path / "out" / "dataset" / "README.md")
    assert front["license"] == "apache-2.0"
    files = {c["config_name"]: {d["split"]: d["path"] for d in c["data_files"]} for c in front["configs"]}
    assert files == {
        "sft": {"train": "sft/train.jsonl"}, "preferences": {"train": "preferences/train.jsonl"},
        "environment": {"train": "environment/train.jsonl", "test": "environment/test.jsonl"},
    }  # fmt: skip
    with Store(run / "stp.sqlite", read_only=True) as store:
        assert store.digest() in body
    assert "0123abcd" in body
    assert "not strictly" in body
    for parts in files.values():
        for path in parts.values():
            assert digest(tmp_path / "out" / "dataset" / path) in body


def test_the_model_comes_with_its_card_and_loads(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "out", "jsonl", strict=False)
    AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "model")
    front, body = card(tmp_path / "out" / "model" / "README.md")
    [measured] = front["model-index"][0]["results"]
    assert {m["type"]: m["value"] for m in measured["metrics"]} == {"pass@1": 0.5, "pass@2": 1.0}
    assert front["license"] == "apache-2.0"
    assert "| 2 | 100.0 % | 100.0 % |" in body
    assert "no proof until a checker says so" in body


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_the_hub_s_library_loads_every_kind_and_split(run: Path, tmp_path: Path, ending: str) -> None:
    datasets = pytest.importorskip("datasets")
    export(run, tmp_path / "out", ending, strict=False)
    for kind, splits in {"sft": [2], "preferences": [3], "environment": [3, 1]}.items():
        loaded = datasets.load_dataset(
            str(tmp_path / "out" / "dataset"), kind, cache_dir=str(tmp_path / "cache")
        )
        assert [loaded[name].num_rows for name in ("train", "test") if name in loaded] == splits
        if kind == "environment":
            [hard] = [row for row in loaded["train"] if row["key"] == HARD.key]
            assert JobIn(**hard["job"], proof="by omega").origin == "Nat.add_comm"


def test_what_cannot_be_exported_is_one_line_and_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="exists already"):
        export(run, run, "jsonl", strict=False)
    with pytest.raises(StoreError, match="no store there"):
        export(tmp_path / "nowhere", tmp_path / "out", "jsonl", strict=False)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"stp-prover\[export\]"):
        export(run, tmp_path / "out", "parquet", strict=False)
    with Store(tmp_path / "other" / "stp.sqlite"):
        pass
    with pytest.raises(UsageError, match="expected a run of stp selfplay"):
        export(tmp_path / "other", tmp_path / "out", "jsonl", strict=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.lean
def test_a_proof_that_the_strict_check_denies_is_left_out(run: Path, tmp_path: Path) -> None:
    """The store says `proved` of texts that prove nothing, as after a broken checker: they stay there."""
    with Store(run / "stp.sqlite") as store, store.atomic():
        settings = load("tiny", ['verify.pool="local"', "verify.workers=1"])
        store.set_meta("settings", settings.model_dump(mode="json"))
        store._write("UPDATE checks SET verdict = ?", [("proved",)])
    done = export(run, tmp_path / "out", "jsonl", strict=True)
    assert done.left_out > 0
    proofs = {row["target"] for row in rows(tmp_path / "out", "sft") if row["role"] == "prover"}
    assert proofs == {"by omega"}
    assert all(row["strict"] for row in rows(tmp_path / "out", "sft"))
    assert json.dumps(done.left_out) in (tmp_path / "out" / "dataset" / "README.md").read_text()
