"""A Hugging Face folder as a `Generator` on vLLM, in processes that its engine starts.

Prompts go in as ids and samples come out as ids, so no template, no truncation and no tokenizer of the
engine's stands between. One request holds all n samples of a prompt: it is read once, and the engine
seeds sample i with the request's seed plus i. Prompts that begin alike share what was computed of them.

On a GPU the engine goes on from round to round: it sleeps while another uses the memory (training,
embeddings), with neither weights nor cache, and wakes with new weights. On CPU it can do neither: vLLM 0.32
says yes to new weights there and goes on with layers that it packed from the old ones (so the tests of this
project found), so each round has an engine of its own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stp.errors import MachineryError, UsageError
from stp.models.base import Sample
from stp.models.codec import Codec, config_of, first_line, precision, prompt_seed
from stp.models.hf import HfGenerator, check_room
from stp.models.prompts import Prompt

#: What a model's training may change in config.json without making it another model to the engine.
_VOLATILE = frozenset({"_name_or_path", "transformers_version", "use_cache"})


class VllmGenerator:
    """`Generator` on an engine of its own."""

    def __init__(
        self, folder: Path, format_name: str, batch_size: int = 128, context_tokens: int = 0, gpus: int = 1,
        logprobs: bool = False,
    ) -> None:  # fmt: skip
        self._logprobs = logprobs
        self._format, self._batch, self._context, self._gpus = format_name, batch_size, context_tokens, gpus
        self._engine: Any = None
        self.codec = Codec(folder, format_name, context_tokens)
        self._can_sleep, self._asleep = torch.cuda.is_available(), False
        self.use(folder)

    def use(self, folder: Path) -> None:
        """See `Generator.use`. A folder of another shape gets another engine."""
        codec = Codec(folder, self._format, self._context)
        if self._engine is not None and self._can_sleep and _shape(folder) == _shape(self.codec.folder):
            self.release()
            self._engine.wake_up(tags=["weights"])
            self._engine.collective_rpc("reload_weights", kwargs={"weights_path": str(folder.absolute())})
            self._engine.wake_up(tags=["kv_cache"])
            self._engine.reset_prefix_cache()  # which holds keys and values of the old weights
        elif self._engine is None or folder != self.codec.folder:
            self.close()
            self._engine = self._start(folder, codec)
        self.codec, self._asleep = codec, False

    def release(self) -> None:
        """See `Generator.release`."""
        if self._engine is not None and self._can_sleep and not self._asleep:
            self._engine.sleep(level=2)
            self._asleep = True

    def close(self) -> None:
        """See `Generator.close`."""
        if self._engine is not None:
            self._engine.llm_engine.engine_core.shutdown()
            self._engine = None

    def generate(
        self, prompts: Sequence[Prompt], *, n: int, temperature: float, max_tokens: int, seed: int
    ) -> list[list[Sample]]:
        """See `Generator.generate`."""
        from vllm import SamplingParams

        fitting = self.codec.fit(prompts, n, temperature, max_tokens)
        how = [
            SamplingParams(
                n=n, temperature=temperature, top_p=1.0, top_k=0, max_tokens=max_tokens,
                seed=prompt_seed(seed, ids), ignore_eos=True, stop_token_ids=[self.codec.end_id],
                detokenize=False, logprobs=0 if self._logprobs else None,
            )
            for ids in fitting.values()
        ]  # fmt: skip
        results: list[list[Sample]] = [[] for _ in prompts]
        if fitting:
            asked = [{"prompt_token_ids": ids} for ids in fitting.values()]
            for place, answer in zip(fitting, self._engine.generate(asked, how, use_tqdm=False), strict=True):
                written = sorted(answer.outputs, key=lambda output: output.index)
                results[place] = [
                    self.codec.read(list(output.token_ids), _logprobs(output)) for output in written
                ]
        return results

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `Generator.embed`. transformers does it, while the engine sleeps."""
        folder = self.codec.folder
        self.release()
        reader = HfGenerator(folder, self._format, self._batch, self._context)
        try:
            return reader.embed(texts)
        finally:
            reader.close()
            if self._asleep:
                self.use(folder)

    def _start(self, folder: Path, codec: Codec) -> Any:
        try:
            require_device()
            from vllm import LLM
        except ImportError as error:
            raise UsageError(
                f"model.backend vllm: vLLM is not installed ({first_line(error)}); run: "
                "pip install 'stp-prover[vllm]', or set model.backend to transformers"
            ) from None
        if self._can_sleep:
            weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
            check_room(folder, weights, self._gpus * torch.cuda.mem_get_info()[0])
        try:
            return LLM(
                model=str(folder.absolute()),
                skip_tokenizer_init=True,
                dtype=precision(folder),  # as transformers takes it: the engine would halve float32
                max_model_len=codec.context_tokens,
                max_num_seqs=self._batch,
                tensor_parallel_size=self._gpus,
                enable_prefix_caching=True,
                enable_sleep_mode=self._can_sleep,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise MachineryError(
                f"{folder}: vLLM does not start with it: {first_line(error)}; what it logged is shown with "
                "VLLM_LOGGING_LEVEL=INFO; where memory is short, take a smaller model, more model.gpus or a "
                "smaller model.context_tokens"
            ) from error


def require_device() -> None:
    """Looks for what the installed vLLM runs on.

    Raises:
        UsageError: it is not here.
        ImportError: vLLM is not.
    """
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    from vllm.platforms import current_platform

    if current_platform.is_unspecified():
        raise UsageError(
            "model.backend vllm: vLLM finds no GPU here: run where nvidia-smi shows one, or set "
            "model.backend to transformers or openai"
        )


def _logprobs(output: Any) -> list[float]:
    """Those of the tokens written; the engine gives those of the likeliest ones beside them where asked."""
    ids = output.token_ids
    return [of[token].logprob for token, of in zip(ids, output.logprobs or [], strict=False)]


def _shape(folder: Path) -> dict[str, Any]:
    return {key: value for key, value in config_of(folder).items() if key not in _VOLATILE}
