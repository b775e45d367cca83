"""The generator that the settings ask for."""

from __future__ import annotations

from pathlib import Path

from stp.models.base import Generator
from stp.settings import ModelSettings


def open_generator(settings: ModelSettings, folder: Path) -> Generator:
    """The model of a folder, loaded as `model.backend` and `model.replicas` say.

    Raises:
        UsageError: the model, or what would run it, is not there; says which and what to do.
    """
    if settings.backend == "chat":
        from stp.models.chat import ChatGenerator

        return ChatGenerator(settings.base, settings.url, settings.batch_size)
    if settings.replicas:
        from stp.models.fleet import Fleet

        return Fleet(settings, folder)
    style, batch, context = settings.prompt_format, settings.batch_size, settings.context_tokens
    logprobs = settings.logprobs
    if settings.backend == "vllm":
        from stp.models.vllm import VllmGenerator

        return VllmGenerator(folder, style, batch, context, settings.gpus, logprobs)
    if settings.backend == "openai":
        from stp.models.openai import OpenAiGenerator

        return OpenAiGenerator(folder, style, settings.url, batch, context, logprobs)
    from stp.models.hf import HfGenerator

    return HfGenerator(folder, style, batch, context, logprobs)
