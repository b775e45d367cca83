"""What a run goes on with: the settings that it began with, wherever its work is done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stp.errors import UsageError
from stp.selfplay.folder import make_folder, settle
from stp.settings import PLACEMENT, Settings, load
from stp.store.store import Store


def test_where_the_work_is_done_may_change_and_nothing_else(tmp_path: Path) -> None:
    make_folder(tmp_path)
    with Store(tmp_path / "stp.sqlite") as store:
        settle(store, tmp_path, load())
        moved = load(overrides=["model.replicas=4", "train.tokens_per_pass=512", "verify.workers=64"])
        settle(store, tmp_path, moved)
        assert json.loads((tmp_path / "settings.json").read_text())["model"]["replicas"] == 4
        for change in ("attempt.samples=8", "train.lora_rank=4", "seed=1"):
            with pytest.raises(UsageError, match=rf"{change.partition('=')[0]}: began with .*, now"):
                settle(store, tmp_path, load(overrides=[change]))
        settle(store, tmp_path, moved)


def test_a_run_from_before_a_setting_goes_on_with_its_default(tmp_path: Path) -> None:
    began = load().model_dump(mode="json")
    del began["data"]["seed_statements"]
    make_folder(tmp_path)
    with Store(tmp_path / "stp.sqlite") as store:
        store.set_meta("settings", began)
        settle(store, tmp_path, load())
        store.set_meta("settings", began)
        with pytest.raises(UsageError, match=r"seed_statements: began with 0, now 9"):
            settle(store, tmp_path, load(overrides=["data.seed_statements=9"]))
        store.set_meta("settings", {"models": 3})
        with pytest.raises(UsageError, match=r"data\.dataset: began with None"):
            settle(store, tmp_path, load())


def test_every_such_key_is_one() -> None:
    values = Settings().model_dump()
    for key in PLACEMENT:
        section, _, name = key.partition(".")
        assert name in values[section]
