"""The cards of what a run gives away, its datasets and its model, as the Hugging Face Hub reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import DatasetCardData, EvalResult, ModelCardData

from stp import __version__
from stp.datasets import registry
from stp.datasets.corpora import corpora
from stp.report.rates import Rate
from stp.report.record import FIXED, RoundRecord, RunRecord
from stp.settings import Settings
from stp.types import System

_TAGS = ["theorem-proving", "lean4", "self-play"]
_SYSTEMS = {System.LEAN: "Lean 4", System.ISABELLE: "Isabelle"}
_TASKS = {"sft": "text-generation", "preferences": "text-generation", "environment": "reinforcement-learning"}
_KINDS = {
    "sft": "what the run trained on: `prompt`, `target`, `weight`, `role` (prover or conjecturer), `round`",
    "preferences": "`chosen` is a proof of the statement that `prompt` asks for, `rejected` is none",
    "environment": "`statement` with its `header` and `system`; `job` is what `/v1/verify` of `stp serve` "
    "takes, once `proof` is put in; `attempts` and `proved` are what the run got; `test` was held out",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the rows and the model come from."""

    settings: Settings
    run: RunRecord
    digest: str
    """Of the run's store: equal runs, equal digests."""
    strict: str
    """Digest of the toolchain whose second process checked every proof again; "": none did."""
    left_out: int
    """Proofs of the run that the strict check did not accept."""

    @property
    def licence(self) -> str:
        """Of the dataset's statements, as the Hub writes it; our proofs add nothing to that."""
        entry = registry.entries().get(self.settings.data.dataset)
        return entry.licence.lower() if entry else "other"

    @property
    def source(self) -> str:
        """Which run, in a sentence."""
        model = self.settings.model
        return (
            f"Run `{self.digest}`, settings `{self.run.settings_digest}`, base model `{model.base}`, prompt "
            f"format `{model.prompt_format}`."
        )

    @property
    def systems(self) -> str:
        """The provers that the run is for, in words."""
        return " and ".join(sorted({_SYSTEMS[corpus.system] for corpus in corpora(self.settings.data)}))

    @property
    def check(self) -> str:
        """How the proofs were checked, and by what."""
        again = (
            f"and again, strictly, by {self.strict} ({self.left_out} were not accepted and left out)"
            if self.strict
            else "and not strictly, by a second process, as `stp export --strict` has it"
        )
        return (
            f"Every proof was checked by {self.systems}, toolchain {self.run.toolchain or 'not recorded'}, "
            f"{again}. What the embedded Lean accepted rests on its library's theorems by name: a claim that "
            "others should rely on needs a native Lean."
        )


def dataset_card(origin: Origin, files: Mapping[str, Sequence[tuple[str, Path, int, str]]]) -> str:
    """README.md of the datasets; of each kind its files as (split, path, rows, sha256)."""
    data = DatasetCardData(
        license=origin.licence,
        pretty_name=f"STP self-play on {origin.settings.data.dataset}",
        language="en",
        tags=_TAGS,
        task_categories=sorted({_TASKS[kind] for kind in files}),
        configs=[
            {"config_name": kind, "data_files": [{"split": s, "path": str(path)} for s, path, _, _ in parts]}
            for kind, parts in files.items()
        ],
    )
    kinds = "\n".join(f"- `{kind}`: {_KINDS[kind]}" for kind in files)
    rows = "\n".join(
        f"| {kind} | {split} | {count} | `{path}` | `{sha256}` |"
        for kind, parts in files.items()
        for split, path, count, sha256 in parts
    )
    return f"""---
{data.to_yaml()}
---

# STP self-play on {origin.settings.data.dataset}

Made by `stp export` {__version__} from {len(origin.run.rounds)} rounds of self-play (round 0 is the seed
corpus): one model conjectures and proves, a proof assistant checks. {origin.source}

{kinds}

{origin.check} Held-out statements are in `environment/test` and nowhere else.

| kind | split | rows | file | sha256 |
|---|---|---:|---|---|
{rows}
"""


def model_card(origin: Origin, record: RoundRecord) -> str:
    """README.md of the model of one round."""
    settings = origin.settings
    is_tiny = settings.model.base == "tiny"
    name = f"STP round {record.round} on {settings.data.dataset}"
    points = {dataset: _points(record, dataset, origin.run.samples[dataset]) for dataset in record.datasets}
    data = ModelCardData(
        license="apache-2.0" if is_tiny else "other",
        license_name=None if is_tiny else "that of the base model",
        base_model=None if is_tiny else settings.model.base,
        model_name=name,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=_TAGS,
        eval_results=[
            EvalResult(
                task_type="text-generation", dataset_type=dataset, dataset_name=dataset, dataset_split="test",
                metric_type=f"pass@{k}", metric_value=round(rate.mean, 4),
            )
            for dataset in points for k, rate, _ in points[dataset]
        ] or None,
    )  # fmt: skip
    base = (
        "the tiny model that comes with STP, trained from random weights on its seed corpus alone"
        if is_tiny
        else f"`{settings.model.base}`, whose licence holds for this model too"
    )
    rows = "\n".join(
        f"| {dataset} | {len(record.samples[dataset])} | {k} | {_percent(rate)} | {_percent(fixed)} |"
        for dataset in points
        for k, rate, fixed in points[dataset]
    )
    examples = sum(r.examples for r in origin.run.rounds if r.round <= record.round)
    return f"""---
{data.to_yaml()}
---

# {name}

A prover and conjecturer for {origin.systems}. Base: {base}. Trained by {record.round} rounds of self-play on
{examples} weighted examples: this run's own proofs and barely provable conjectures. {origin.source}

Measured on held-out statements. The last column is what as many fixed tactics prove.

| dataset | statements | k | pass@k | fixed tactics |
|---|---:|---:|---:|---:|
{rows}

Use it with `stp prove --model FOLDER --set model.prompt_format={settings.model.prompt_format}`: it has seen
no other prompts than those of this format in `stp.models.prompts`.

What it writes is no proof until a checker says so. {origin.check} The numbers say
nothing of other statements, nor of another prover.
"""


def _points(record: RoundRecord, dataset: str, most: int) -> list[tuple[int, Rate, Rate | None]]:
    """(k, pass@k, pass@k of the fixed tactics) for the powers of two below `most`, and that."""
    ks = [2**i for i in range(most.bit_length()) if 2**i < most] + [most]
    return [(k, rate, record.pass_at(dataset + FIXED, k)) for k in ks if (rate := record.pass_at(dataset, k))]


def _percent(rate: Rate | None) -> str:
    if rate is None:
        return "-"
    return f"{100 * rate.mean:.1f} %" + (f" ± {100 * rate.error:.1f}" if rate.error is not None else "")
