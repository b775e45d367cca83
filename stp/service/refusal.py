"""What the service answers when it does not do what was asked."""

from __future__ import annotations

import re

from stp.errors import StpError

_PATH = re.compile(r"(?<![\w.])(?:/[\w.@+~-]+){2,}/?")


class RefusedError(StpError):
    """One sentence for the client, the HTTP status it comes with and, where waiting helps, for how long."""

    def __init__(self, status: int, sentence: str, retry_after_s: float | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.retry_after_s = retry_after_s


def without_paths(text: str) -> str:
    """The text with the host's paths taken out: they are nobody's business at the other end."""
    return _PATH.sub("…", text)
