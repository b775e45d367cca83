"""Numbers sent to TensorBoard and Weights & Biases, the real ones, which are extras."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stp.errors import UsageError
from stp.report.report import metrics
from stp.selfplay.logs import check_logs, log_round
from stp.selfplay.round import Play, selfplay
from stp.settings import load
from stp.store.store import Store
from tests.report.report_values import add_round, begun_run


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "stp.sqlite") as store:
        begun_run(store)
        add_round(store, 1)
        yield store


def test_tensorboard_shows_each_number_of_each_round_once(store: Store, tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    stale = tmp_path / "tensorboard" / ".round-1.work"
    stale.mkdir(parents=True)
    (stale / "events.half").write_text("as a kill leaves it")
    for number in (0, 1, 1):
        log_round(store, tmp_path, ["tensorboard"], number)
    shown = reader.EventAccumulator(str(tmp_path / "tensorboard"))
    shown.Reload()
    lines = metrics(store)
    for tag in ("core/pass@K", "dataset_proved_total", "attempts"):
        expected = [(line["round"], line[tag]) for line in lines if line[tag] is not None]
        assert [(e.step, pytest.approx(e.value)) for e in shown.Scalars(tag)] == expected
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2


def test_weights_and_biases_gets_them_too(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    log_round(store, tmp_path, ["wandb"], 1)
    [kept] = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    deadline = time.monotonic() + 60
    while b"core/pass@K" not in kept.read_bytes():  # its service writes a little later
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_logging_is_a_stage_of_each_round_where_it_is_asked_for(tmp_path: Path) -> None:
    with Store() as store:
        plain, asked = (
            Play(store, tmp_path, load("tiny", overrides))
            for overrides in ([], ['report.logs=["tensorboard"]'])
        )
        assert "log" not in {**plain.first_stages(), **plain.stages()}
        assert [*asked.first_stages()][-1] == [*asked.stages()][-1] == "log"


def test_a_log_that_is_not_installed_is_said_before_anything_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tensorboard", "wandb"):
        monkeypatch.setattr("stp.selfplay.logs.find_spec", lambda _: None)
        with pytest.raises(UsageError, match=rf"{name} is not installed.*stp-prover\[logs\]"):
            check_logs([name])
        with pytest.raises(UsageError, match=r"report\.logs"):
            selfplay(load("tiny", [f'report.logs=["{name}"]']), tmp_path / "run", 1)
    assert not (tmp_path / "run").exists()
