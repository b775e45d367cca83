"""Small counterexamples: a statement's negation, with a proof that tries some values of its variables.

What comes out is checked like any other proof, so nothing rests on this reading: a wrong one fails.
"""

from __future__ import annotations

from random import Random

from stp.syntax.lean import split_theorem
from stp.syntax.lean_tokens import Token, closing, tokens

_TRIES = 16
_DECIDE = "(by decide +kernel)"
#: Small values of the types that variables have once every type variable is Nat.
_VALUES = {
    "Nat": ("0", "1", "2", "3", "5"),
    "Int": ("0", "1", "(-1)", "2", "(-3)", "5"),
    "Bool": ("true", "false"),
    "Prop": ("True", "False"),
    "List Nat": ("[]", "[1]", "[2, 0]", "[0, 1, 2]", "[1, 1]"),
    "Array Nat": ("#[]", "#[1]", "#[2, 0]", "#[0, 1, 2]", "#[1, 1]"),
    "Option Nat": ("none", "(some 0)", "(some 2)"),
    "Nat → Nat": ("(· + 1)", "(fun _ => 0)", "id"),
    "Nat → Bool": ("(· == 0)", "(fun _ => true)", "(fun _ => false)"),
    "Nat → Prop": ("(· = 0)", "(fun _ => True)", "(fun _ => False)"),
    "Nat → Option Nat": ("some", "(fun _ => none)", "(fun n => if n = 0 then none else some n)"),
    "Nat → Nat → Nat": ("(· + ·)", "(· - ·)", "(fun _ n => n)"),
    "Nat → Nat → Bool": ("(· == ·)", "(fun _ _ => true)", "(decide <| · < ·)"),
}


def refutation(statement: str) -> tuple[str, str]:
    """A statement that contradicts the given one, and a proof to try.

    `theorem foo {α} (l : List α) (h : P l) : Q l` gives `¬ ∀ (l : List Nat) (h : P l), Q l`, proved by
    values of l for which `P l` and `¬ Q l` are decided. Instances stay, for a class may be a hypothesis
    (`Std.Associative op`): Lean finds them for the values, or the try fails.

    Raises:
        UsageError: no theorem.
    """
    binders, conclusion = _read(split_theorem(statement).signature)
    values = [_values(type_) for name, type_ in binders if name]
    rng = Random(statement)
    tries = {tuple(choices[0] for choices in values): None}
    for _ in range(_TRIES - 1):
        tries[tuple(rng.choice(choices) for choices in values)] = None
    quantified = "".join(f" ({name} : {type_})" if name else f" [{type_}]" for name, type_ in binders)
    alternatives = [f"exact fun all => absurd (all {' '.join(chosen)}) {_DECIDE}" for chosen in tries]
    claim = f"∀{quantified}, {conclusion}" if binders else f"({conclusion})"
    return f"theorem refuted : ¬ {claim}", "by first | " + " | ".join(alternatives)


def _values(type_: str) -> tuple[str, ...]:
    """Small values of a type; of any other, and so of a hypothesis, what deciding it gives."""
    if type_.startswith("Fin "):
        return ("⟨0, by decide⟩", "⟨1, by decide⟩", "⟨2, by decide⟩")
    if type_.startswith("Vector Nat "):
        return ("(Vector.replicate _ 1)", "(Vector.ofFn (·.val))")
    return _VALUES.get(type_, (_DECIDE,))


def _read(signature: str) -> tuple[list[tuple[str, str]], str]:
    """(name, type) of each explicit or implicit variable, type variables being Nat, and the conclusion; an
    instance has no name, and its own in its type."""
    parts = list(tokens(signature))
    binders: list[tuple[str, list[Token]]] = []
    types: set[str] = set()
    at = 0
    while at < len(parts) and parts[at].text != ":":
        end = closing(parts, at)
        group, opener = parts[at + 1 : end], parts[at].text
        at = end + 1
        if opener == "[":
            binders.append(("", group))
        elif opener in ("(", "{", "⦃"):
            colon = next((i for i, token in enumerate(group) if token.text == ":"), len(group))
            names, type_ = [token.text for token in group[:colon]], group[colon + 1 :]
            if type_ and type_[0].text in ("Type", "Sort"):
                types.update(names)
            else:
                binders += [(name, type_) for name in names]
    chosen = [(name, _text(type_, types)) for name, type_ in binders]
    return chosen, _text(parts[at + 1 :], types)


def _text(parts: list[Token], types: set[str]) -> str:
    """The tokens as text again, comments left out, with Nat for each type variable."""
    words = (" " * bool(token.gap) + ("Nat" if token.text in types else token.text) for token in parts)
    return "".join(words).strip()
