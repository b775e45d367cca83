"""Tactic blocks as text: what a proof is made of, what may come next, what closes goals."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from stp.errors import UsageError
from stp.syntax.goals import Goal
from stp.syntax.lean_tokens import Token, closes, opens, tokens
from stp.types import CheckResult, Verdict

#: Closes every goal that is left, or fails.
CLOSE = (
    "all_goals first | omega | grind | (simp_all; done) | (simp_all; omega) | (subst_vars; grind) | decide"
)
#: The same for goals whose hypotheses `simp` would spoil.
CLOSE_PLAIN = "all_goals (intros; first | omega | grind | (constructor <;> grind) | assumption)"
#: Steps that make sense at any goal.
_STEPS = (
    "constructor", "subst_vars", "simp_all", "simp at *", "split", "ext", "exfalso",
    "norm_cast at *", "left", "right", "apply Classical.byContradiction; intro",
)  # fmt: skip
#: Steps that the first sign of what is to be shown asks for.
_FOR_HEAD = {"∧": ("constructor",), "∀": ("intros",), "¬": ("intro",), "∃": ("constructor",)}
_LCM = re.compile(r"Nat\.lcm (\w+) (\w+)|(\w+)\.lcm (\w+)")
#: Variables with no more values than that are worth a case each.
_LIMITS = frozenset(range(1, 41))
NATURAL, INTEGER = frozenset({"Nat", "ℕ"}), frozenset({"Int", "ℤ"})
_INDUCTIVE = NATURAL | INTEGER | {"List", "Option", "Bool", "Array", "Fin", "Vector", "Prod", "Sum"}
_NAME = re.compile(r"[^\W\d][\w'.]*")
_VARIABLES = 3


def block(lines: Sequence[str]) -> str:
    """`by` and the lines below it."""
    return "by\n  " + "\n  ".join(lines)


def lines_of(proof: str) -> list[str]:
    """The steps of a proof by tactics, one after the other; empty for any other proof."""
    stripped = proof.strip()
    if not stripped.startswith("by") or stripped[2:3].isalnum():
        return []
    body = stripped[2:]
    rows = [row for row in body.splitlines() if row.strip()]
    if len(rows) < 2:
        return [body.strip()] if body.strip() else []
    margin = min(len(row) - len(row.lstrip()) for row in rows if row[0] == " ") if rows[0][0] == " " else 0
    steps: list[str] = []
    for row in rows:
        if steps and len(row) - len(row.lstrip()) > margin:
            steps[-1] += "\n  " + row[margin:]
        else:
            steps.append(row.strip())
    return steps


def parts_of(step: str) -> list[str]:
    """A step cut at each `<;>` outside brackets."""
    try:
        parts = list(tokens(step))
    except UsageError:
        return [step]
    return [step[start:end].strip() for start, end in _between(parts, len(step))]


def completed(proof: str, closings: Sequence[tuple[Goal, str]]) -> str | None:
    """The proof with a step more for each goal that it left open, in their order, from a proof of each.

    `by simp`, which left `h✝ : p ⏎ ⊢ q`, and `by exact f h_1` give a block of `simp` and
    `next h_1 => exact f h_1`. None where a proof is empty or no tactic block whose steps stand in one column.
    """
    if not (steps := _in_one_column(proof)):
        return None
    for goal, closing in closings:
        if not (closes_it := _in_one_column(closing)):
            return None
        below = "".join(f"\n  {step}".replace("\n", "\n  ") for step in closes_it)
        steps = [*steps, " ".join(["next", *goal.unnamed, "=>"]) + below]
    return block(steps)


def forgiving(proof: str) -> str | None:
    """The proof with what comes last in it allowed to fail, so that goals stay open where it would: of
    `by induction l <;> grind` it is `by induction l <;> (try grind)`. None where nothing comes before."""
    *before, last = _in_one_column(proof) or [""]
    first, *rest = parts_of(last)
    if "\n" in last or not last[:1].isalpha() or not (before or rest):
        return None
    if not rest:
        return block([*before, f"try {last}"])
    last = " <;> ".join([first, *(f"(try {part})" for part in rest)])
    return block([*before, last]) if before else f"by {last}"


def _in_one_column(proof: str) -> list[str]:
    """The steps that `lines_of` gives, where the first is not on the line of `by` and others below it."""
    first, _, rest = proof.partition("\n")
    whole = first.rstrip() == "by" or (first.startswith("by ") and not rest.strip())
    return lines_of(proof) if whole else []


def leaves_goals(result: CheckResult) -> bool:
    """Is all that is wrong with the proof that goals are left?"""
    errors = [message for message in result.messages if message.severity == "error"]
    return result.verdict is Verdict.REJECTED and bool(errors) and len(errors) == len(result.goals)


def steps_for(goal: Goal) -> Iterator[str]:
    """What may come next at a goal: what its head asks for, what its hypotheses offer, general steps."""
    naturals, integers, splits, variables, universal = [], [], [], [], []
    for names, type_ in goal.hypotheses:
        if "✝" in names:
            continue
        named = _NAME.findall(names)
        if type_.startswith("∀"):
            universal += named
        elif any(sign in type_ for sign in ("∧", "∃", "∨", "↔", "∣")):
            split = "cases {}" if "∨" in type_ else "rcases {} with ⟨_, _⟩"
            splits += [split.format(name) for name in named]
        elif type_.split()[0] in _INDUCTIVE:
            variables += named
            naturals += named if type_ in NATURAL else []
            integers += named if type_ in INTEGER else []
    numbers = _numbers(goal.target)
    if goal.target.startswith("∃"):
        for name in [*naturals, *integers][:_VARIABLES]:
            yield from (f"exists {name} + 1", f"exists {name}", f"exists 2 * {name}")
        yield from (f"exists {number}" for number in ("0", "1", *numbers[:_VARIABLES]))
    yield from _FOR_HEAD.get(goal.target[:1], ("intros",) if "→" in goal.target else ())
    yield from splits
    yield from (f"have := {name} {number}" for name in universal for number in numbers[:_VARIABLES])
    for names, type_ in goal.hypotheses:
        yield from (
            f"have := Nat.gcd_mul_lcm {' '.join(filter(None, pair))}"
            for pair in _LCM.findall(f"{names} : {type_}")
        )
    limits = sorted({int(n) for _, type_ in goal.hypotheses for n in _numbers(type_)} & _LIMITS)
    for name in naturals[:_VARIABLES]:
        yield from (cases_up_to(name, limit) for limit in limits[:3])
    yield from _STEPS
    for name in variables[:_VARIABLES]:
        yield f"cases {name}"
        yield f"induction {name}"


def cases_up_to(name: str, limit: int) -> str:
    """Cases on the values of a natural number that `omega` knows to be no larger."""
    values = " ∨ ".join(f"{name} = {value}" for value in range(limit + 1))
    names = " | ".join(["rfl"] * (limit + 1))
    return f"all_goals (have : {values} := (by omega); rcases this with {names})"


def _numbers(text: str) -> list[str]:
    """The numbers of a text, each once."""
    return [*dict.fromkeys(re.findall(r"(?<![\w.])\d+(?![\w.])", text))]


def _between(parts: list[Token], length: int) -> Iterator[tuple[int, int]]:
    depth, start = 0, 0
    for token in parts:
        depth += opens(token) - closes(token)
        if token.text == "<;>" and depth == 0:
            yield start, token.start
            start = token.end
    yield start, length
