"""The API's bodies, as OpenAPI shows them. `stp.verify.job` has the last word on what a job is."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from stp.types import System, Verdict


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class LimitsIn(_Body):
    """Budgets of one check; `/v1/limits` has the caps."""

    wall_s: float = Field(30.0, gt=0)
    heartbeats: int = Field(200_000, gt=0)
    memory_mb: int = Field(4096, gt=0)


class JobIn(_Body):
    """A proof of a statement; or, with `theorem`, a whole file (`proof`) against a spec (`statement`)."""

    id: str | None = Field(None, max_length=200, description="Comes back with the result; else its place.")
    header: str = Field("", description="What stands before the statement: imports, `open`.")
    statement: str = Field(examples=["theorem foo (a b : Nat) : a + b = b + a"])
    proof: str = Field(description="The term after `:=`.", examples=["by omega"])
    system: Annotated[System, Field(strict=False)] = System.LEAN
    origin: str | None = Field(None, description="A library theorem that the proof must not use.")
    limits: LimitsIn = LimitsIn()
    premises: bool = Field(False, description="Also report the library theorems that the proof uses.")
    strict: bool = Field(False, description="Have a second process check again what the first accepted.")
    theorem: str | None = Field(
        None,
        description="The theorem that a whole file proves; * with no statement: a report on the file.",
    )


class VerifyIn(_Body):
    """Jobs to check."""

    jobs: list[JobIn] = Field(min_length=1)
    priority: int = Field(0, ge=-9, le=9, description="Higher first, among your own jobs.")


class BatchIn(VerifyIn):
    """A long batch. With an `id` of your own it may be sent again: it is accepted once."""

    id: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]{1,64}$")


class MessageOut(BaseModel):
    """What the prover said of a place: lines from 1, columns in characters from 0; 0 for no place."""

    severity: str
    line: int
    column: int
    end_line: int
    end_column: int
    text: str


class PremiseOut(BaseModel):
    """A library theorem that the proof uses."""

    name: str
    module: str
    statement: str


class ResultOut(BaseModel):
    """What checking a job gave. Only `proved` is a proof."""

    id: str
    verdict: Verdict
    reason: str
    messages: list[MessageOut]
    axioms: list[str]
    premises: list[PremiseOut]
    goals: list[MessageOut]
    heartbeats: int
    times_ms: dict[str, float]
    toolchain: str


class VerifyOut(BaseModel):
    """Results in the order of the jobs."""

    results: list[ResultOut]


class BatchOut(BaseModel):
    """How far a long batch is, with results in the order in which they came."""

    id: str
    state: str = Field(description="`running` or `done`.")
    total: int
    answered: int
    results: list[ResultOut] = []
    next: int = Field(0, description="Ask with `?after=` this for what comes next.")


class ErrorOut(BaseModel):
    """Why a request was not served, in one sentence."""

    detail: str


#: The ways in which any request can be refused, for OpenAPI.
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorOut, "description": text}
    for status, text in (
        (401, "No key, or a wrong one."),
        (403, "The key is not good for this."),
        (413, "The body is too large."),
        (422, "The request is not understood; says where."),
        (429, "Too much at once; Retry-After says when."),
        (503, "A prover is absent or not ready; says why."),
    )
}
