"""Numbers of the service: for Prometheus, and for the page's live view."""

from __future__ import annotations

import time
from collections import deque

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from stp.types import CheckResult, Verdict

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)
_LATELY_S = 60.0
_METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS"})


class Metrics:
    """Counters of one service. For its event loop only."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.verdicts = dict.fromkeys(Verdict, 0)
        self._lately: deque[float] = deque(maxlen=100_000)
        self._checks = Counter(
            "stp_checks", "Checks answered.", ["verdict", "cached"], registry=self.registry
        )
        self._check_s = Histogram(
            "stp_check_seconds", "Time of a check, in Lean.", buckets=_SECONDS, registry=self.registry
        )
        self._queue_s = Histogram(
            "stp_queue_seconds", "Time that a job waited.", buckets=_SECONDS, registry=self.registry
        )
        self._requests = Counter(
            "stp_requests", "Requests answered.", ["method", "status"], registry=self.registry
        )
        self._gauges = {
            name: Gauge(f"stp_{name}", text, registry=self.registry)
            for name, text in (
                ("waiting", "Jobs in the queue."),
                ("running", "Jobs handed to the checkers."),
                ("workers", "Checker processes."),
                ("memory_mb", "Resident memory of the service and its checkers."),
            )
        }

    def checked(self, result: CheckResult, *, cached: bool) -> None:
        """Counts a result."""
        self.verdicts[result.verdict] += 1
        self._lately.append(time.monotonic())
        self._checks.labels(result.verdict.value, str(cached).lower()).inc()
        self._queue_s.observe(result.times_ms.get("queue", 0.0) / 1e3)
        if not cached:
            self._check_s.observe(result.elapsed_s)

    def answered(self, method: str, status: int) -> None:
        """Counts a request. Methods that there are not count together: each would be kept for ever."""
        self._requests.labels(method if method in _METHODS else "other", str(status)).inc()

    def checks_per_s(self) -> float:
        """Over the last minute."""
        now = time.monotonic()
        while self._lately and self._lately[0] < now - _LATELY_S:
            self._lately.popleft()
        return len(self._lately) / _LATELY_S

    def exposition(self, state: dict[str, float]) -> bytes:
        """Everything in Prometheus' text format, with the gauges as they are now."""
        for name, gauge in self._gauges.items():
            gauge.set(state[name])
        return generate_latest(self.registry)
