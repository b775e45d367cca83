"""Plans: read whole before anything runs, and every mistake in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from stp.errors import MachineryError, SettingsError
from stp.selfplay.ablate import ablate, load_plan, planned_runs, plans
from stp.settings import Settings
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


def test_an_arm_that_fails_is_told_and_the_others_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def played(settings: Settings, folder: Path, rounds: int, tokens: int) -> None:
        """Stands for rounds of self-play, which take minutes."""
        if folder.parent.name == "stp" and settings.seed == 1:
            raise MachineryError("the loss is nan")
        if not folder.exists():
            Made((3, 6), 1000, settings.seed, settings.conjecture.mode).write(folder)

    monkeypatch.setattr("stp.selfplay.ablate.selfplay", played)
    chosen = load_plan(plan(tmp_path, PLAN))
    for _ in range(2):  # doing it again does the same
        with pytest.raises(MachineryError, match="1 of 4 runs failed: stp/seed-1"):
            ablate(chosen, tmp_path / "out")
        said = capsys.readouterr()
        assert "the loss is nan" in said.err
        assert "stp" in said.out
        assert (tmp_path / "out" / "comparison" / "results.json").is_file()
