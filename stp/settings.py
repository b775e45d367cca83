"""The settings of a run: pydantic sections, a TOML preset, dotted overrides.

`load("tiny", ["attempt.samples=32"])` reads the preset of that name (or a TOML file), applies the
overrides and refuses unknown keys. The resolved settings are written into the run's folder, and a
run goes on only with the settings that it began with. A file that `extends` a preset or another file
holds only what it changes: so every baseline is a short preset (`stp/presets/expert-iteration.toml`).
"""

from __future__ import annotations

import json
import tomllib
from importlib import resources
from math import ceil
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stp.errors import SettingsError
from stp.types import Limits, System


class Section(BaseModel):
    """What all sections share: frozen, unknown keys and numbers that are none refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


S = TypeVar("S", bound=Section)


class VerifySettings(Section):
    """The checkers: which prover, how many, and the budget of one check."""

    system: System = System.LEAN
    toolchain: Literal["auto", "embedded", "native"] = "auto"
    pool: Literal["ray", "local"] = "ray"
    workers: int = Field(0, ge=0, le=4096)
    """Checker processes; 0: as many as cores and memory allow."""
    wall_s: float = Field(30.0, gt=0)
    heartbeats: int = Field(60_000, gt=0)
    memory_mb: int = Field(4096, gt=0)
    """A worker above this is replaced between two jobs."""
    require_sandbox: bool = False
    """Refuse a prover whose submissions nothing keeps from the machine."""
    trusting: bool = True
    """Headers and specs may run code, such as macros and `#eval`: a dataset's, or a file of your own. An evil
    one makes the checker accept anything, so a service never trusts its clients'."""
    session: str = "HOL"
    """Isabelle's session: what is in its heap."""
    allow_tainted_heap: bool = False
    """Work with an Isabelle whose library rests on oracles; proofs that need those theorems stay refused."""

    @property
    def limits(self) -> Limits:
        """The budget of one check."""
        return Limits(self.wall_s, self.heartbeats, self.memory_mb)


class ModelSettings(Section):
    """The language model: a Hugging Face folder."""

    base: str = "tiny"
    """`tiny`, which comes with STP, or the path of a folder that `AutoModelForCausalLM` loads."""
    backend: Literal["transformers", "vllm", "openai", "chat"] = "transformers"
    """What samples: transformers or vLLM, started here; a server that speaks OpenAI's protocol and takes a
    round's weights; or, for proof search alone, any chat model by the name in `base`."""
    url: str = "http://127.0.0.1:8000/v1"
    """Of that server: the part of its addresses that they share."""
    gpus: int = Field(1, gt=0)
    """GPUs that one vLLM engine spreads the model over."""
    replicas: int = Field(0, ge=0)
    """At most so many generators in Ray actors, each on `gpus` GPUs of its own, and the training in an actor
    on the node with the most GPUs; 0: one generator and the training in this process."""
    context_tokens: int = Field(0, ge=0)
    """Tokens of a prompt and its text together, in sampling and training; 0: as many as the model can."""
    prompt_format: str = "tiny"
    """A name in `stp/models/formats.toml`, or the path of a TOML file with the keys of one."""
    batch_size: int = Field(128, gt=0)
    """Sequences sampled together."""
    logprobs: bool = False
    """Samples come with the log-probability of each token; the tree search asks for them itself."""
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
    """The statements to prove. `statements` and `held_out` are how many are drawn of each corpus; 0: all."""

    dataset: str = "lean-core"
    """A name of `stp data list`, a file or folder of your own, or isabelle-main; several with `+` between."""
    pool: str = ""
    """A file of statement keys, one a line, to draw from (`stp data pool`); "": all without a seed proof."""
    seed_statements: int = Field(0, ge=0)
    """Of each corpus, how many statements' proofs a run starts from, always the same ones; 0: all. The model
    that comes with STP has learnt them all: `stp data model` makes one that learnt these alone."""
    benchmarks: tuple[str, ...] = ()
    """Whose open sides, `train` and `valid`, are to be proved too."""
    statements: int = Field(320, ge=0)
    held_out: int = Field(200, ge=0)


class ConjectureSettings(Section):
    """Steps 1 to 3 of the round (STP, section 3.1 and its published code)."""

    mode: Literal["solved", "unsolved", "off"] = "solved"
    """What the conjecturer reads: a proved statement and its proof (STP), an unproved one that it is to find
    a step towards (SGS), or nothing, for rounds without conjectures (expert iteration)."""
    lemmas: bool = True
    """Also show a lemma that the proof uses; off: every conjecture is free."""
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
    salvage: int = Field(0, ge=0)
    """Open goals of failed proofs taken as conjectures too, at most, Lean's only. Where all goals of a proof
    are proved then, it is completed with their proofs."""


