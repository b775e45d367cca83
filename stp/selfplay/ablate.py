"""A plan: a grid of settings and seeds, each a run in a folder of its own, played one after the other.

    OUT/ARM/seed-N/       a run, as `stp selfplay` makes it
    OUT/comparison/       what `stp report --compare` makes of all of them

Every arm's settings are read before the first run begins. The same command goes on where it was stopped;
a run that fails is told and left as it is, and the others are played all the same.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import Field

from stp.errors import MachineryError, SettingsError, StoreError, UsageError
from stp.report.compare import write_comparison
from stp.selfplay.round import selfplay
from stp.settings import Section, Settings, load, read_toml, validate_as


class Arm(Section):
    """One way to play: a preset or file, with `section.key=value` overrides."""

    config: str = "tiny"
    set: tuple[str, ...] = ()


class Plan(Section):
    """What is compared, and at which cost."""

    rounds: int = Field(gt=0)
    """At most; fewer where `tokens` are spent before."""
    tokens: int = Field(0, ge=0)
    """No round begins once a run has generated so many; 0: only rounds count."""
    seeds: tuple[int, ...] = Field(min_length=1)
    baseline: str
    """The arm that the others are measured against."""
    set: tuple[str, ...] = ()
    """Overrides of every arm, before its own."""
    grid: dict[str, list[Any]] = Field(default_factory=dict)
    """`section.key` and its values: every arm is played with every combination."""
    arms: dict[str, Arm] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run of the plan."""

    arm: str
    seed: int
    settings: Settings

    @property
    def folder(self) -> Path:
        return Path(self.arm) / f"seed-{self.seed}"


def plans() -> dict[str, Path]:
    """Name and file of every plan that comes with the package."""
    folder = Path(str(resources.files("stp") / "presets" / "plans"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_plan(name: str) -> Plan:
    """A plan that comes with STP or a file.

    Raises:
        SettingsError: no such plan, or a key of it or of an arm is wrong; names it.
    """
    path = plans().get(name, Path(name))
    if not path.exists():
        raise SettingsError(f"no plan or file {name!r}: plans are {', '.join(plans())}")
    plan = validate_as(Plan, read_toml(path), str(path))
    if plan.baseline not in plan.arms:
        raise SettingsError(
            f"{path}: baseline: expected one of the arms {', '.join(plan.arms)}, found {plan.baseline!r}"
        )
    return plan


def planned_runs(plan: Plan) -> list[PlannedRun]:
    """All runs of a plan, one seed of every arm after the other: a plan cut short still compares.

    Raises:
        SettingsError: an arm's settings are wrong; names the arm.
    """
    found = []
    for seed, (name, arm) in product(plan.seeds, plan.arms.items()):
        for values in product(*plan.grid.values()):
            cell = [f"{key}={_text(value)}" for key, value in zip(plan.grid, values, strict=True)]
            try:
                settings = load(arm.config, [*plan.set, *arm.set, *cell, f"seed={seed}"])
            except SettingsError as error:
                raise SettingsError(f"arm {name!r}: {error}") from None
            found.append(PlannedRun(",".join([name, *cell]).replace("/", "_"), seed, settings))
    return found


def ablate(plan: Plan, out: Path) -> None:
    """Plays every run of the plan and compares them.

    Raises:
        MachineryError: some run could not be played to its end; the others were.
    """
    runs, failed = planned_runs(plan), []
    for at, run in enumerate(runs, 1):
        print(f"run {at} of {len(runs)}: {run.folder}", file=sys.stderr)
        try:
            selfplay(run.settings, out / run.folder, plan.rounds, plan.tokens)
        except (MachineryError, UsageError) as error:
            if isinstance(error, StoreError):
                raise  # a full disk, or another process at work here, is no fault of the arm
            print(f"stp: {run.folder}: {error}", file=sys.stderr)
            failed.append(str(run.folder))
    done = [out / run.folder for run in runs if str(run.folder) not in failed]
    if done:
        baseline = next((run.arm for run in runs if run.arm.split(",")[0] == plan.baseline), plan.baseline)
        print(write_comparison(done, out / "comparison", baseline))
    if failed:
        raise MachineryError(f"{len(failed)} of {len(runs)} runs failed: {', '.join(failed)}; see above")


def _text(value: Any) -> str:
    """A TOML value as an override spells it."""
    return value if isinstance(value, str) else json.dumps(value)
