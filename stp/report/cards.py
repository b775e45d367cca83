"""The cards of what a run gives away, its datasets and its model, as the Hugging Face Hub reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import DatasetCardData, EvalResult, ModelCardData

from stp import __version__
from stp.datasets import registry
from stp.report.record import PORTFOLIO, RoundRecord, RunRecord
from stp.settings import Settings

_TAGS = ["theorem-proving", "lean4", "self-play"]
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
    def check(self) -> str:
        """How the proofs were checked, and by what."""
        again = (
            f"and again, strictly, by {self.strict} ({self.left_out} were not accepted and left out)"
            if self.strict
            else "and not strictly, by a second process, as `stp export --strict` has it"
        )
        return (
            f"Every proof was checked by Lean, toolchain {self.run.toolchain or 'not recorded'}, {again}. "
            "What the embedded Lean accepted rests on its library's theorems by name: a claim that others "
            "should rely on needs a native Lean."
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
    settings, dataset = origin.settings, origin.settings.data.dataset
    is_tiny = settings.model.base == "tiny"
    name = f"STP round {record.round} on {dataset}"
    most = origin.run.samples.get(dataset, 0)
    ks = [k for k in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024) if k < most] + ([most] if most else [])
    points = [
        (k, rate, record.pass_at(dataset + PORTFOLIO, k)) for k in ks if (rate := record.pass_at(dataset, k))
    ]
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
            for k, rate, _ in points
        ] or None,
    )  # fmt: skip
    base = (
        "the tiny model that comes with STP, trained from random weights on its seed corpus alone"
        if is_tiny
        else f"`{settings.model.base}`, whose licence holds for this model too"
    )
    rows = "\n".join(
        f"| {k} | {_percent(rate.mean, rate.error)} | {_percent(fixed.mean, fixed.error) if fixed else '-'} |"
        for k, rate, fixed in points
    )
    examples = sum(r.examples for r in origin.run.rounds if r.round <= record.round)
    return f"""---
{data.to_yaml()}
---

# {name}

A prover and conjecturer for Lean 4. Base: {base}. Trained by {record.round} rounds of self-play on
{examples} weighted examples: this run's own proofs and barely provable conjectures. {origin.source}

Measured on {len(record.samples.get(dataset, []))} held-out statements of {dataset}. The last column is what
as many fixed tactics prove.

| k | pass@k | fixed tactics |
|---:|---:|---:|
{rows}

Use it with `stp prove --set model.base=FOLDER --set model.prompt_format={settings.model.prompt_format}`: it
has seen no other prompts than those of this format in `stp.models.prompts`.

What it writes is no proof until a checker says so. {origin.check} The numbers are of {dataset} and
say nothing of other statements, nor of another Lean.
"""


def _percent(mean: float, error: float | None) -> str:
    return f"{100 * mean:.1f} %" + (f" ± {100 * error:.1f}" if error is not None else "")