class GateSettings(Section):
    """What a conjecture must pass before K samples are spent on it."""

    refute: bool = True
    """Try small values of the variables."""
    trivial_tactics: tuple[str, ...] = ("rfl", "trivial", "simp", "omega")
    """All are tried in each system; one that a system does not know proves nothing."""
    trivial_premises: int = Field(0, ge=0)
    """Lean: `grind` with so many of the library's nearest theorems counts among them; 0: not."""
    vacuous_tactics: tuple[str, ...] = ()
    """Tried at `False` from the hypotheses alone."""
    library_tactics: tuple[str, ...] = ()
    """`exact?`: what it proves is in the library already."""
    disjunctions: int = Field(-1, ge=-1)
    """At most so many `∨` in a conjecture; -1: any number."""
    length_ratio: float = Field(0.0, ge=0)
    """At most this many times as long as the statement it was made from; 0: of any length."""
    heartbeats: int = Field(10_000, gt=0)
    """Of each of these checks."""


class AttemptSettings(Section):
    """Step 4 of the round."""

    samples: int = Field(16, gt=0)
    """K: proofs sampled for each statement."""
    probe_samples: int = Field(0, ge=0)
    """Of these, sampled first for a conjecture, and no more where that already shows a pass rate above
    `select.band_high`; 0: all at once."""
    temperature: float = Field(1.0, gt=0)
    solved_pass_rate: float = Field(0.35, ge=0, le=1)
    """A solved statement is tried again while its pass rate is lower than this."""
    solved_retry_frac: float = Field(0.05, ge=0, le=1)
    """Share of the other solved ones tried again all the same."""
    disprove: bool = False
    """Statements of the dataset that small values refute leave the pool, their negations proved."""
    balance_step: float = Field(0.0, ge=0)
    """The temperature climbs by such steps towards more distinct correct proofs (B-STaR); 0: it stays."""


class SelectSettings(Section):
    """Steps 6 to 8 of the round."""

    band_high: float = Field(0.25, gt=0, le=1)
    """Barely provable: pass rate above 0 and up to this."""
    elegancy_drop_frac: float = Field(0.2, ge=0, lt=1)
    elegancy_by: Literal["set", "lemma"] = "set"
    """Drop that share of the whole set, or of each lemma's conjectures."""
    trivial_lemma_cap_frac: float = Field(0.5, ge=0)
    """Conjectures that do not use their lemma are kept up to this share of all barely provable ones."""
    reweight: bool = True
    """Turn the conjecturer towards the unproved statements; off: its examples weigh the same."""
    reweight_cap: int = Field(3, ge=0)
    """Unproved statements that one conjecture may stand for; 0: no cap."""
    memory_rounds: int = Field(0, ge=0)
    """Conjectures near to examples of so many earlier rounds weigh less, by the seed model's embeddings."""
    guide: bool = False
    """Weigh conjectures by relevance, simplicity and non-redundancy too (SGS): as the model of the section
    `judge` scores them, or as measured where that names none."""
    prover_pass_rate: float = Field(0.5, gt=0, le=1)
    proofs_per_statement: int = Field(0, ge=0)
    """The shortest so many proofs of a statement; 0: all."""
    replay_rounds: int = Field(3, ge=0)
    """Rounds whose proofs are trained on, this one included; 0: all since the last refresh."""
    char_decay: float = Field(0.001, ge=0)
    second_decay: float = Field(0.01, ge=0)
    heartbeats_per_second: float = Field(60_000.0, gt=0)
    """Turns heartbeats into the seconds of STP's weight, so that two runs agree."""


class TrainSettings(Section):
    """Step 9 of the round: one pass of weighted cross-entropy from the previous model."""

    enabled: bool = True
    """Off: the seed model samples in every round (parallel sampling)."""
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
    average_decay: float = Field(0.0, ge=0, lt=1)
    """Save the moving average of the weights over the steps, which keeps this much of itself at each step
    (0.999; less in the first steps); 0: the last weights."""
    save_steps: int = Field(100, gt=0)
    """A killed training goes on from the last of these checkpoints."""


class RefreshSettings(Section):
    """Training from the seed model on its own data and the hard proofs of all rounds, against drift."""

    every: int = Field(0, ge=0)
    """In each round whose number is a multiple of this; 0: never (STP: 24)."""
    at_end: bool = False
    """Also after the last round, into `models/final-N`."""
    pass_rate: float = Field(0.25, gt=0, le=1)
    proofs_per_statement: int = Field(16, ge=0)
    seed_examples: int = Field(0, ge=0)
    """Of the seed model's data, which it has learnt, as many are rehearsed, drawn anew each time; 0: all."""


