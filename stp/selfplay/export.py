"""`stp export`: what a run found, in tables that others train on, and its model, each with its card.

OUT holds `dataset/`, a folder that `datasets.load_dataset` takes, and `model/`. Only texts whose verdict is
*proved* stand as proofs; those that stand as failures were rejected, incomplete or cheated, never cut short
or timed out. Nothing of a held-out statement is to train on.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from stp.datasets.corpora import corpora
from stp.datasets.tables import Row, pyarrow_for, write_table
from stp.download import digest
from stp.errors import UsageError
from stp.files import whole_folder
from stp.models.prompts import prompt_format
from stp.report.cards import Origin, dataset_card, model_card
from stp.report.record import RoundRecord, read_run
from stp.selfplay.disprove import disproved
from stp.selfplay.folder import model_dir
from stp.selfplay.learn import conjecturer_example, prover_example
from stp.settings import Settings, validate
from stp.store.rows import CorrectProof, proof_key
from stp.store.store import Store
from stp.training.fit import REPORT
from stp.types import Job, Source, Statement
from stp.verify.job import job_to_json
from stp.verify.pool import default_cache, open_pools

#: What a model's folder keeps for this project alone.
_OURS = shutil.ignore_patterns("inputs", REPORT)
_EVER = 1 << 31


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: rows of each kind and split, and the round of the model; None: there was none."""

    rows: dict[str, int]
    left_out: int
    model_round: int | None


def export(run: Path, out: Path, ending: str, *, strict: bool) -> Exported:
    """Writes the tables and the model of a run to `out`, whole or not at all.

    With `strict` a second process, which never sees a proof's text, checks each proof again; what it does not
    accept is left out.

    Raises:
        UsageError: `out` exists, or the folder's run is not one of self-play, or Parquet cannot be written.
        StoreError: the folder holds no run.
    """
    if out.exists():
        raise UsageError(f"{out}: exists already: name a new folder")
    if ending == "parquet":
        pyarrow_for(out)  # or an hour of checks would be for nothing
    with Store(run / "stp.sqlite", read_only=True) as store:
        values = store.meta("settings")
        if values is None:
            raise UsageError(
                f"{run}: expected a run of stp selfplay, found another or one that has not begun"
            )
        settings = validate(values, str(run / "stp.sqlite"))
        proofs = {proof.key: proof for proof in store.correct_proofs(0, _EVER)}
        tables = {
            "sft": {"train": list(sft_rows(store, settings))},
            "preferences": {"train": list(preference_rows(store, settings, proofs.values()))},
            "environment": environment_rows(store, settings),
        }
        wanted = {row["proof"] for kind in ("sft", "preferences") for row in tables[kind]["train"]} - {None}
        good, toolchain = wanted & proofs.keys(), ""
        known = len(good)
        if strict:
            good, toolchain = _strictly_checked(store, settings, [proofs[key] for key in sorted(good)])
        for kind in ("sft", "preferences"):
            tables[kind]["train"] = [
                {**row, "strict": strict and row["proof"] is not None}
                for row in tables[kind]["train"]
                if row["proof"] is None or row["proof"] in good
            ]
        origin = Origin(settings, read_run(store), store.digest(), toolchain, known - len(good))
    record = _last_model(run, origin)
    with whole_folder(out) as work:
        files = {kind: list(_write(work / "dataset", kind, tables[kind], ending)) for kind in tables}
        files = {kind: parts for kind, parts in files.items() if parts}
        (work / "dataset").mkdir(exist_ok=True)
        (work / "dataset" / "README.md").write_text(dataset_card(origin, files), encoding="utf-8")
        if record:
            model = _model(run, origin, record)
            shutil.copytree(model, work / "model", ignore=_OURS, copy_function=_link_weights)
            (work / "model" / "README.md").write_text(model_card(origin, record), encoding="utf-8")
    rows = {f"{kind}/{split}": count for kind, parts in files.items() for split, _, count, _ in parts}
    return Exported(rows, origin.left_out, record.round if record else None)


def sft_rows(store: Store, settings: Settings) -> Iterator[Row]:
    """What each round trained on, both roles; `proof` is the key of the proof that a row rests on."""
    style = prompt_format(settings.model.prompt_format)
    for number in sorted({mark.round for mark in store.stages()}):
        for e in store.prover_texts(number):
            proof = proof_key(e.statement.key, e.proof)
            yield _sft_row("prover", number, prover_example(style, e), e.statement, proof)
        for c in store.conjecturer_texts(number):
            read = None if c.seed_proof is None else proof_key(c.seed.key, c.seed_proof)
            yield _sft_row("conjecturer", number, conjecturer_example(style, c), c.statement, read)


