"""The seed corpus: checked proofs of `lean-core` training statements and of statements of our own.

Nothing here knows a proof beforehand. A portfolio of tactics, templates for what a statement talks about
(cases and induction on its variables, unfolding, related library lemmas) and their two-step combinations
are tried, and the real Lean says which of them are proofs; a proof that uses the statement's own library
theorem does not count. What is committed are our proofs, with names, keys and the names of the lemmas used.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from tqdm import tqdm

from stp.datasets import lean_core
from stp.datasets.files import data_dir, read_rows, write_rows
from stp.settings import VerifySettings
from stp.syntax.lean import make_statement
from stp.syntax.lean_tokens import Kind, tokens
from stp.types import CheckResult, Job, Limits, Premise, Source, Statement
from stp.verify.pool import Pool, default_cache, open_pool

CORPUS = "seeds/lean-core.jsonl.gz"
FIXED_TACTICS = (
    "by grind", "by simp_all", "by omega", "by simp", "by rfl", "by ext <;> grind",
    "by constructor <;> simp_all", "by ext <;> simp", "by intros; rfl", "by constructor <;> grind",
    "by decide", "by split <;> simp_all",
)  # fmt: skip
_LIMITS = Limits(wall_s=20.0, heartbeats=4_000)
_RELATED = 2
_STATEMENTS = 1600
#: Of these so many, where the portfolio fails, are tried with templates: ten times as dear.
_TEMPLATED = 1000
_VARIABLES = 2
_PROOFS_A_STATEMENT = 6
#: Types whose variables are worth a case split or an induction.
_INDUCTIVE = frozenset({"Nat", "List", "Option", "Bool", "Array", "Fin", "Vector", "Prod", "Sum"})
_SPLITS = (
    "by induction {x} <;> grind", "by induction {x} <;> simp_all", "by cases {x} <;> grind",
    "by cases {x} <;> simp_all", "by rcases {x} with ⟨{x}, rfl⟩ <;> simp",
    "by rcases {x} with ⟨{x}, rfl⟩ <;> grind",
)  # fmt: skip
_DOUBLE_SPLITS = (
    "by cases {x} <;> cases {y} <;> simp_all", "by induction {x} generalizing {y} <;> grind",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Seed:
    """A proved statement of the corpus and the library theorems that the proof uses."""

    statement: Statement
    proof: str
    heartbeats: int
    premises: tuple[Premise, ...]


def load() -> list[Seed]:
    """The committed corpus, with the statements read from the embedded Lean.

    Raises:
        MachineryError: the corpus is missing or damaged.
        ToolchainError: the library is another version.
    """
    theorems = lean_core.library()
    statements = {statement.key: statement for statement in lean_core.load("train")}
    seeds = []
    for row in read_rows(data_dir() / CORPUS):
        statement = statements.get(row["key"]) or _own(row["statement"])
        premises = tuple(
            Premise(name, theorems[name].module, theorems[name].text)
            for name in row["premises"]
            if name in theorems
        )
        seeds.append(Seed(statement, row["proof"], row["heartbeats"], premises))
    return seeds


def build() -> Path:
    """Proves what it can and writes the corpus; goes on where it was killed, by the result cache."""
    theorems = lean_core.library()
    statements = lean_core.load("train")[:_STATEMENTS] + list(own_statements())
    by_key = {statement.key: statement for statement in statements}
    found: dict[str, list[tuple[str, CheckResult]]] = defaultdict(list)
    with open_pool(VerifySettings(pool="local", toolchain="embedded"), cache=default_cache()) as pool:
        _try(pool, ((s, p) for s in statements for p in FIXED_TACTICS), found, "fixed tactics")
        unsolved = [s for s in statements[:_TEMPLATED] if s.key not in found]
        _try(pool, ((s, p) for s in unsolved for p in templates(s)), found, "templates")
        unsolved = [s for s in unsolved if s.key not in found]
        names = related(unsolved, theorems, _RELATED)
        _try(pool, ((s, p) for s in unsolved for p in _by_lemmas(names[s.key])), found, "lemmas")
    rows = []
    for key in sorted(found):
        shortest = sorted(found[key], key=lambda pair: (len(pair[0]), pair[0]))
        for proof, result in shortest[:_PROOFS_A_STATEMENT]:
            premises = sorted({p.name for p in result.premises if p.name in theorems})
            row = {"key": key, "proof": proof, "heartbeats": result.heartbeats, "premises": premises}
            if by_key[key].origin is None:
                row["statement"] = by_key[key].text
            rows.append(row)
    path = data_dir() / CORPUS
    write_rows(path, rows)
    return path


def templates(statement: Statement) -> Iterator[str]:
    """Proofs by cases or induction on the statement's first variables of inductive types."""
    variables = list(dict.fromkeys(_variables(statement.text)))[:_VARIABLES]
    for variable in variables:
        for template in _SPLITS:
            yield template.format(x=variable)
    for x, y in permutations(variables, 2):
        for template in _DOUBLE_SPLITS:
            yield template.format(x=x, y=y)


