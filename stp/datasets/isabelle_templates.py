"""Statements for Isabelle's `Main` with proofs, all of our own: what every library of lists, sets, logic,
orders and arithmetic says, written by hand in `claims.toml`, and templates filled with small constants and
with each other. They are claims until a real Isabelle has checked them (`stp.datasets.isabelle_main`).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

CLAIMS = Path(__file__).with_name("claims.toml")

_SYMBOLS = {
    "∀": "forall", "∃": "exists", "¬": "not", "∧": "and", "∨": "or", "⟶": "longrightarrow",
    "⟷": "longleftrightarrow", "⟹": "Longrightarrow", "⟦": "lbrakk", "⟧": "rbrakk", "λ": "lambda",
    "≤": "le", "≥": "ge", "≠": "noteq", "∈": "in", "∉": "notin", "∪": "union", "∩": "inter",
    "⊆": "subseteq", "⊂": "subset", "×": "times", "∘": "circ", "⋃": "Union", "⋂": "Inter", "∑": "Sum",
    "⇒": "Rightarrow",
}  # fmt: skip
_TO_SYMBOLS = str.maketrans({char: f"\\<{name}>" for char, name in _SYMBOLS.items()})


#: Functions on lists by what they leave alone.
_LENGTH = ("rev", "map f", "rotate n", "rotate1")
_MEMBERS = ("rev", "remdups", "rotate n", "rotate1")
_MAPPED = {
    "rev": "rev_map", "take n": "take_map", "drop n": "drop_map", "tl": "map_tl", "butlast": "map_butlast",
    "rotate n": "rotate_map", "rotate1": "rotate1_map",
}  # fmt: skip


def claims() -> Iterator[tuple[str, str]]:
    """Each statement, `theorem TOPIC_NUMBER: SIGNATURE`, with its proof, in a fixed order."""
    topics: dict[str, str] = tomllib.loads(CLAIMS.read_text(encoding="utf-8"))
    laws, shapes = topics.pop("laws").splitlines(), topics.pop("shapes").splitlines()
    filled = {"law": _laws(laws), "linear": _linear(shapes), "fold": _lists()}
    written = {topic: text.splitlines() for topic, text in topics.items()}
    for topic, lines in {**written, **filled}.items():
        for number, line in enumerate(lines):
            stated, _, method = line.translate(_TO_SYMBOLS).partition("  ")
            signature = stated if stated.startswith(("fixes ", "assumes ")) else f'"{stated}"'
            yield f"theorem {topic}_{number}: {signature}", f"by {method}"


def _laws(laws: Iterable[str]) -> Iterator[str]:
    """The laws for sets and propositions, plain and with a compound in the place of a variable."""
    sets, truths = {"m": "∩", "j": "∪", "c": "- "}, {"m": "∧", "j": "∨", "c": "¬ "}
    as_sets, as_truths = str.maketrans("abde", "ABDE"), str.maketrans("abde", "PQRS")
    for law, inner in product(laws, ("a", "(a {m} e)", "({c}a)", "(e {j} {c}a)")):
        if inner == "a" or " e" not in law:
            filled = re.sub(r"(?<![a-z])a(?![a-z])", inner, law)
            left, _, right = filled.partition(" = ")
            yield filled.format(**sets).translate(as_sets) + "  blast"
            yield f"({left}) = ({right})".format(**truths).translate(as_truths) + "  blast"


def _linear(shapes: Iterable[str]) -> Iterator[str]:
    for shape, i, j in product(shapes, range(2, 5), range(1, 5)):
        yield shape.replace("{i}", str(i)).replace("{j}", str(j))


def _lists() -> Iterator[str]:
    for f, g in product(_LENGTH, _LENGTH):
        yield f"length ({f} ({g} xs)) = length xs  simp"
    for f, g in product(_MEMBERS, _MEMBERS):
        yield f"set ({f} ({g} xs)) = set xs  simp"
        yield f"(x ∈ set ({f} ({g} xs))) = (x ∈ set xs)  simp"
    for (f, by_f), (g, by_g) in product(_MAPPED.items(), _MAPPED.items()):
        facts = " ".join(dict.fromkeys((by_f, by_g)))
        yield f"{f} ({g} (map h xs)) = map h ({f} ({g} xs))  (simp add: {facts})"
