"""A round of self-play with Isabelle: the tiny model, scripted samples, the double where Isabelle would be.

What the double calls proved says nothing of any theorem; it shows that the round asks, stores and trains.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from typer.testing import CliRunner

from stp.cli import app
from stp.datasets import isabelle_main
from stp.datasets.corpora import Corpus, corpora
from stp.errors import MachineryError, ToolchainError, UsageError
from stp.files import cache_dir
from stp.models import backend
from stp.models.base import Generator, Sample
from stp.models.prompts import Prompt
from stp.selfplay import seed_model
from stp.selfplay.round import Play, selfplay
from stp.settings import DataSettings, Settings, TrainSettings, VerifySettings, load
from stp.store.rows import Outcome
from stp.store.store import Store
from stp.syntax.isabelle import statement_key
from stp.types import Source, System
from stp.verify.pool import Pool, Systems, open_pool
from tests.verify.isabelle.conftest import MakeDouble

pytestmark = [pytest.mark.programs, pytest.mark.timeout(300)]

SMALL = [
    "verify.pool=local", "verify.workers=1", "data.statements=3", "data.held_out=2", "conjecture.inputs=6",
    "conjecture.samples_total=30", "conjecture.samples_per_input=5", "conjecture.trivial_lemma_frac=0",
    "conjecture.lemma_cap_frac=1",
    "conjecture.keep=3", "attempt.samples=4", "evaluate.samples=1", 'gates.trivial_tactics=["fail"]',
    "model.batch_size=16",
]  # fmt: skip
PROOF = "by (simp add: List.rev_append)"


def claims() -> Iterator[tuple[str, str]]:
    for i in range(24):
        yield f'theorem claim_{i}: "length (replicate {i} x) = {i}"', PROOF
    yield 'theorem no_claim: "1 + 1 = 3"', "by simp"


SEED = next(text for text, _ in claims() if isabelle_main.side_of(statement_key(text)) == "seed")
#: What the model writes for every input, beside a new conjecture.
OTHERS = ("no statement", SEED, ': "ill typed"', ': assumes "x = (1::nat)" shows "x + 0 = x" by simp')


class Scripted:
    """The tiny model, but for what it writes."""

    def __init__(self, model: Generator) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def generate(self, prompts: Sequence[Prompt], *, n: int, **_: object) -> list[list[Sample]]:
        return [[Sample(text, 5, True) for text in self._texts(p.text, n)] for p in prompts]

    def _texts(self, prompt: str, n: int) -> list[str]:
        if prompt.endswith("<|conjecture|>"):
            return [f': "rev (rev [{len(prompt)}, {crc32(prompt.encode())}, a]) = a"', *OTHERS][:n]
        return [PROOF if ": " in prompt else "by simp", *["by fail"] * (n - 1)]


@pytest.fixture
def settings(make_double: MakeDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a small round on the double, with a cache of its own and few claims."""
    make_double()
    cache = tmp_path / "cache"
    cache.mkdir()
    for part in ("toolchains", "lean-core"):
        (cache / part).symlink_to(cache_dir() / part)
    monkeypatch.setenv("STP_CACHE_DIR", str(cache))
    monkeypatch.setattr(isabelle_main, "claims", claims)
    monkeypatch.setattr(isabelle_main, "LEAST", 20)
    monkeypatch.setattr(seed_model, "_TRAINING", TrainSettings(epochs=0.2, batch_size=16))
    real = backend.open_generator
    monkeypatch.setattr(backend, "open_generator", lambda *given: Scripted(real(*given)))
    return load("isabelle", SMALL)


