"""The API of Kimina Lean Server, so that its clients need another URL and nothing else.

Same fields, same positions. What is not Kimina's stands under `stp` in each result: verdict, reason, axioms,
times. A check that is no proof never looks like one: what our verdict denies is an error among the messages,
or an entry in `sorries`. One snippet's fate is its own; none sees another's; queueing counts in no timeout.
Information trees are not served.

A snippet is a whole file that nobody has specified: the checker reports on everything that it declares, and
nothing here reads or changes its text, but to say where a `sorry` stands.
"""

from __future__ import annotations

import json
import re
from bisect import bisect
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from stp.errors import UsageError
from stp.service.bounds import Bounds
from stp.service.refusal import RefusedError
from stp.syntax.lean_tokens import tokens
from stp.types import EVERYTHING, VOID, CheckResult, Job, Limits, Message, Verdict

_HEARTBEATS = 2_000_000


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore")


class SnippetIn(_Body):
    """A Lean file with an id."""

    id: str = Field(max_length=200)
    code: str


class CheckIn(_Body):
    """Kimina's `/api/check`."""

    snippets: list[SnippetIn] = Field(min_length=1)
    timeout: float = Field(30.0, ge=0)
    debug: bool = False
    infotree: str | None = None


class CodeIn(_Body):
    """A Lean file with an id, in the older form."""

    custom_id: str | int
    proof: str | None = None
    code: str | None = None


class LegacyIn(_Body):
    """Kimina's `/verify`."""

    codes: list[CodeIn] = Field(min_length=1)
    timeout: float = Field(300.0, ge=0)
    infotree_type: str | None = None


def jobs_of(body: CheckIn | LegacyIn, bounds: Bounds) -> list[Job]:
    """The jobs of a request, a snippet each.

    Raises:
        RefusedError: 422, ids that are not unique, or what is not served.
    """
    if isinstance(body, CheckIn):
        tree, pairs = body.infotree, [(snippet.id, snippet.code) for snippet in body.snippets]
    else:
        tree = body.infotree_type
        texts = [code.code if code.proof is None else code.proof for code in body.codes]
        if None in texts:
            raise RefusedError(422, f"codes.{texts.index(None)}: expected `proof` or `code`, found neither")
        pairs = [(str(code.custom_id), text or "") for code, text in zip(body.codes, texts, strict=True)]
    if tree is not None:
        raise RefusedError(422, "infotree: this service makes no information trees: leave it out")
    try:
        json.dumps(pairs, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise RefusedError(422, "`snippets` must be Unicode text: half a character is none") from None
    if len({id_ for id_, _ in pairs}) != len(pairs):
        raise RefusedError(422, "`snippets` must have unique ids")
    limits = Limits(
        wall_s=min(max(body.timeout, 1.0), bounds.wall_s), heartbeats=min(_HEARTBEATS, bounds.heartbeats)
    )
    return [Job(id_, "", "", code, theorem=EVERYTHING, limits=limits) for id_, code in pairs]


def reply(job: Job, result: CheckResult, *, debug: bool) -> dict[str, Any]:
    """One entry of `results`: exactly one of `error` and `response`."""
    entry: dict[str, Any] = {
        "id": result.id,
        "time": result.elapsed_s,
        "stp": {
            "verdict": result.verdict, "reason": result.reason, "axioms": result.axioms,
            "heartbeats": result.heartbeats, "times_ms": result.times_ms, "toolchain": result.toolchain,
        },
    }  # fmt: skip
    if debug:
        entry["diagnostics"] = {"repl_uuid": result.toolchain}
    if result.verdict is Verdict.TIMED_OUT and not result.messages:
        entry["error"] = f"Lean timed out: {result.reason}"
    elif result.verdict in VOID:
        entry["error"] = f"the checker {result.verdict.value.replace('_', ' ')}: {result.reason}"
    else:
        entry["response"] = _response(job, result)
    return entry


def legacy(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry in the older form."""
    entry = {"custom_id": entry.pop("id"), **entry}
    time_s = entry.pop("time")
    if "response" in entry:
        entry["response"]["time"] = time_s
    return entry


def _response(job: Job, result: CheckResult) -> dict[str, Any]:
    response: dict[str, Any] = {"env": 0}
    messages = [_message(message) for message in result.messages]
    if result.verdict is Verdict.INCOMPLETE:
        response["sorries"] = [
            {"pos": _pos(line, column), "endPos": _pos(line, column + 5), "goal": ""}
            for line, column in _sorries(job.proof) or [(1, 0)]
        ]
    elif result.verdict is not Verdict.UNJUDGED and all(m["severity"] != "error" for m in messages):
        messages.append(_said("error", (1, 0), (1, 0), result.reason))
    if messages:
        response["messages"] = messages
    return response


def _sorries(code: str) -> list[tuple[int, int]]:
    """Line and column of each `sorry` that our lexer sees."""
    ends = [found.start() for found in re.finditer("\n", code)]
    try:
        found = [token for token in tokens(code) if token.text in ("sorry", "admit")]
    except UsageError:  # an unterminated string, by its reading
        return []
    return [(bisect(ends, token.start) + 1, token.column) for token in found]


def _message(message: Message) -> dict[str, Any]:
    severity = "info" if message.severity == "information" else message.severity
    start, end = (message.line or 1, message.column), (message.end_line or 1, message.end_column)
    return _said(severity, start, end, message.text)


def _said(severity: str, start: tuple[int, int], end: tuple[int, int], text: str) -> dict[str, Any]:
    return {"severity": severity, "pos": _pos(*start), "endPos": _pos(*end), "data": text}


def _pos(line: int, column: int) -> dict[str, int]:
    return {"line": line, "column": column}
