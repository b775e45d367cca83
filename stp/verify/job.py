"""Jobs and results as JSON: what `stp verify --jsonl` reads and writes."""

from __future__ import annotations

import dataclasses
from typing import Any

from stp.errors import UsageError
from stp.types import CheckResult, Job, Limits, System

_TEXTS = ("id", "header", "statement", "proof", "origin")
_LIMITS: dict[str, type] = {"wall_s": float, "heartbeats": int, "memory_mb": int}
_FIELDS = frozenset({*_TEXTS, "system", "limits", "premises"})


def job_from_json(value: Any, default_id: str) -> Job:
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
        if name in value and not isinstance(value[name], str):
            raise UsageError(f"field {name!r}: expected a text, found {value[name]!r}")
    if value.get("system", "lean") not in list(System):
        raise UsageError(f"field 'system': expected lean or isabelle, found {value['system']!r}")
    if not isinstance(value.get("premises", False), bool):
        raise UsageError(f"field 'premises': expected true or false, found {value['premises']!r}")
    return Job(
        id=value.get("id", default_id),
        header=value.get("header", ""),
        statement=value["statement"],
        proof=value["proof"],
        system=System(value.get("system", "lean")),
        origin=value.get("origin"),
        limits=_limits(value.get("limits", {})),
        premises=value.get("premises", False),
    )


def result_to_json(result: CheckResult) -> dict[str, Any]:
    """A plain object with the fields of `CheckResult`."""
    return dataclasses.asdict(result)


def _limits(value: Any) -> Limits:
    if not isinstance(value, dict):
        raise UsageError(f"field 'limits': expected an object, found {value!r}")
    for name, number in value.items():
        if name not in _LIMITS:
            raise UsageError(f"field 'limits.{name}': unknown; known are {', '.join(_LIMITS)}")
        wanted = (int, float) if _LIMITS[name] is float else int
        if isinstance(number, bool) or not isinstance(number, wanted) or number <= 0:
            raise UsageError(f"field 'limits.{name}': expected a positive number, found {number!r}")
    return Limits(**value)
