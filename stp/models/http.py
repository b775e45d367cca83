"""Requests to a model's server that are made again where the network or a busy server was the reason."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from stp.errors import ModelServerError, UsageError

_TRIES = 6
_FIRST_PAUSE_S = 0.5
_TIMEOUT = httpx.Timeout(1800.0, connect=10.0)
_BUSY = frozenset({429, 502, 503, 504})


class Server:
    """A server that speaks OpenAI's protocol at `url`. OPENAI_API_KEY is sent where it is set.

    Raises:
        UsageError: the key is no ASCII text.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        key = os.environ.get("OPENAI_API_KEY", "")
        if not key.isascii():
            raise UsageError("OPENAI_API_KEY: expected ASCII characters, found others: copy the key again")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(
            headers=headers, timeout=_TIMEOUT, limits=httpx.Limits(max_connections=None)
        )

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON that it answers at a path under `url`.

        Raises:
            UsageError: it does not take the request, or `url` is none.
            ModelServerError: nobody answers, or the server fails or stays busy, or it answers something else.
        """
        answer = self.check(self.send(method, self.url + path, body))
        with self.reading():
            return answer.json()

    def send(self, method: str, url: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """The answer, or the last one of a server that stays busy.

        Raises:
            UsageError: no such address can be.
            ModelServerError: nobody answers.
        """
        for wait in range(_TRIES):
            try:
                answer = self._client.request(method, url, json=body)
                if answer.status_code not in _BUSY or wait == _TRIES - 1:
                    return answer
            except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
                raise UsageError(
                    f"model.url: expected http://HOST:PORT/v1, found {self.url!r}: {error}"
                ) from None
            except httpx.TransportError as error:
                if wait == _TRIES - 1:
                    raise ModelServerError(
                        f"no answer from {url} in {_TRIES} tries ({error}): expected an OpenAI-compatible "
                        "server there; start one (vllm serve FOLDER) or set model.url"
                    ) from None
            time.sleep(_FIRST_PAUSE_S * 2**wait)
        raise AssertionError("unreachable")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around what reads an answer.

        Raises:
            ModelServerError: it is not what the protocol says: some other server's page, or an error.
        """
        try:
            yield
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ModelServerError(
                f"{self.url}: expected an answer of OpenAI's protocol, found something else "
                f"({type(error).__name__}: {str(error)[:100]}); is model.url right?"
            ) from None

    @staticmethod
    def check(answer: httpx.Response) -> httpx.Response:
        """The answer, where it is one.

        Raises:
            UsageError, ModelServerError: see `ask`.
        """
        if answer.is_success:
            return answer
        said = answer.text.strip().partition("\n")[0][:300]
        refused = answer.is_client_error and answer.status_code not in _BUSY
        raise (UsageError if refused else ModelServerError)(
            f"{answer.request.url} answered {answer.status_code}: {said}"
        )

    def close(self) -> None:
        """Ends the connections; the server goes on."""
        self._client.close()