class EvaluateSettings(Section):
    """Held-out evaluation: samples a statement."""

    samples: int = Field(8, gt=0)
    temperature: float = Field(1.0, gt=0)


class ReportSettings(Section):
    """Beside the table, the page and `metrics.jsonl`."""

    logs: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Also told the numbers of each round: files in the run's folder `tensorboard`, Weights & Biases."""


#: What may change while a run goes on: where and how its work is done, not what comes out but for rounding.
PLACEMENT = frozenset(
    {
        "verify.pool", "verify.workers", "model.url", "model.gpus", "model.replicas", "model.batch_size",
        "train.launch", "train.tokens_per_pass", "train.gradient_checkpointing", "train.save_steps",
    }
)  # fmt: skip


class Settings(Section):
    """All settings of a run."""

    seed: int = 0
    verify: VerifySettings = VerifySettings()
    model: ModelSettings = ModelSettings()
    judge: ModelSettings = ModelSettings(base="")
    """What scores conjectures for `select.guide`; without a base, measured features do."""
    data: DataSettings = DataSettings()
    conjecture: ConjectureSettings = ConjectureSettings()
    gates: GateSettings = GateSettings()
    attempt: AttemptSettings = AttemptSettings()
    select: SelectSettings = SelectSettings()
    train: TrainSettings = TrainSettings()
    refresh: RefreshSettings = RefreshSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    report: ReportSettings = ReportSettings()

    @model_validator(mode="after")
    def _can_be_met(self) -> Settings:
        """Thresholds that no statement could meet would waste a whole run."""
        samples, band_high = self.attempt.samples, self.select.band_high
        if self.conjecture.mode != "off" and band_high * samples < 1:
            raise ValueError(
                f"no conjecture can be barely provable: one of attempt.samples = {samples} is more than "
                f"select.band_high = {band_high}; expected at least {ceil(1 / band_high)} samples"
            )
        if self.attempt.probe_samples >= samples:
            raise ValueError(
                f"attempt.probe_samples: expected less than attempt.samples = {samples}, found "
                f"{self.attempt.probe_samples}"
            )
        return self


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
    values = _read(config, [])
    for override in overrides or []:
        _apply(values, override)
    where = str(presets().get(config, config))
    return validate(values, " ".join([where, *(f"--set {override}" for override in overrides or [])]))


def read_toml(path: Path) -> dict[str, Any]:
    """The values of a TOML file.

    Raises:
        SettingsError: it cannot be read or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: not a readable TOML file: {error}") from None


def _read(config: str, extending: list[str]) -> dict[str, Any]:
    """The values of a preset or file laid over those of the one that it extends."""
    path = presets().get(config, Path(config))
    if config in extending:
        raise SettingsError(f"{path}: extends itself: {' → '.join([*extending, config])}")
    if not path.exists():
        raise SettingsError(f"no preset or file {config!r}: presets are {', '.join(presets())}")
    values = read_toml(path)
    base = values.pop("extends", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise SettingsError(f"{path}: extends: expected the name of a preset or file, found {base!r}")
    beside = path.parent / base
    under = _read(base if base in presets() or not beside.exists() else str(beside), [*extending, config])
    for key, value in values.items():
        both = isinstance(value, dict) and isinstance(under.get(key), dict)
        under[key] = {**under[key], **value} if both else value
    return under


def validate(values: dict[str, Any], where: str) -> Settings:
    """`Settings` of plain values; a `SettingsError` names `where` and the first wrong key."""
    return validate_as(Settings, values, where)


def validate_as(model: type[S], values: dict[str, Any], where: str) -> S:
    """The section of plain values; a `SettingsError` names `where` and the first wrong key."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        # A key that is missing may be one that was spelt otherwise.
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = ", ".join(_siblings(model, first["loc"]))
            raise SettingsError(f"{where}: unknown key {key!r}: known here are {known}") from None
        if first["type"] == "missing":
            raise SettingsError(f"{where}: expected a value for {key!r}, found none") from None
        if not key:
            raise SettingsError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None
        raise SettingsError(f"{where}: {key}: {first['msg']}, got {first['input']!r}") from None


def with_later_keys(values: dict[str, Any]) -> dict[str, Any]:
    """Recorded settings, as JSON, with those keys that came after them: by default a new key changes nothing.
    Values that are no settings any more come back as they are."""
    try:
        return Settings.model_validate(values).model_dump(mode="json")
    except ValidationError:
        return values


def _siblings(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location[:-1]:
        field = model.model_fields.get(str(part))
        annotation = field.annotation if field else None
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        elif annotation is None:  # a key of such a dictionary
            continue
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
    except (ValueError, RecursionError):
        value = text
    *sections, key = dotted.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise SettingsError(f"--set {override!r}: {section!r} is not a section")
    values[key] = value
