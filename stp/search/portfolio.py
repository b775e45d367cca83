"""The portfolio: closing tactics, and what a statement's own words suggest. No model, no search.

The order is that of what they close: the first four are the first visit of every statement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from stp.datasets.seeds import FIXED_TACTICS, templates
from stp.errors import UsageError
from stp.search.premises import Premises
from stp.search.strategy import Draft, Task, unlike
from stp.search.tactics import INTEGER, NATURAL, block
from stp.syntax.goals import goal_of
from stp.syntax.lean_file import definitions
from stp.syntax.lean_tokens import Kind, Token, tokens
from stp.types import Statement, System

#: Each tried as the whole proof: the eleven methods that the field tries before `sledgehammer` (Jiang et al.
#: 2023, arXiv 2210.12283) without `eval`, an oracle, and two more. `sos` is known only where the header
#: imports HOL-Library.Sum_of_Squares.
ISABELLE_PORTFOLIO = (
    "by simp", "by auto", "by blast", "by fastforce", "by force", "by presburger", "by arith", "by linarith",
    "by (auto simp: field_simps)", "by sos",
    "by (simp add: algebra_simps)", "by (simp add: power2_eq_square)",
)  # fmt: skip
_FIRST = ("by grind", "by omega", "by simp_all", "by decide +kernel")
#: Where a header defines something.
_UNFOLDING = (
    "by simp_all [{}]", "by grind [{}]", "by simp [{}] <;> omega", "by simp only [{}] at * <;> grind",
)  # fmt: skip
_LAST = (
    "by subst_vars; omega", "by intros; subst_vars; grind", "by simp_all; omega",
    "by constructor <;> intros <;> grind", "by constructor <;> intros <;> simp_all <;> omega",
    "by intros; simp_all; grind", "by decide +revert",
)  # fmt: skip
_POWERS = {
    True: "Nat.pow_succ, Nat.mul_mod, Nat.add_mod",
    False: "Int.pow_succ, Int.mul_emod, Int.add_emod, Int.sub_emod",
}
_MAX_MODULUS, _MAX_BOUND = 13, 40
_VARIABLES = 2
#: Library theorems that `grind` is given: of 8, 16, 24 and 32 those that close most for their time.
_NEAREST = 16
_INDUCTIONS = (
    "by induction {x} <;> simp_all [Nat.pow_succ, Nat.pow_add, Nat.mul_add] <;> omega",
    "by induction {x} <;> grind [Nat.pow_succ]",
)


class Portfolio:
    """Fixed closing tactics, then unfolding, the library's nearest theorems, residues, enumeration, cases and
    induction."""

    looks = False

    def __init__(self, premises: Callable[[Sequence[Statement]], Premises | None] = lambda _: None) -> None:
        """With what finds library theorems to give to `grind` for such statements."""
        self.premises = premises

    def propose(self, tasks: Sequence[Task], most: int) -> list[list[Draft]]:
        """See `Strategy.propose`."""
        premises = self.premises([task.statement for task in tasks])
        return [unlike(map(Draft, closing(task.statement, premises)), task.tried)[:most] for task in tasks]


def fixed(system: System) -> tuple[str, ...]:
    """A system's closing tactics, the same for every statement."""
    return ISABELLE_PORTFOLIO if system is System.ISABELLE else FIXED_TACTICS


def closing(statement: Statement, premises: Premises | None = None) -> list[str]:
    """The proofs that `Portfolio` tries, without repeats."""
    if statement.system is System.ISABELLE:
        return [*fixed(statement.system)]
    names = ", ".join(_unfolded(statement))
    unfolding = [form.format(names) for form in _UNFOLDING] if names else []
    nearest = [proof] if premises and (proof := premises.proof(statement, _NEAREST)) else []
    of_words = [*unfolding, *nearest, *_suggested(statement)]
    return [*dict.fromkeys((*_FIRST, *of_words, *_LAST, *FIXED_TACTICS, *templates(statement)))]


def _unfolded(statement: Statement) -> list[str]:
    """Definitions of the statement's own header that it mentions; all of them where it mentions none by name,
    since notation may hide one."""
    names = definitions(statement.header)
    words = {token.text for token in tokens(statement.text)}
    return [name for name in names if name in words or name.rpartition(".")[2] in words] or names


def _suggested(statement: Statement) -> Iterator[str]:
    """Enumeration of a variable with a small bound, residues by a modulus that is mentioned, induction."""
    try:
        goal = goal_of(statement.text)
    except UsageError:
        return
    words = [token for token in tokens(statement.text)]
    naturals = [n for names, type_ in goal.hypotheses if type_ in NATURAL for n in names.split()]
    integers = [n for names, type_ in goal.hypotheses if type_ in INTEGER for n in names.split()]
    for name in naturals:
        if bound := _bound(words, name):
            yield _cases([f"{name} = {i}" for i in range(bound + 1)], "subst this <;> first | omega | grind")
            break
    for name in [*naturals, *integers][:_VARIABLES]:
        for modulus in _moduli(words):
            known = [f"{name} % {modulus} = {i}" for i in range(modulus)]
            yield _cases(known, f"simp_all [{_POWERS[name in naturals]}]")
    for name in naturals[:_VARIABLES]:
        yield from (form.format(x=name) for form in _INDUCTIONS)


def _cases(known: Sequence[str], close: str) -> str:
    """A proof by cases of a disjunction that `omega` proves."""
    names = " | ".join(["this"] * len(known))
    return block([f"have : {' ∨ '.join(known)} := by omega", f"rcases this with {names} <;> {close}"])


def _bound(words: Sequence[Token], name: str) -> int | None:
    """The literal that a variable is stated to be at most, where it is small."""
    for (first, sign), (_, number) in pairwise(pairwise(words)):
        if first.text == name and sign.text in ("≤", "<") and number.kind is Kind.NUMBER:
            value = int(number.text) if number.text.isdigit() else _MAX_BOUND + 1
            return value if value <= _MAX_BOUND else None
    return None


def _moduli(words: Sequence[Token]) -> list[int]:
    """Small numbers behind `%` or before `∣`."""
    found = []
    for first, second in pairwise(words):
        for sign, number in ((first, second), (second, first)):
            wanted = "%" if number is second else "∣"
            if sign.text == wanted and number.text.isdigit() and 2 <= int(number.text) <= _MAX_MODULUS:
                found.append(int(number.text))
    return [*dict.fromkeys(found)]
