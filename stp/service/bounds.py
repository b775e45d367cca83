"""What the service takes on, as `/v1/limits` tells its clients."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from stp.service.refusal import RefusedError
from stp.settings import Section, VerifySettings
from stp.types import Job


class Bounds(Section):
    """Caps of one request, of the queue and of one check."""

    body_bytes: int = 16 << 20
    body_s: float = 30.0
    """A request must have arrived whole within this time."""
    jobs_per_request: int = 2_000
    jobs_per_batch: int = 100_000
    queued_jobs: int = 20_000
    """Waiting in all; more are answered 429 with Retry-After."""
    queued_jobs_per_client: int = 10_000
    batches_per_client: int = 100
    batch_days: float = 7.0
    """Long batches are deleted this long after they were sent."""
    wall_s: float = 600.0
    heartbeats: int = 10_000_000
    memory_mb: int = 16_384
    connections: int = 1_024

    def admit(self, job: Job, where: str) -> Job:
        """The job, if its limits are within the service's.

        Raises:
            RefusedError: names the limit and its cap.
        """
        for name in ("wall_s", "heartbeats", "memory_mb"):
            asked, most = getattr(job.limits, name), getattr(self, name)
            if asked > most:
                raise RefusedError(422, f"{where}: limits.{name}: expected at most {most:g}, found {asked:g}")
        return job


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """How to serve: the checkers, the folder of keys and batches, whether clients need keys, the caps."""

    verify: VerifySettings
    state: Path
    keys: bool = False
    bounds: Bounds = field(default_factory=Bounds)
