"""Plans: read whole before anything runs, and every mistake in one line."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from stp.errors import MachineryError, SettingsError, UsageError
from stp.report.compare import write_comparison
from stp.selfplay.ablate import PlannedRun, _is_played, ablate, in_ray, load_plan, planned_runs, plans
from stp.settings import Settings
from stp.store.store import Store
from tests.report.report_values import Made

PLAN = """
rounds = 2
seeds = [0, 1]
baseline = "ei"
set = ["attempt.samples=8"]
[arms.stp]
[arms.ei]
config = "expert-iteration"
"""


def plan(folder: Path, text: str) -> str:
    (folder / "plan.toml").write_text(text)
    return str(folder / "plan.toml")


@pytest.mark.parametrize("name", plans())
def test_every_plan_that_comes_with_stp_can_be_played(name: str) -> None:
    assert planned_runs(load_plan(name))


def test_a_plan_is_every_arm_with_every_seed_one_seed_after_the_other(tmp_path: Path) -> None:
    runs = planned_runs(load_plan(plan(tmp_path, PLAN)))
    assert [str(run.folder) for run in runs] == ["stp/seed-0", "ei/seed-0", "stp/seed-1", "ei/seed-1"]
    assert {(run.settings.attempt.samples, run.settings.seed) for run in runs} == {(8, 0), (8, 1)}
    assert [run.settings.conjecture.mode for run in runs[:2]] == ["solved", "off"]


def test_a_grid_multiplies_the_arms(tmp_path: Path) -> None:
    grid = '[grid]\n"attempt.samples" = [4, 8]\n"select.reweight" = [true, false]\n'
    runs = planned_runs(load_plan(plan(tmp_path, PLAN + grid)))
    assert len(runs) == 2 * 2 * 4
    assert runs[1].arm == "stp,attempt.samples=4,select.reweight=false"
    assert runs[1].settings.attempt.samples == 4
    assert not runs[1].settings.select.reweight
    assert len({run.folder for run in runs}) == len(runs)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("rounds = 2", "rounds = 0", "rounds"),
        ("rounds = 2", "round = 2", "'round'"),
        ("seeds = [0, 1]", "seeds = []", "seeds"),
        ('baseline = "ei"', 'baseline = "grpo"', "baseline"),
        ('config = "expert-iteration"', 'konfig = "expert-iteration"', "konfig"),
        ('config = "expert-iteration"', 'config = "nowhere"', "'ei'"),
        ("attempt.samples=8", "attempt.smaples=8", "smaples"),
        ("attempt.samples=8", "attempt.samples=2", "barely provable"),
        ("[arms.stp]", "[arms.stp", "TOML"),
    ],
)
def test_a_wrong_plan_is_one_line_before_anything_runs(
    tmp_path: Path, old: str, new: str, named: str
) -> None:
    with pytest.raises(SettingsError, match=named) as caught:
        planned_runs(load_plan(plan(tmp_path, PLAN.replace(old, new))))
    assert "\n" not in str(caught.value)


def test_no_such_plan() -> None:
    with pytest.raises(SettingsError, match="smoke"):
        load_plan("nowhere.toml")


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that were played, as folders; one of them fails."""
    folders: list[str] = []

    def play(settings: Settings, folder: Path, rounds: int, tokens: int) -> None:
        """Stands for rounds of self-play, which take minutes."""
        folders.append(str(Path(folder.parent.name, folder.name)))
        if folders[-1] == "stp/seed-1":
            raise MachineryError("the loss is nan")
        Made((3, 6), 1000, settings.seed, settings.conjecture.mode).write(folder)
        with Store(folder / "stp.sqlite") as store:
            store.set_meta("settings", settings.model_dump(mode="json"))

    monkeypatch.setattr("stp.selfplay.ablate.selfplay", play)
    return folders


def test_an_arm_that_fails_is_told_and_the_others_are_compared(
    tmp_path: Path, played: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(MachineryError, match="1 of 4 runs failed: stp/seed-1"):
        ablate(load_plan(plan(tmp_path, PLAN)), tmp_path / "out", tmp_path / "records")
    said = capsys.readouterr()
    assert "stp/seed-1: the loss is nan" in said.err
    assert "stp" in said.out
    arms = json.loads((tmp_path / "records" / "results.json").read_text())["arms"]
    assert {name: arm["seeds"] for name, arm in arms.items()} == {"stp": [0], "ei": [0, 1]}


def test_records_are_enough_to_go_on_from_and_to_compare(
    tmp_path: Path, played: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    chosen, out, records = load_plan(plan(tmp_path, PLAN)), tmp_path / "out", tmp_path / "records"
    with pytest.raises(MachineryError):
        ablate(chosen, out, records)
    table = capsys.readouterr().out
    shutil.rmtree(out)
    played.clear()
    with pytest.raises(MachineryError):
        ablate(chosen, out, records)
    assert played == ["stp/seed-1"]  # the only one without a record
    paths = sorted(records.glob("*/seed-*.json"))
    assert len(paths) == 3
    assert all(path.stat().st_size < 100_000 for path in paths)
    rows = write_comparison(paths, tmp_path / "again", "ei").splitlines()[:-1]
    assert rows == table.splitlines()[-len(rows) - 1 : -1]
    earlier = json.loads(paths[0].read_text())
    del earlier["settings"]["data"]["seed_statements"]  # a record from before there was that setting
    paths[0].write_text(json.dumps(earlier))
    assert all(_is_played(run, chosen, records) for run in planned_runs(chosen) if run.arm == "ei")
    assert write_comparison(paths, tmp_path / "again", "ei").splitlines()[:-1] == rows
    more = load_plan(plan(tmp_path, PLAN.replace("rounds = 2", "rounds = 3")))
    assert not any(_is_played(run, more, records) for run in planned_runs(more))
    other = load_plan(plan(tmp_path, PLAN.replace("samples=8", "samples=9")))
    with pytest.raises(UsageError, match=r"seed-0\.json: a run with other settings"):
        ablate(other, out, records)


@pytest.mark.programs
@pytest.mark.timeout(180)
def test_runs_as_ray_tasks_end_each_by_itself(tmp_path: Path) -> None:
    runs = planned_runs(load_plan(plan(tmp_path, PLAN)), cpus=1)
    assert {(run.settings.verify.pool, run.settings.verify.workers) for run in runs} == {("local", 1)}

    def play(run: PlannedRun) -> None:
        """Stands for rounds of self-play: dies once, dies always, raises, or ends."""
        mark = tmp_path / str(run.folder).replace("/", "-")
        died = mark.exists()
        mark.touch()
        if str(run.folder) == "ei/seed-0" or (str(run.folder) == "ei/seed-1" and not died):
            os._exit(1)
        if str(run.folder) == "stp/seed-1":
            raise MachineryError("the loss is nan")

    ended = {str(run.folder): error for run, error in in_ray(play, runs, 1, 0)}
    assert ended["stp/seed-0"] is ended["ei/seed-1"] is None
    assert str(ended["stp/seed-1"]) == "the loss is nan"
    assert "lost" in str(ended["ei/seed-0"])
    assert "\n" not in str(ended["ei/seed-0"])
    with pytest.raises(UsageError, match="4000 CPUs"):
        next(in_ray(play, runs, 4000, 0))
