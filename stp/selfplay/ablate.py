"""A plan: a grid of settings and seeds, each a run in a folder of its own, played one after the other or as
Ray tasks side by side.

    OUT/ARM/seed-N/             a run, as `stp selfplay` makes it
    RECORDS/ARM/seed-N.json     all that a comparison reads of it, once it is played to its end
    RECORDS/                    what `stp report --compare` makes of all records

Every arm's settings are read before the first run begins. The same command goes on where it was stopped: a
run with a record is not played again, so that records are enough to go on from and stores need not be kept.
A run that fails is told and left as it is, and the others are played all the same.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from stp.cluster import answer_of, start_ray
from stp.errors import MachineryError, SettingsError, StoreError, StpError, UsageError
from stp.report.compare import write_comparison
from stp.report.experiment import comparable, read_data, write_record
from stp.selfplay.round import selfplay
from stp.settings import Section, Settings, load, read_toml, validate_as

_LOSSES = 2


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

    @model_validator(mode="after")
    def _plays_each_run_once(self) -> Plan:
        if len({*self.seeds}) < len(self.seeds):
            raise ValueError(f"seeds: expected each once, found {list(self.seeds)}")
        if empty := [key for key, values in self.grid.items() if not values]:
            raise ValueError(f"grid: expected values of {empty[0]!r}, found none")
        return self


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run of the plan."""

    arm: str
    seed: int
    settings: Settings

    @property
    def folder(self) -> Path:
        return Path(self.arm) / f"seed-{self.seed}"

    def record(self, records: Path) -> Path:
        return records / self.arm / f"seed-{self.seed}.json"


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


def planned_runs(plan: Plan, cpus: int = 0) -> list[PlannedRun]:
    """All runs of a plan, one seed of every arm after the other: a plan cut short still compares.

    With `cpus`, each is to be a Ray task of so many cores, and keeps its checkers on them.

    Raises:
        SettingsError: an arm's settings are wrong; names the arm.
    """
    found = []
    task = [f"verify.workers={cpus}", "verify.pool=local"] if cpus else []
    for seed, (name, arm) in product(plan.seeds, plan.arms.items()):
        for values in product(*plan.grid.values()):
            cell = [f"{key}={_text(value)}" for key, value in zip(plan.grid, values, strict=True)]
            try:
                settings = load(arm.config, [*plan.set, *arm.set, *cell, *task, f"seed={seed}"])
            except SettingsError as error:
                raise SettingsError(f"arm {name!r}: {error}") from None
            found.append(PlannedRun(",".join([name, *cell]).replace("/", "_"), seed, settings))
    return found


def ablate(plan: Plan, out: Path, records: Path, cpus: int = 0, gpus: float = 0) -> None:
    """Plays every run of the plan that has no record and compares all that have one; with `cpus`, as Ray
    tasks of so many cores and `gpus` each, on a cluster whose nodes all see `out`.

    Raises:
        MachineryError: some run could not be played to its end; the others were.
        UsageError: a record is of another plan, or no node of the cluster could ever play a run.
    """
    runs = planned_runs(plan, cpus)
    todo = [run for run in runs if not _is_played(run, plan, records)]
    failed = []

    def play(run: PlannedRun) -> None:
        selfplay(run.settings, out / run.folder, plan.rounds, plan.tokens)

    with closing(in_ray(play, todo, cpus, gpus) if cpus else in_turn(play, todo)) as ended:
        for at, (run, error) in enumerate(ended, len(runs) - len(todo) + 1):
            print(f"run {at} of {len(runs)}: {run.folder}: {error or 'done'}", file=sys.stderr)
            if isinstance(error, StoreError):
                raise error  # a full disk, or another process at work here, is no fault of the arm
            if error:
                failed.append(str(run.folder))
            else:
                write_record(out / run.folder, run.record(records))
                _compare(runs, plan, records)
    if not todo:
        _compare(runs, plan, records)
    if failed:
        raise MachineryError(f"{len(failed)} of {len(runs)} runs failed: {', '.join(failed)}; see above")


def _is_played(run: PlannedRun, plan: Plan, records: Path) -> bool:
    if not run.record(records).is_file():
        return False
    data = read_data(run.record(records))
    if data.settings != comparable(run.settings.model_dump(mode="json")):
        raise UsageError(
            f"{run.record(records)}: a run with other settings than the plan's: move it away first"
        )
    return data.rounds >= plan.rounds or 0 < plan.tokens <= data.spent["tokens"][-1]


def _compare(runs: list[PlannedRun], plan: Plan, records: Path) -> None:
    """Prints what the records say, once the baseline has one."""
    done = [run for run in runs if run.record(records).is_file()]
    if baseline := next((run.arm for run in done if run.arm.split(",")[0] == plan.baseline), None):
        print(write_comparison([run.record(records) for run in done], records, baseline))


#: Each run with what went wrong in it, in the order in which they end.
Ended = Generator[tuple[PlannedRun, StpError | None]]


def in_turn(play: Callable[[PlannedRun], None], runs: list[PlannedRun]) -> Ended:
    """Plays the runs here, one after the other."""
    for run in runs:
        print(f"plays {run.folder}", file=sys.stderr)
        try:
            play(run)
            yield run, None
        except (MachineryError, UsageError) as error:
            yield run, error


def in_ray(play: Callable[[PlannedRun], None], runs: list[PlannedRun], cpus: int, gpus: float) -> Ended:
    """Plays the runs as Ray tasks. One whose process or node is lost goes on elsewhere, from its store; what
    else goes wrong in one is its own."""
    import ray

    start_ray()
    here = Path.cwd()

    def there(run: PlannedRun) -> None:
        os.chdir(here)  # paths in the settings are the driver's
        play(run)

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        sizes = "; ".join(f"{node.get('CPU', 0):g} CPUs, {node.get('GPU', 0):g} GPUs" for node in nodes)
        raise UsageError(f"a run of {cpus} CPUs and {gpus:g} GPUs fits no node: they have {sizes}")
    remote = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=_LOSSES)(there)
    tasks = {remote.remote(run): run for run in runs}
    try:
        while tasks:
            [ended], _ = ray.wait([*tasks])
            run, error = tasks.pop(ended), None
            try:
                answer_of(ended)
            except StpError as raised:
                error = raised
            except ray.exceptions.RayTaskError as raised:
                error = MachineryError(f"{raised.cause!r}")
            except ray.exceptions.RayError as lost:
                said = str(lost).strip().partition("\n")[0]
                error = MachineryError(f"its Ray task was lost {_LOSSES + 1} times: {said}")
            yield run, error
    finally:
        for task in tasks:
            ray.cancel(task, force=True)


def _text(value: Any) -> str:
    """A TOML value as an override spells it."""
    return value if isinstance(value, str) else json.dumps(value)
