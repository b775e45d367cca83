"""API keys: who asks, what they may, how much.

A key is `stp_NAME_SECRET`, with 256 random bits; what is kept is a salted hash. Every question costs the
same comparison, also for a name that does not exist.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass, field

from stp.errors import UsageError
from stp.service.refusal import RefusedError
from stp.store.service import KeyRow, ServiceStore

#: What a key may be good for.
SCOPES = frozenset({"verify", "jobs", "metrics"})
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_KEY = re.compile(rf"stp_({_NAME.pattern})_([A-Za-z0-9_-]{{43}})")
_NOBODY = KeyRow("", b"\0" * 16, b"\0" * 32, frozenset(), 0, 0.0)


@dataclass(slots=True)
class Client:
    """Who sent a request. `name` is its key's, or its address where the service asks for no keys."""

    name: str
    scopes: frozenset[str] = SCOPES
    jobs_per_minute: int = 0
    _left: float = field(init=False)
    _stamp: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._left = float(self.jobs_per_minute)

    def spend(self, jobs: int) -> None:
        """Takes jobs from the quota, which fills up again evenly; more than a minute's worth at once is
        let through when the quota is full, and paid for afterwards.

        Raises:
            RefusedError: 429, the quota is used up.
        """
        if not self.jobs_per_minute:
            return
        now = time.monotonic()
        per_s = self.jobs_per_minute / 60
        self._left = min(float(self.jobs_per_minute), self._left + per_s * (now - self._stamp))
        self._stamp = now
        if self._left < min(jobs, self.jobs_per_minute):
            wait_s = (min(jobs, self.jobs_per_minute) - self._left) / per_s
            raise RefusedError(
                429, f"the quota of {self.jobs_per_minute} jobs a minute is used up: wait {wait_s:.0f} s",
                max(1.0, wait_s),
            )  # fmt: skip
        self._left -= jobs

    def give_back(self, jobs: int) -> None:
        """Puts jobs back that were taken and then not accepted."""
        self._left += jobs


class Keys:
    """The keys in a store, and their clients' quotas."""

    def __init__(self, store: ServiceStore) -> None:
        self._store = store
        self._clients: dict[bytes, Client] = {}

    def add(self, name: str, scopes: frozenset[str], jobs_per_minute: int) -> str:
        """Makes a key and returns it: it is shown this once and kept nowhere.

        Raises:
            UsageError: a name or scope that cannot be, or a name that is taken.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(f"key {name!r}: expected small letters, digits and hyphens, at most 32")
        if unknown := sorted(scopes - SCOPES):
            raise UsageError(f"scope {unknown[0]!r}: expected some of {', '.join(sorted(SCOPES))}")
        secret, salt = secrets.token_urlsafe(32), secrets.token_bytes(16)
        row = KeyRow(name, salt, _hash(salt, secret), scopes, jobs_per_minute, time.time())
        if not self._store.put_key(row):
            raise UsageError(f"key {name!r}: there is one already; revoke it first: stp keys revoke {name}")
        return f"stp_{name}_{secret}"

    def client(self, key: str) -> Client | None:
        """Whose key it is, or None."""
        match = _KEY.fullmatch(key)
        name, secret = match.groups() if match else ("", "")
        row = self._store.key(name) or _NOBODY
        if not hmac.compare_digest(_hash(row.salt, secret), row.hash) or row is _NOBODY:
            return None
        return self._clients.setdefault(row.salt, Client(row.name, row.scopes, row.jobs_per_minute))


def _hash(salt: bytes, secret: str) -> bytes:
    """One round is enough for 256 random bits: nobody guesses those."""
    return hashlib.sha256(salt + secret.encode()).digest()
