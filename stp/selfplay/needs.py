"""What a run needs of a machine, looked for before its folder is made: a run goes on only with the settings
that it began with, and what is missing would else be found hours later, by the first training."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator

from stp.datasets.corpora import corpora
from stp.errors import UsageError
from stp.models.prompts import prompt_format, two_roles
from stp.selfplay.seed_model import TINY, seed_model
from stp.settings import Settings
from stp.training.launch import launcher
from stp.types import System
from stp.verify.lean.toolchain import require_library
from stp.verify.pool import find_toolchain


def require(settings: Settings) -> None:
    """Looks for everything: the model, what samples and trains it, and see `require_provers`.

    Raises:
        UsageError: something is not there; says what to do.
        ToolchainError: a prover is absent.
    """
    two_roles(settings.model)
    _require_systems(settings)
    for key, package, remedy in _packages(settings):
        if importlib.util.find_spec(package) is None:
            raise UsageError(f"{key}: {package} is not installed; {remedy}")
    if settings.model.backend == "vllm" and not settings.model.replicas:  # else on other nodes
        from stp.models.vllm import require_device

        require_device()
    if settings.train.enabled and settings.train.launch:
        command = launcher(settings.train.launch)[0]
        if shutil.which(command) is None:
            raise UsageError(f"train.launch: cannot start {command!r}: there is no such program")
    base = seed_model(settings.model)
    if settings.select.guide and settings.judge.base:
        seed_model(settings.judge, "judge")
    require_provers(settings)
    from stp.models.codec import load_tokenizer  # takes seconds

    load_tokenizer(base, settings.model.prompt_format)


def require_provers(settings: Settings) -> None:
    """Looks for the provers of the run's systems and the libraries of its statements.

    Raises:
        UsageError: no such dataset, or it imports what is not there; or its few seeds are not all that the
            model has learnt.
        ToolchainError: a prover is absent; says what to do.
    """
    for corpus in corpora(settings.data):
        find_toolchain(settings.verify.model_copy(update={"system": corpus.system}))
        if corpus.system is System.LEAN:
            if settings.data.seed_statements and settings.model.base == TINY:
                raise UsageError(
                    "data.seed_statements: the model tiny has learnt the proofs of all seed statements; name "
                    "one in model.base that learnt these alone: run stp data model"
                )
            statements = [*corpus.open(settings.data.benchmarks).values(), *corpus.sides()[1]]
            require_library(corpus.name, {s.header for s in statements}, settings.verify.toolchain)


def _packages(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Settings, the package that each needs, and what to do where it is missing."""
    train = settings.train
    if settings.model.backend == "vllm":
        yield (
            "model.backend vllm", "vllm",
            "run: pip install 'stp-prover[vllm]', or set model.backend to transformers or openai",
        )  # fmt: skip
    if train.enabled and train.lora_rank:
        yield f"train.lora_rank = {train.lora_rank}", "peft", "run: pip install 'stp-prover[lora]', or set 0"
    if train.enabled and train.attention == "flash_attention_2":
        yield (
            "train.attention flash_attention_2", "flash_attn",
            "run: pip install flash-attn, or set flex_attention or sdpa",
        )  # fmt: skip


def _require_systems(settings: Settings) -> None:
    systems = {corpus.system for corpus in corpora(settings.data)}
    if settings.conjecture.salvage and System.LEAN not in systems:
        raise UsageError(
            "conjecture.salvage: only Lean tells what a proof left open; set it to 0 for Isabelle"
        )
    if settings.select.guide and settings.judge.base:
        for system in systems:
            prompt_format(settings.judge.prompt_format).judge("", "", system)
