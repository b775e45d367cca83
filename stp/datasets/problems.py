"""Problems of a benchmark: header, statement and hole, cut apart so that putting them together again gives
the text that was read.

Read are JSON lines (or one JSON list) with the fields `header`, `formal_statement` and a name, as miniF2F,
ProofNet, PutnamBench and LeanWorkbook are published, in Lean and in Isabelle, and Lean files with `sorry`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from stp.datasets.tables import Row, json_rows
from stp.errors import UsageError
from stp.syntax.lean import make_statement, split_theorem
from stp.syntax.lean_file import theorems
from stp.syntax.lean_tokens import tokens
from stp.types import Source, Statement, System

_NAMES = ("name", "lean_name", "problem_id", "id")
#: Between the name and the statement of an Isabelle theorem, which a key leaves out.
_ISABELLE_NAME = re.compile(r"\s*(?:theorem|lemma)\s+[\w']+\s*:")


@dataclass(frozen=True, slots=True)
class Problem:
    """One statement to prove: `before + text + hole + after` is what was read."""

    name: str
    split: str
    before: str
    """Header, and definitions of its own that stand before the statement."""
    text: str
    """The statement as written: `theorem NAME SIGNATURE`."""
    hole: str
    """What stands for the proof: ` := by`, or Isabelle's `sorry`."""
    after: str
    system: System
    statement: Statement | None
    """None: nothing that can be proved, and `reason` says why."""
    reason: str = ""
    proofs: tuple[str, ...] = ()
    """As they were published, unchecked."""

    @property
    def source(self) -> str:
        """The text that it was read from."""
        return self.before + self.text + self.hole + self.after


def read_problems(path: Path, system: System, header: str) -> list[Problem]:
    """The problems of a file or folder, in their order; names that repeat get a number.

    Raises:
        UsageError: it cannot be read, or holds no problem; names the line.
    """
    files = sorted([*path.rglob("*.jsonl"), *path.rglob("*.lean")]) if path.is_dir() else [path]
    found: list[Problem] = []
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{file}: expected a readable file of UTF-8 text: {error}") from None
        if file.suffix == ".lean":
            found += _from_lean(file, text)
        else:
            found += [_from_row(row, where, system, header) for where, row in _rows(file, text)]
    if not found:
        raise UsageError(f"{path}: expected problems in JSON lines or Lean files, found none")
    return list(_renamed(found))


def _rows(file: Path, text: str) -> Iterator[tuple[str, Row]]:
    """Each object with where it stands."""
    for where, row in json_rows(file, text):
        if not isinstance(row.get("formal_statement"), str):
            raise UsageError(f"{where}: expected an object with the field 'formal_statement'")
        yield where, row


def _from_row(row: Row, where: str, system: System, header: str) -> Problem:
    named = (row[field] for field in _NAMES if isinstance(row.get(field), str))
    name = next(named, "") or _name_of(row["formal_statement"]) or Path(where).name
    split = str(row.get("split") or "all")
    before = str(header if row.get("header") is None else row["header"])
    for own in ("helper", "preamble"):
        if row.get(own):
            before = f"{before.rstrip()}\n\n{row[own]}"
    if system is System.ISABELLE:
        return _isabelle(name, split, f"{before}\n\n", row["formal_statement"])
    if before and not before.endswith("\n"):
        before += "\n\n"
    given = row.get("proof") or []
    if not isinstance(given, str | list):
        raise UsageError(f"{where}: proof: expected a text or a list of them, found {given!r}")
    given = [given] if isinstance(given, str) else given
    proofs = tuple(tactic_proof(str(proof)) for proof in given if proof)
    return replace(_lean(name, split, before, row["formal_statement"]), proofs=proofs)


def tactic_proof(text: str) -> str:
    """A published proof as a term: LeanWorkbook's are blocks of tactics without their `by`."""
    lines = text.strip().splitlines()
    return "\n".join(lines) if lines[:1] and lines[0].split()[0] == "by" else "\n  ".join(["by", *lines])


def _name_of(text: str) -> str:
    """The theorem's own name: LeanWorkbook's rows have no other."""
    try:
        return split_theorem(text).name or ""
    except UsageError:
        return ""


def _lean(name: str, split: str, before: str, text: str) -> Problem:
    """A theorem; options set for it alone (`set_option … in`) belong to its header."""
    header, statement_text = before, text
    try:
        if (cut := _option_end(text)) is not None:
            header, statement_text = before + text[: cut[0]].rstrip() + "\n", text[cut[1] :].lstrip()
        signature = split_theorem(statement_text).signature
        statement = make_statement(statement_text, header, Source.DATASET)
    except UsageError as error:
        return Problem(name, split, before, text, "", "", System.LEAN, None, f"not a theorem: {error}")
    end = text.rindex(signature) + len(signature)
    return Problem(name, split, before, text[:end], text[end:], "", System.LEAN, statement)


def behind(header: str, problem: Problem) -> Problem:
    """The problem with another header."""
    return _lean(problem.name, problem.split, header, problem.text + problem.hole)


def problem_of(name: str, split: str, text: str, where: str) -> Row:
    """The row of a Lean file that holds one problem: a theorem with `sorry` for a proof, behind its header.

    Raises:
        UsageError: it holds none, or several.
    """
    found = list(_from_lean(Path(name), text))
    if len(found) != 1:
        raise UsageError(f"{where}: expected one theorem with `sorry` for a proof, found {len(found)}")
    statement = found[0].text + " := by"
    return {"name": name, "split": split, "header": found[0].before, "formal_statement": statement}


def _option_end(text: str) -> tuple[int, int] | None:
    """Where the `in` of a leading `set_option … in` begins and ends."""
    stream = tokens(text)
    first = next(stream, None)
    if first is None or first.text != "set_option":
        return None
    return next(((token.start, token.end) for token in stream if token.text == "in"), None)


def _isabelle(name: str, split: str, before: str, text: str) -> Problem:
    words = " ".join(_ISABELLE_NAME.sub("theorem", text, count=1).split())
    key = hashlib.sha256(f"isabelle\0{words}".encode()).hexdigest()[:24]
    statement = Statement(System.ISABELLE, before, name, text, key, Source.DATASET)
    return Problem(name, split, before, text, "\n  sorry", "\n\nend\n", System.ISABELLE, statement)


def _from_lean(file: Path, text: str) -> Iterator[Problem]:
    """The theorems of a file that have `sorry` for a proof, each behind all that stands before it."""
    for theorem in theorems(text):
        command = text[theorem.start : theorem.end]
        if split_theorem(command).proof is None:
            yield _lean(f"{file.stem}.{theorem.name}", "all", text[: theorem.start], command)


def _renamed(problems: list[Problem]) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for problem in problems:
        seen[problem.name] = number = seen.get(problem.name, 0) + 1
        yield problem if number == 1 else replace(problem, name=f"{problem.name}#{number}")