def test_a_round_asks_gates_proves_and_learns(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    selfplay(settings, folder, 1)
    with Store(folder / "stp.sqlite", read_only=True) as store:
        assert {s.system for s in store.statements()} == {System.ISABELLE}
        assert {m.name for m in store.stages() if m.round == 1 and m.finished_at} == {
            "conjecture", "gate", "attempt", "select", "train", "evaluate",
        }  # fmt: skip
        outcomes = Counter(row.outcome for row in store.conjectures(1))
        inputs = len({row.input for row in store.conjectures(1)})
        assert outcomes[Outcome.UNPARSED] == inputs
        assert outcomes[Outcome.UNCOMPILED] == 1  # the ill-typed one; its repeats are duplicates
        assert outcomes[Outcome.DUPLICATE] == inputs + 2 * (inputs - 1)
        kept = store.conjectures(1, Outcome.KEPT)
        assert len(kept) == 3
        assert outcomes[Outcome.SURPLUS] == inputs + 1 - len(kept)
        assert {row.lemma_name for row in kept} == {"List.rev_append"}
        for row in kept:
            statement = store.statement(row.statement or "")
            assert statement
            assert statement.text.startswith(f"theorem conjecture_1_{row.input}_{row.sample}: ")
        examples = store.conjecturer_texts(1)
        assert examples
        assert all(e.lemma_statement and e.seed_proof for e in examples), (
            "the lemma was used: no free example"
        )
        before = store.digest()
        assert {e.dataset for e in store.evaluations()} == {"isabelle-main", "isabelle-main/fixed"}
    for name in ("models/round-0", "models/round-1", "report.html", "metrics.jsonl"):
        assert (folder / name).exists(), name
    selfplay(settings, folder, 1)
    with Store(folder / "stp.sqlite", read_only=True) as store:
        assert store.digest() == before


@pytest.mark.slow
@pytest.mark.lean
@pytest.mark.timeout(900)
def test_two_systems_play_in_one_store(settings: Settings, tmp_path: Path, lean_pool: Pool) -> None:
    base = seed_model.seed_model(settings.model)  # by its path it is taken as it is
    both = settings.model_copy(
        update={
            "data": settings.data.model_copy(update={"dataset": "lean-core+isabelle-main"}),
            "model": settings.model.model_copy(update={"base": str(base)}),
        }
    )
    isabelle = open_pool(VerifySettings(system=System.ISABELLE, pool="local", workers=1))
    (tmp_path / "models").mkdir()
    play = Play(Store(tmp_path / "stp.sqlite"), tmp_path, both, Systems([lean_pool, isabelle]))
    try:
        play.round(0, {"seeds": play.fill, "train": play.seed_model, "evaluate": play.evaluate})
        play.round(1, play.stages())
        pool = play.store.statements(source=Source.DATASET, split="train")
        assert Counter(s.system for s in pool) == {System.LEAN: 3, System.ISABELLE: 3}
        rates = play.store.pooled_rates(1, 1)
        assert {s.key for s in pool} <= rates.keys()
        assert {e.dataset.partition("/")[0] for e in play.store.evaluations()} == {
            "lean-core",
            "isabelle-main",
        }
    finally:
        isabelle.close()


def test_without_isabelle_one_line_says_what_to_do_and_nothing_is_made(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ISABELLE_HOME")
    monkeypatch.setenv("PATH", "")
    folder = tmp_path / "run"
    done = CliRunner().invoke(app, ["selfplay", "--config", "isabelle", "--run", str(folder)])
    assert isinstance(done.exception, ToolchainError)
    assert "https://isabelle.in.tum.de" in str(done.exception)
    assert "\n" not in str(done.exception)
    assert not folder.exists()


def test_salvage_is_refused_where_lean_does_not_play(settings: Settings, tmp_path: Path) -> None:
    salvaging = settings.model_copy(
        update={"conjecture": settings.conjecture.model_copy(update={"salvage": 1})}
    )
    with pytest.raises(UsageError, match=r"conjecture\.salvage: only Lean tells"):
        selfplay(salvaging, tmp_path / "run", 1)
    assert not (tmp_path / "run").exists()


def test_claims_become_data_only_where_isabelle_proves_enough_of_them(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    [corpus] = corpora(DataSettings(dataset="isabelle-main"))
    seeds, _ = corpus.seeds()
    sides = [{s.key for s in side} for side in corpus.sides()]
    assert len({s.statement.key for s in seeds}) + sum(map(len, sides)) == 24
    assert not {s.statement.key for s in seeds} & set().union(*sides)
    assert {seed.proof for seed in seeds} == {PROOF, "by simp", "by auto", "by blast"}
    assert {p.name for seed in seeds for p in seed.premises} == {"List.rev_append"}
    monkeypatch.setattr(isabelle_main, "LEAST", 25)
    with pytest.raises(MachineryError, match=r"prove 25 of 25 .* found 24"):
        isabelle_main._make(isabelle_main._file().with_name("other.jsonl.gz"))
    assert [path.suffix for path in isabelle_main._file().parent.iterdir()] == [".gz"]


def test_corpora_are_named_with_a_plus_between_them() -> None:
    def of(names: str) -> list[Corpus]:
        return corpora(DataSettings(dataset=names))

    assert [c.system for c in of("lean-core+isabelle-main")] == [System.LEAN, System.ISABELLE]
    for wrong in ("lean-core+", "lean-core+lean-core"):
        with pytest.raises(UsageError, match="expected names with"):
            of(wrong)
    with pytest.raises(UsageError, match="expected lean-core"):
        of("coq")[0].sides()
