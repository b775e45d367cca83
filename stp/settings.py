"""The settings of a run: pydantic sections, a TOML preset, dotted overrides.

`load("tiny", ["attempt.samples=32"])` reads the preset of that name (or a TOML file), applies the
overrides and refuses unknown keys. The resolved settings are written into the run's folder, and a
run goes on only with the settings that it began with.
"""

from __future__ import annotations

import json
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stp.errors import SettingsError


class Section(BaseModel):
    """What all sections share: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class VerifySettings(Section):
    """The checkers: which Lean, how many, and the budget of one check."""

    toolchain: Literal["auto", "embedded", "native"] = "auto"
    pool: Literal["ray", "local"] = "ray"
    workers: int = Field(0, ge=0)
    """Checker processes; 0: as many as cores and memory allow."""
    wall_s: float = Field(30.0, gt=0)
    heartbeats: int = Field(60_000, gt=0)
    memory_mb: int = Field(4096, gt=0)
    """A worker above this is replaced between two jobs."""
    require_sandbox: bool = False
    """Refuse a Lean whose submissions nothing keeps from the machine."""


class ModelSettings(Section):
    """The language model: a Hugging Face folder."""

    base: str = "tiny"
    """`tiny`, which comes with STP, or the path of a folder that `AutoModelForCausalLM` loads."""
    backend: Literal["transformers", "vllm", "openai"] = "transformers"
    """What samples: transformers or vLLM, started here, or a server that speaks OpenAI's protocol."""
    url: str = "http://127.0.0.1:8000/v1"
    """Of that server."""
    gpus: int = Field(1, gt=0)
    """GPUs that one vLLM engine spreads the model over."""
    replicas: int = Field(0, ge=0)
    """Generators in Ray actors, each on `gpus` GPUs of its own; 0: one generator, in this process."""
    context_tokens: int = Field(0, ge=0)
    """Tokens of a prompt and its text together, in sampling and training; 0: as many as the model can."""
    prompt_format: str = "tiny"
    """A name in `stp.models.prompts.FORMATS`."""
    batch_size: int = Field(128, gt=0)
    """Sequences sampled together."""
    max_proof_tokens: int = Field(96, gt=0)
    max_statement_tokens: int = Field(160, gt=0)


class TinySettings(Section):
    """Shape of the tiny Llama-shaped model."""

    vocabulary: int = 2048
    hidden: int = 256
    layers: int = 6
    heads: int = 4
    context_tokens: int = 512


class DataSettings(Section):
    """The statements to prove. `statements` and `held_out` are how many are drawn; 0: all."""

    dataset: str = "lean-core"
    statements: int = Field(320, ge=0)
    held_out: int = Field(200, ge=0)


class ConjectureSettings(Section):
    """Steps 1 to 3 of the round (STP, section 3.1 and its published code)."""

    inputs: int = Field(320, gt=0)
    """At most this many (statement, proof, lemma) inputs a round (STP: N)."""
    samples_total: int = Field(960, gt=0)
    """Conjectures sampled a round, spread over the inputs (STP: 3N)."""
    samples_per_input: int = Field(8, gt=0)
    keep: int = Field(200, gt=0)
    """Conjectures attempted a round, at most; fewer where fewer statements are unproved."""
    seed_pass_rate: float = Field(0.35, ge=0, le=1)
    """Seeds are statements proved at a higher rate than this."""
    trivial_lemma_frac: float = Field(0.5, ge=0, le=1)
    lemma_cap_frac: float = Field(0.1, gt=0, le=1)
    """A lemma is used in at most this share of N inputs."""
    temperature: float = Field(1.0, gt=0)


class GateSettings(Section):
    """What a conjecture must pass before K samples are spent on it."""

    trivial_tactics: tuple[str, ...] = ("rfl", "trivial", "simp", "omega")
    heartbeats: int = Field(10_000, gt=0)
    """Of each of these checks."""


class AttemptSettings(Section):
    """Step 4 of the round."""

    samples: int = Field(16, gt=0)
    """K: proofs sampled for each statement."""
    temperature: float = Field(1.0, gt=0)
    solved_pass_rate: float = Field(0.35, ge=0, le=1)
    """A solved statement is tried again while its pass rate is lower than this."""
    solved_retry_frac: float = Field(0.05, ge=0, le=1)
    """Share of the other solved ones tried again all the same."""


