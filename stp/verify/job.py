"""Jobs and results as JSON: what `stp verify --jsonl` reads and writes."""

from __future__ import annotations

import dataclasses
from typing import Any

from stp.errors import UsageError
from stp.types import CheckResult, Job, Limits, Message, Premise, System, Verdict

_TEXTS = ("id", "header", "statement", "proof", "origin", "theorem")
_FLAGS = ("premises", "strict")
_LIMITS: dict[str, type] = {"wall_s": float, "heartbeats": int, "memory_mb": int}
_MOST = 10**9
_FIELDS = frozenset({*_TEXTS, *_FLAGS, "system", "limits"})


def job_from_json(value: Any, default_id: str, default_system: System = System.LEAN) -> Job:
    """A job from a parsed JSON object.

    Raises:
        UsageError: names the field, what was expected there and what was found.
    """
    if not isinstance(value, dict):
        raise UsageError(f"expected an object with statement and proof, found {type(value).__name__}")
    unknown = sorted(value.keys() - _FIELDS)
    if unknown:
        raise UsageError(f"field {unknown[0]!r}: unknown; known are {', '.join(sorted(_FIELDS))}")
    for name in ("statement", "proof"):
        if name not in value:
            raise UsageError(f"field {name!r}: expected a text, found nothing")
    for name in _TEXTS:
        if name in value and not _is_text(value[name]):
            raise UsageError(f"field {name!r}: expected a text, found {value[name]!r}")
    system = value.get("system", default_system)
    if system not in list(System):
        raise UsageError(f"field 'system': expected {' or '.join(System)}, found {system!r}")
    for name in _FLAGS:
        if not isinstance(value.get(name, False), bool):
            raise UsageError(f"field {name!r}: expected true or false, found {value[name]!r}")
    return Job(
        id=value.get("id", default_id),
        header=value.get("header", ""),
        statement=value["statement"],
        proof=value["proof"],
        system=System(system),
        origin=value.get("origin"),
        limits=_limits(value.get("limits", {})),
        premises=value.get("premises", False),
        strict=value.get("strict", False),
        theorem=value.get("theorem"),
    )


def job_to_json(job: Job) -> dict[str, Any]:
    """A plain object from which `job_from_json` makes the job again."""
    return {name: value for name, value in dataclasses.asdict(job).items() if value is not None}


def result_to_json(result: CheckResult) -> dict[str, Any]:
    """A plain object with the fields of `CheckResult` and its open goals."""
    goals = [dataclasses.asdict(goal) for goal in result.goals]
    return {**dataclasses.asdict(result), "goals": goals}


def result_from_json(value: dict[str, Any]) -> CheckResult:
    """The result that `result_to_json` wrote."""
    plain = {name: value[name] for name in ("id", "reason", "heartbeats", "times_ms", "toolchain")}
    return CheckResult(
        **plain,
        verdict=Verdict(value["verdict"]),
        messages=tuple(Message(**message) for message in value["messages"]),
        axioms=tuple(value["axioms"]),
        premises=tuple(Premise(**premise) for premise in value["premises"]),
    )


def _limits(value: Any) -> Limits:
    if not isinstance(value, dict):
        raise UsageError(f"field 'limits': expected an object, found {value!r}")
    for name, number in value.items():
        if name not in _LIMITS:
            raise UsageError(f"field 'limits.{name}': unknown; known are {', '.join(_LIMITS)}")
        wanted = (int, float) if _LIMITS[name] is float else int
        if isinstance(number, bool) or not isinstance(number, wanted) or not 0 < number <= _MOST:
            kind = "number" if wanted is not int else "whole number"
            raise UsageError(
                f"field 'limits.{name}': expected a {kind} above 0 and up to {_MOST}, found {number!r}"
            )
    return Limits(**value)


def _is_text(value: Any) -> bool:
    """A string of whole characters: JSON's `"\\ud800"` is half of one, which no reply could carry."""
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False