def own_statements() -> Iterator[Statement]:
    """Statements of our own making: arithmetic with small constants, in several shapes."""
    shapes = (
        "theorem own (a b : Nat) (h : a + {i} ≤ b) : a ≤ b - {i}",
        "theorem own (a b : Nat) (h : a < b) : {i} * a < {i} * b + {j}",
        "theorem own (n : Nat) : (n + {i}) * {j} = {j} * n + {i} * {j}",
        "theorem own (a b : Int) (h : a - {i} = b) : a = b + {i}",
        "theorem own (a b c : Nat) (h : a ≤ b) : a + {i} * c ≤ b + {i} * c + {j}",
        "theorem own (n : Nat) (h : n % {i} = 0) : (n + {i} * {j}) % {i} = 0",
        "theorem own (l : List Nat) : (l ++ List.replicate {i} {j}).length = l.length + {i}",
        "theorem own (x : Nat) (h : {i} * x = {i} * {j}) : x = {j}",
        "theorem own (p q : Prop) (a : Nat) (hp : p) (h : p → a = {i}) : a + {j} = {i} + {j}",
        "theorem own (o : Option Nat) : (o.map (· + {i})).isSome = o.isSome",
    )
    for shape in shapes:
        for i in range(1, 4):
            for j in range(2, 4):
                yield _own(shape.format(i=i, j=j))


def _own(text: str) -> Statement:
    return make_statement(text, "", Source.SEED)


def _variables(text: str) -> Iterator[str]:
    """Explicit or implicit binders `(x y : T …)` of the signature whose type's head is inductive."""
    names: list[str] = []
    parts = list(tokens(text))
    for at, token in enumerate(parts):
        if token.text in "({":
            names = []
        elif token.kind is Kind.NAME:
            names.append(token.text)
        elif token.text == ":" and at + 1 < len(parts):
            if parts[at + 1].text in _INDUCTIVE:
                yield from names
            names = []
        else:
            names = []


def related(statements: Iterable[Statement], theorems: Iterable[str], count: int) -> dict[str, list[str]]:
    """By a statement's key, the `count` theorems whose names share most parts with its origin's, rare
    parts counting more; fewer where fewer share any."""
    by_part: dict[str, list[str]] = defaultdict(list)
    for name in sorted(theorems):
        for part in _name_parts(name):
            by_part[part].append(name)
    found = {}
    for statement in statements:
        scores: dict[str, float] = defaultdict(float)
        for part in sorted(_name_parts(statement.origin or "")):
            for name in by_part[part]:
                scores[name] += 1 / len(by_part[part])
        scores.pop(statement.origin or "", None)
        found[statement.key] = sorted(scores, key=lambda name: (-scores[name], name))[:count]
    return found


def _by_lemmas(names: list[str]) -> Iterator[str]:
    if names:
        for tactic in ("grind", "simp"):
            yield f"by {tactic} [{', '.join(sorted(names))}]"


def _name_parts(name: str) -> set[str]:
    return {part for part in name.replace(".", "_").split("_") if len(part) > 2}


def _try(
    pool: Pool,
    pairs: Iterable[tuple[Statement, str]],
    found: dict[str, list[tuple[str, CheckResult]]],
    what: str,
) -> None:
    """Checks pairs and adds those proved. A job's id is its statement's key and its proof."""
    chosen = list(pairs)
    jobs = (
        Job(f"{s.key} {proof}", s.header, s.text, proof, origin=s.origin, premises=True,
            limits=_LIMITS)
        for s, proof in chosen
    )  # fmt: skip
    bar = tqdm(pool.check(jobs), total=len(chosen), desc=what, unit="proof")
    for result in bar:
        if result.proved:
            key, _, proof = result.id.partition(" ")
            found[key].append((proof, result))
            bar.set_postfix(proved=len(found), refresh=False)