class SelectSettings(Section):
    """Steps 6 to 8 of the round."""

    band_high: float = Field(0.25, gt=0, le=1)
    """Barely provable: pass rate above 0 and up to this."""
    elegancy_drop_frac: float = Field(0.2, ge=0, lt=1)
    trivial_lemma_cap_frac: float = Field(0.5, ge=0)
    """Conjectures that do not use their lemma are kept up to this share of all barely provable ones."""
    reweight_cap: int = Field(3, ge=0)
    """Unproved statements that one conjecture may stand for; 0: no cap."""
    prover_pass_rate: float = Field(0.5, gt=0, le=1)
    replay_rounds: int = Field(3, gt=0)
    char_decay: float = Field(0.001, ge=0)
    second_decay: float = Field(0.01, ge=0)
    heartbeats_per_second: float = Field(60_000.0, gt=0)
    """Turns heartbeats into the seconds of STP's weight, so that two runs agree."""


class TrainSettings(Section):
    """Step 9 of the round: one pass of weighted cross-entropy from the previous model."""

    epochs: float = Field(1.0, gt=0)
    learning_rate: float = Field(2e-4, gt=0)
    batch_size: int = Field(32, gt=0)
    warmup_frac: float = Field(0.05, ge=0, lt=1)
    lora_rank: int = Field(0, ge=0)
    """Train low-rank adapters (peft), merged into the model's weights at the end; 0: train all weights."""
    tokens_per_pass: int = Field(0, ge=0)
    """A step's batch is computed in passes of about as many tokens, whose gradients add up; 0: in one."""
    packing: bool = False
    """Lay the examples of a pass end to end instead of padding them; they do not see each other."""
    attention: Literal["sdpa", "flash_attention_2", "flex_attention"] = "sdpa"
    """With packing, the first looks at every pair of tokens of a pass, the others only within an example."""
    gradient_checkpointing: bool = False
    """Compute activations twice rather than keep them."""
    launch: str = ""
    """The command that starts the training's processes, for example `accelerate launch --config_file
    {accelerate}/fsdp.yaml`, where {accelerate} is the folder of those that come with STP; "": in this one."""
    prompt_weight: float = Field(0.0, ge=0)
    """What a prompt's token counts beside a target's: above 0 where a model must learn the language first."""
    save_steps: int = Field(100, gt=0)
    """A killed training goes on from the last of these checkpoints."""


class EvaluateSettings(Section):
    """Held-out evaluation: samples a statement."""

    samples: int = Field(8, gt=0)
    temperature: float = Field(1.0, gt=0)


class Settings(Section):
    """All settings of a run."""

    seed: int = 0
    verify: VerifySettings = VerifySettings()
    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    conjecture: ConjectureSettings = ConjectureSettings()
    gates: GateSettings = GateSettings()
    attempt: AttemptSettings = AttemptSettings()
    select: SelectSettings = SelectSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()


def presets() -> dict[str, Path]:
    """Name and file of every preset that comes with the package."""
    folder = Path(str(resources.files("stp") / "presets"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load(config: str = "tiny", overrides: list[str] | None = None) -> Settings:
    """Settings of a preset or TOML file, with `section.key=value` overrides applied.

    Raises:
        SettingsError: no such preset or file, TOML that does not parse, a key that does not exist or
            a value of the wrong kind; names the key and what was expected.
    """
    path = presets().get(config, Path(config))
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(presets())
        raise SettingsError(f"no preset or file {config!r}: presets are {known}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: not a readable TOML file: {error}") from None
    for override in overrides or []:
        _apply(values, override)
    return validate(values, str(path))


def validate(values: dict[str, Any], where: str) -> Settings:
    """`Settings` of plain values; a `SettingsError` names `where` and the first wrong key."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = ", ".join(_siblings(first["loc"]))
            raise SettingsError(f"{where}: unknown key {key!r}: known here are {known}") from None
        raise SettingsError(f"{where}: {key}: {first['msg']}, got {first['input']!r}") from None


def _siblings(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in location[:-1]:
        annotation = model.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        model = annotation
    return list(model.model_fields)


def _apply(values: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise SettingsError(f"--set {override!r}: expected section.key=value")
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    *sections, key = dotted.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise SettingsError(f"--set {override!r}: {section!r} is not a section")
    values[key] = value
