"""`isabelle-main`: statements of Isabelle's `Main` and proofs of our own, as far as a real Isabelle accepts
them.

What `stp.datasets.isabelle_templates` claims is checked by the Isabelle at hand, once (some minutes, then
cached), with each claim's own proof and with the portfolio's quick methods; what none of them proves is left
out. Nothing unchecked is ever data: a checkout has the file only if an Isabelle made it. The key's hash
decides whether a statement is a seed, of the pool to prove, its proofs withheld, or held out.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from stp.datasets import isabelle_templates
from stp.datasets.files import data_dir, read_rows, write_rows
from stp.datasets.isabelle_templates import claims
from stp.datasets.seeds import Seed
from stp.errors import MachineryError
from stp.files import cache_dir
from stp.settings import VerifySettings
from stp.syntax.isabelle import make_statement
from stp.types import CheckResult, Job, Limits, Premise, Source, Statement, System
from stp.verify.pool import default_cache, open_pool

NAME = "isabelle-main"
CORPUS = "seeds/isabelle-main.jsonl.gz"
#: Proved statements from which on the corpus is worth a run.
LEAST = 400
_QUICK = ("by simp", "by auto", "by blast")
_LIMITS = Limits(wall_s=10.0)
_SEED_FRAC, _TEST_FRAC = 0.6, 0.1

Side = Literal["seed", "train", "test"]


def load(split: Literal["train", "test"] | None = None) -> list[Statement]:
    """The statements of one side of the split, or both, without the seeds, sorted by key.

    Raises:
        ToolchainError: the corpus was never made here, and there is no Isabelle to make it.
    """
    wanted = ("train", "test") if split is None else (split,)
    found = {s.key: s for s, _ in _proved(Source.DATASET) if side_of(s.key) in wanted}
    return [found[key] for key in sorted(found)]


def seeds() -> list[Seed]:
    """The proved statements to start from, a row a proof.

    Raises:
        ToolchainError: the corpus was never made here, and there is no Isabelle to make it.
    """
    return [seed for s, seed in _proved(Source.SEED) if side_of(s.key) == "seed"]


def side_of(key: str) -> Side:
    """The side of a statement, by its key alone."""
    share = int(hashlib.sha256(f"isabelle-main/{key}".encode()).hexdigest()[:8], 16) / 16**8
    return "seed" if share < _SEED_FRAC else "train" if share < 1 - _TEST_FRAC else "test"


def build() -> Path:
    """Has the Isabelle at hand check all claims and writes the corpus, to be committed.

    Raises:
        ToolchainError: there is no Isabelle.
        MachineryError: it proves fewer than `LEAST` of the claims.
    """
    path = data_dir() / CORPUS
    _make(path)
    return path


def _proved(source: Source) -> list[tuple[Statement, Seed]]:
    found = []
    for row in read_rows(_file()):
        statement = make_statement(row["statement"], "", source)
        premises = tuple(Premise(*premise) for premise in row["premises"])
        found.append((statement, Seed(statement, row["proof"], 0, premises)))
    return found


def _file() -> Path:
    """The corpus that came with STP, or the one made on this machine, made now if need be."""
    if (committed := data_dir() / CORPUS).is_file():
        return committed
    texts = (isabelle_templates.CLAIMS, Path(isabelle_templates.__file__), Path(__file__))
    mark = hashlib.sha256(b"\0".join(path.read_bytes() for path in texts)).hexdigest()[:16]
    made = cache_dir() / "isabelle-main" / f"{mark}.jsonl.gz"
    if not made.is_file():
        _make(made)
    return made


def _make(path: Path) -> None:
    statements = {s.key: s for text, _ in claims() for s in (make_statement(text, "", Source.SEED),)}
    jobs = {}
    for text, own in claims():
        s = make_statement(text, "", Source.SEED)
        for proof in dict.fromkeys((own, *_QUICK)):
            jobs[f"{s.key} {proof}"] = Job(
                f"{s.key} {proof}", "", s.text, proof, System.ISABELLE, limits=_LIMITS, premises=True
            )
    found: dict[str, list[CheckResult]] = defaultdict(list)
    with open_pool(VerifySettings(system=System.ISABELLE, pool="local"), cache=default_cache()) as pool:
        bar = tqdm(pool.check(jobs.values()), total=len(jobs), desc="isabelle-main", unit="proof")
        for result in bar:
            if result.proved:
                found[result.id.partition(" ")[0]].append(result)
                bar.set_postfix(proved=len(found), refresh=False)
    if len(found) < LEAST:
        raise MachineryError(
            f"expected Isabelle to prove {LEAST} of {len(statements)} statements of its own library, found "
            f"{len(found)}: run make test-isabelle"
        )
    write_rows(path, [
        {
            "statement": statements[key].text, "proof": jobs[result.id].proof,
            "premises": [[p.name, p.module, p.statement] for p in result.premises],
        }
        for key in sorted(found) for result in sorted(found[key], key=lambda r: r.id)
    ])  # fmt: skip
