"""Settings: presets that extend others, and thresholds that nothing could meet."""

from __future__ import annotations

from pathlib import Path

import pytest

from stp.errors import SettingsError
from stp.settings import Settings, load, presets


@pytest.mark.parametrize("name", presets())
def test_every_preset_loads(name: str) -> None:
    assert isinstance(load(name), Settings)


def test_a_preset_that_extends_another_changes_only_what_it_says() -> None:
    tiny, expert = load("tiny").model_dump(), load("expert-iteration").model_dump()
    changed = {
        f"{section}.{key}"
        for section, keys in tiny.items()
        if isinstance(keys, dict)
        for key in keys
        if keys[key] != expert[section][key]
    }
    assert changed == {
        "conjecture.mode", "attempt.samples", "attempt.solved_pass_rate", "attempt.solved_retry_frac",
        "select.prover_pass_rate", "select.replay_rounds",
    }  # fmt: skip


def test_a_file_extends_a_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text('extends = "tiny"\n[attempt]\nsamples = 7\n')
    (tmp_path / "mine.toml").write_text('extends = "base.toml"\n[attempt]\ntemperature = 0.5\n')
    settings = load(str(tmp_path / "mine.toml"))
    assert (settings.attempt.samples, settings.attempt.temperature) == (7, 0.5)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('extends = "nowhere"', "nowhere"),
        ("extends = 3", "extends"),
        ('extends = "mine.toml"', "extends itself"),
        ("[attempt]\nsamples = 2", "barely provable"),
        ("[attempt]\nprobe_samples = 16", "probe_samples"),
        ("[attempt]\nsamples = 0", "attempt.samples"),
        ("[select]\nband_high = 0.0", "select.band_high"),
        ("[verify]\nwall_s = inf", "verify.wall_s"),
    ],
)
def test_what_cannot_be_met_is_one_line(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(SettingsError, match=named) as caught:
        load(str(tmp_path / "mine.toml"))
    assert "\n" not in str(caught.value)


def test_without_conjectures_the_band_does_not_matter() -> None:
    assert load("expert-iteration", ["attempt.samples=1"]).attempt.samples == 1
