"""A chat model behind an OpenAI-compatible address, known by its name alone: for proof search.

Each sample is a request of its own, since not every server takes `n`; some are under way at once. What a
server makes of `seed` is its own affair, so samples may not repeat.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from stp.errors import UsageError
from stp.models.base import Sample
from stp.models.codec import prompt_seed
from stp.models.http import Server
from stp.models.prompts import Prompt


class ChatGenerator:
    """`Generator` of chat completions by the model `name`."""

    def __init__(self, name: str, url: str, batch_size: int = 128) -> None:
        self._name, self._batch, self._server = name, batch_size, Server(url)
        answer = self._server.ask("GET", "/models")
        with self._server.reading():
            served = [str(model["id"]) for model in answer["data"]]
        if name not in served:
            raise UsageError(f"{url} does not serve {name!r}, it serves {', '.join(served)}: set model.base")

    def generate(
        self, prompts: Sequence[Prompt], *, n: int, temperature: float, max_tokens: int, seed: int
    ) -> list[list[Sample]]:
        """See `Generator.generate`; which prompts are too long, the server says."""

        def complete(asked: tuple[Prompt, int]) -> Sample | None:
            prompt, index = asked
            system = [{"role": "system", "content": prompt.system}] if prompt.system else []
            said = self._server.send(
                "POST", f"{self._server.url}/chat/completions",
                {
                    "model": self._name, "temperature": temperature, "max_tokens": max_tokens,
                    "messages": [*system, {"role": "user", "content": prompt.text}],
                    "seed": prompt_seed(seed + index, [*prompt.text.encode()]) % 2**31,
                },
            )  # fmt: skip
            if said.status_code in (400, 413) and "context" in said.text:
                return None
            self._server.check(said)
            with self._server.reading():
                answer = said.json()
                choice = answer["choices"][0]
                tokens = int((answer.get("usage") or {}).get("completion_tokens") or 0)
                text = choice["message"]["content"] or ""
                whole = text.encode("utf-8", "replace").decode()  # half a character is no text
                return Sample(whole, tokens, choice["finish_reason"] == "stop")

        with ThreadPoolExecutor(self._batch) as threads:
            samples = threads.map(complete, [(prompt, index) for prompt in prompts for index in range(n)])
            each = [[next(samples) for _ in range(n)] for _ in prompts]
        return [[sample for sample in found if sample] for found in each]

    def use(self, folder: Path) -> NoReturn:
        """Refused: see `Generator.use`.

        Raises:
            UsageError: always.
        """
        raise UsageError('model.backend "chat" takes no new weights: it is for stp prove')

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Refused: see `Generator.embed`.

        Raises:
            UsageError: always.
        """
        raise UsageError('model.backend "chat" embeds nothing: it is for stp prove')

    def release(self) -> None:
        """See `Generator.release`: the server's memory is its own."""

    def close(self) -> None:
        """See `Generator.close`: the server goes on."""
        self._server.close()
