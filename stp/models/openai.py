"""A model behind an HTTP server as a `Generator`: OpenAI's completions protocol as `vllm serve` speaks it.

Prompts go as lists of ids and samples come back as ids (`return_token_ids`), so the server's chat template,
truncation and detokenizer touch nothing. A request holds all n samples of one prompt; some are under way at
once. A sample is a function of the request, so asking again is always safe, and is done where the network or
a busy server was the reason. The client needs the model's folder too, for its tokenizer and for embeddings.

New weights need a server on a GPU that was started with VLLM_SERVER_DEV_MODE=1 and sees the run's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray

from stp.errors import UsageError
from stp.models.base import Sample
from stp.models.codec import Codec, prompt_seed
from stp.models.hf import HfGenerator
from stp.models.http import Server
from stp.models.prompts import Prompt


class OpenAiGenerator:
    """`Generator` on a server."""

    def __init__(
        self, folder: Path, format_name: str, url: str, batch_size: int = 128, context_tokens: int = 0,
        logprobs: bool = False,
    ) -> None:  # fmt: skip
        self._format, self._batch, self._context = format_name, batch_size, context_tokens
        self._logprobs = logprobs
        self._server = Server(url)
        self.use(folder)

    def use(self, folder: Path) -> None:
        """See `Generator.use`.

        Raises:
            UsageError: the server has other weights and does not take new ones.
        """
        self.codec = Codec(folder, self._format, self._context)
        answer = self._server.ask("GET", "/models")
        with self._server.reading():
            model = answer["data"][0]
            self._name = str(model["id"])
        self.codec.context_tokens = min(self.codec.context_tokens, model.get("max_model_len") or 1 << 30)
        if self._takes_weights():
            root = self._server.url.removesuffix("/v1")
            reload = {"method": "reload_weights", "kwargs": {"weights_path": str(folder.absolute())}}
            self._server.check(self._server.send("POST", f"{root}/collective_rpc", reload))
            self._server.check(self._server.send("POST", f"{root}/reset_prefix_cache"))
        elif Path(str(model.get("root"))).absolute() != folder.absolute():
            raise UsageError(
                f"{self._server.url} serves {model.get('root')!r} and takes no other weights, expected "
                f"{folder}: start it with VLLM_SERVER_DEV_MODE=1, on a GPU and where it sees the run's folder"
            )

    def _takes_weights(self) -> bool:
        """Is it in developer mode, on a GPU? On CPU vLLM 0.32 says yes to new weights and goes on with layers
        that it packed from the old ones: so the tests of this project found."""
        answer = self._server.send("GET", self._server.url.removesuffix("/v1") + "/server_info")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return False
        with self._server.reading():
            return "device_config=cpu" not in str(self._server.check(answer).json()["vllm_config"])

    def release(self) -> None:
        """See `Generator.release`: the server's memory is its own."""

    def close(self) -> None:
        """See `Generator.close`: the server goes on."""
        self._server.close()

    def generate(
        self, prompts: Sequence[Prompt], *, n: int, temperature: float, max_tokens: int, seed: int
    ) -> list[list[Sample]]:
        """See `Generator.generate`."""
        fitting = self.codec.fit(prompts, n, temperature, max_tokens)

        def complete(ids: list[int]) -> list[Sample]:
            asked = {
                "model": self._name, "prompt": ids, "n": n, "temperature": temperature, "top_p": 1.0,
                "top_k": 0, "max_tokens": max_tokens, "seed": prompt_seed(seed, ids), "ignore_eos": True,
                "stop_token_ids": [self.codec.end_id], "return_token_ids": True,
                "logprobs": 0 if self._logprobs else None,
            }  # fmt: skip
            answer = self._server.ask("POST", "/completions", asked)
            with self._server.reading():
                choices = sorted(answer["choices"], key=lambda choice: choice["index"])
            if any(choice.get("token_ids") is None for choice in choices):
                raise UsageError(
                    f"{self._server.url}: expected the ids of what was written (return_token_ids), found "
                    "text only: take a server that gives them, such as vllm serve"
                )
            return [
                self.codec.read(choice["token_ids"], (choice.get("logprobs") or {}).get("token_logprobs", ()))
                for choice in choices
            ]

        results: list[list[Sample]] = [[] for _ in prompts]
        with ThreadPoolExecutor(max(2, -(-self._batch // n))) as threads:
            for place, samples in zip(fitting, threads.map(complete, fitting.values()), strict=True):
                results[place] = samples
        return results

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Generator.embed`. transformers does it, here."""
        reader = HfGenerator(self.codec.folder, self._format, self._batch, self._context)
        try:
            return reader.embed(texts)
        finally:
            reader.close()