def _sft_row(role: str, round: int, example: Any, statement: Statement, proof: str | None) -> Row:
    return {
        "prompt": example.prompt.text, "target": example.target, "weight": example.weight, "role": role,
        "round": round, "statement": statement.key, "proof": proof,
    }  # fmt: skip


def preference_rows(store: Store, settings: Settings, proofs: Iterable[CorrectProof]) -> Iterator[Row]:
    """For each statement its proofs, the shortest first, each beside a failure, the most often sampled first:
    as many pairs as the fewer of both."""
    style = prompt_format(settings.model.prompt_format)
    statements = {s.key: s for s in store.statements()}
    chosen: dict[str, list[CorrectProof]] = defaultdict(list)
    for proof in proofs:
        chosen[proof.statement].append(proof)
    failed: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for key, text, verdict in store.failures():
        failed[key].append((text, verdict))
    for key in sorted(chosen.keys() & failed.keys()):
        prompt = style.prover(statements[key]).text
        shortest = sorted(chosen[key], key=lambda proof: (len(proof.text), proof.text))
        for proof, (text, verdict) in zip(shortest, failed[key], strict=False):
            yield {
                "prompt": prompt, "chosen": proof.text, "rejected": text, "rejected_verdict": verdict,
                "statement": key, "proof": proof.key,
            }  # fmt: skip


def environment_rows(store: Store, settings: Settings) -> dict[str, list[Row]]:
    """Statements to prove by reinforcement, and those held out: the dataset's, the seed corpus's, and the
    conjectures that were proved; not what is known to be false."""
    style, limits = prompt_format(settings.model.prompt_format), settings.verify.limits
    rates, false = store.pooled_rates(1, _EVER), disproved(store)
    held_out = {s.key for s in store.statements(split="test")}
    tables: dict[str, list[Row]] = {"train": [], "test": []}
    for s in store.statements():
        tally = rates.get(s.key)
        attempts, proved = (tally.attempts, tally.proved) if tally else (0, 0)
        if s.key in false or s.source is Source.NEGATION or (s.source is Source.CONJECTURE and not proved):
            continue
        job = job_to_json(Job(s.key, s.header, s.text, "", s.system, s.origin, limits, strict=True))
        del job["proof"]
        tables["test" if s.key in held_out else "train"].append({
            "statement": s.text, "header": s.header, "system": s.system.value, "key": s.key,
            "source": s.source.value, "prompt": style.prover(s).text,
            "attempts": attempts, "proved": proved, "job": job,
        })  # fmt: skip
    return tables


def _strictly_checked(store: Store, settings: Settings, proofs: list[CorrectProof]) -> tuple[set[str], str]:
    """Keys of the proofs that a second process accepts too, and the digest of its toolchain."""
    limits, statements = settings.verify.limits, {s.key: s for s in store.statements()}
    jobs = []
    for proof in proofs:
        s = statements[proof.statement]
        jobs.append(Job(proof.key, s.header, s.text, proof.text, s.system, s.origin, limits, strict=True))
    systems = [corpus.system for corpus in corpora(settings.data)]
    with open_pools(settings.verify, systems, cache=default_cache()) as pool:
        results = tqdm(pool.check(jobs), total=len(jobs), desc="strict check", unit="proof")
        return {result.id for result in results if result.proved}, pool.digest


def _write(
    folder: Path, kind: str, splits: dict[str, list[Row]], ending: str
) -> Iterator[tuple[str, Path, int, str]]:
    """The files of one kind as (split, path in the folder, rows, sha256); none of a split without rows."""
    for split, rows in splits.items():
        if rows:
            path = Path(kind) / f"{split}.{ending}"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            write_table(folder / path, rows)
            yield split, path, len(rows), digest(folder / path)


def _last_model(run: Path, origin: Origin) -> RoundRecord | None:
    """The last round that has both a model and its evaluation."""
    measured = [record for record in origin.run.rounds if record.datasets]
    return next((record for record in reversed(measured) if _model(run, origin, record).is_dir()), None)


def _model(run: Path, origin: Origin, record: RoundRecord) -> Path:
    return model_dir(run, record.round, origin.settings.train.enabled)


def _link_weights(source: str, target: str) -> str:
    """Weights are large and never edited in place: a second name will do where the disk can."""
    if source.endswith(".safetensors"):
        with suppress(OSError):
            os.link(source, target)
            return target
    return str(shutil.copy2(source, target))
