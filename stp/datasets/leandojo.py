"""Seeds from real libraries: what LeanDojo traced, read without LeanDojo, and the command that traces.

The format is that of the LeanDojo Benchmark 4: `corpus.jsonl`, a source file a line with its theorems and
definitions, and JSON lists of theorems with their places in the files and the premises of each tactic,
beside it or, in the published benchmark, in `random/`. The sources lie in `source/`, since a list of tactics
is not yet a proof; the published benchmark has none, so the traced repository is cloned there. A theorem that
cannot be cut out of its file as one command, statement and proof, is left out.

`import lean_dojo` asks GitHub about its token at once, so only `trace` does it.
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from stp.datasets.seeds import Seed
from stp.errors import UsageError
from stp.files import whole_folder
from stp.syntax.lean import make_statement, split_theorem
from stp.types import Premise, Source

#: Theorems and premises: lines and columns from 1, columns in characters.
Row = dict[str, Any]
_FIELDS = ("url", "commit", "file_path", "full_name", "start", "end", "traced_tactics")


def read(folder: Path) -> list[list[Seed]]:
    """The theorems of every traced file, in the order of the file, with their proofs and premises.

    Raises:
        UsageError: the folder does not hold a trace; names the file and what was expected.
    """
    premises = _premises(folder / "corpus.jsonl")
    theorems: dict[tuple[str, str], Row] = {}
    for list_file in sorted([*folder.glob("*.json"), *folder.glob("random/*.json")]):
        if list_file.name != "metadata.json":
            for row in _json(list_file, _source(list_file)):
                if not (isinstance(row, dict) and row.keys() >= set(_FIELDS)):
                    raise UsageError(f"{list_file}: expected LeanDojo's theorems, with {', '.join(_FIELDS)}")
                theorems[row["file_path"], row["full_name"]] = row
    if not theorems:
        raise UsageError(f"{folder}: expected LeanDojo's lists of theorems (*.json), found no theorem")
    if not (folder / "source").is_dir():
        first = next(iter(theorems.values()))
        raise UsageError(
            f"{folder / 'source'}: expected the sources, found none: clone {first['url']} there and check "
            f"out {first['commit']}"
        )
    files: dict[str, list[Row]] = defaultdict(list)
    for (path, _), row in theorems.items():
        files[path].append(row)
    found = []
    for path, rows in sorted(files.items()):
        lines = [line + "\n" for line in _source(folder / "source" / path).split("\n")]
        ordered = sorted(rows, key=lambda row: tuple(row["start"]))
        seeds = [seed for row in ordered if (seed := _seed(row, lines, premises))]
        if seeds:
            found.append(seeds)
    return found


def tuples(file: list[Seed]) -> list[tuple[Seed, Premise, Seed]]:
    """(X, lemma, Y) of one file: X stands before Y and both proofs use the lemma; for each lemma, each of
    its users with the next, so that a much-used lemma does not count by the square."""
    users: dict[Premise, list[Seed]] = defaultdict(list)
    for seed in file:
        for premise in dict.fromkeys(seed.premises):
            users[premise].append(seed)
    return [(x, lemma, y) for lemma, group in users.items() for x, y in pairwise(group)]


def trace(url: str, commit: str, out: Path) -> Path:
    """Traces a repository with LeanDojo (hours for Mathlib) and writes it to `out`, whole or not at all.

    Raises:
        UsageError: LeanDojo is not installed or cannot reach GitHub, or `out` exists.
    """
    if out.exists():
        raise UsageError(f"{out}: exists already: name a new folder")
    try:
        from lean_dojo import LeanGitRepo
        from lean_dojo import trace as trace_repo
    except ImportError:
        raise UsageError(
            "tracing needs LeanDojo, which is not installed; run: pip install 'stp-prover[dojo]'"
        ) from None
    except Exception as error:
        raise UsageError(
            f"LeanDojo does not start: {error}; it needs GitHub, and GITHUB_ACCESS_TOKEN to be set"
        ) from None
    traced = trace_repo(LeanGitRepo(url, commit))
    with whole_folder(out) as work:
        (work / "source").mkdir()
        corpus, theorems = [], []
        for file in traced.traced_files:
            corpus.append({"path": str(file.path), "premises": file.get_premise_definitions()})
            target = work / "source" / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.abs_path, target)
            if file.repo == traced.repo:
                theorems += [_theorem(file, theorem) for theorem in file.get_traced_theorems()]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in corpus)
        (work / "corpus.jsonl").write_text(text, encoding="utf-8")
        (work / "train.json").write_text(json.dumps(theorems, ensure_ascii=False), encoding="utf-8")
    return out


def _theorem(file: Any, theorem: Any) -> Row:
    tactics = [tactic.get_annotated_tactic() for tactic in theorem.get_traced_tactics()]
    return {
        "url": theorem.repo.url, "commit": theorem.repo.commit, "file_path": str(file.path),
        "full_name": theorem.theorem.full_name, "start": list(theorem.start), "end": list(theorem.end),
        "traced_tactics": [{"annotated_tactic": list(tactic)} for tactic in tactics],
    }  # fmt: skip


def _seed(row: Row, lines: list[str], premises: dict[str, Premise]) -> Seed | None:
    text = _cut(lines, row["start"], row["end"])
    try:
        theorem = split_theorem(text)
        if theorem.proof is None or theorem.proof.startswith(("|", "where")):
            return None
        name = row["full_name"].rpartition(".")[2]
        statement = make_statement(text, "", Source.SEED, name=name, origin=row["full_name"])
    except UsageError:
        return None
    used = [
        premises[premise["full_name"]]
        for tactic in row["traced_tactics"]
        for premise in tactic["annotated_tactic"][1]
        if premise["full_name"] in premises and premise["full_name"] != row["full_name"]
    ]
    return Seed(statement, theorem.proof, 0, tuple(dict.fromkeys(used)))


def _premises(corpus: Path) -> dict[str, Premise]:
    """The corpus's theorems by name, as the conjecturer is shown a lemma: name and signature."""
    found = {}
    for line in filter(None, _source(corpus).split("\n")):
        file = _json(corpus, line)
        module = file["path"].removesuffix(".lean").replace("/", ".")
        for premise in file["premises"]:
            try:
                signature = split_theorem(premise["code"]).signature
            except UsageError:
                continue  # a definition
            name = premise["full_name"]
            found[name] = Premise(name, module, f"{name} {' '.join(signature.split())}")
    return found


def _cut(lines: list[str], start: list[int], end: list[int]) -> str:
    chosen = lines[start[0] - 1 : end[0]]
    if not chosen:
        return ""
    chosen[-1] = chosen[-1][: end[1] - 1]
    chosen[0] = chosen[0][start[1] - 1 :]
    return "".join(chosen)


def _source(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: expected a file of a LeanDojo trace, found {error.strerror}") from None


def _json(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(f"{path}: not the JSON of a LeanDojo trace: {error}") from None
