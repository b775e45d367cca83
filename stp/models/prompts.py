"""The one prompt builder: seed training, self-play and inference all read and write through here.

A format is data: a template for each of the model's two roles. A template's own words are *trusted*
and may be special tokens; what is filled in is *content* and never is, whatever it spells, so no
statement can close its own field. Each piece is tokenised alone and the ids are put end to end, in
training and in inference alike: the target's ids never depend on the prompt before them (STP's
published prompts differ by a header and a blank between the two).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import TYPE_CHECKING

from stp.errors import UsageError
from stp.types import System

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

#: `theorem NAME`, where a part of NAME may be quoted («a b»); universe names (`.{u}`) stay outside.
_NAMED = re.compile(
    r"\s*theorem\s+(?:«[^»]*»|[^\s.:(){}\[\]⦃⦄«»]+)(?:\.(?:«[^»]*»|[^\s.:(){}\[\]⦃⦄«»]+))*(?=\W|$)\s*"
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a prompt; only in a trusted one does `<|end|>` mean the special token."""

    text: str
    trusted: bool


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is shown before it writes; `text` is for people and snapshot tests."""

    pieces: tuple[Piece, ...]

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Templates:
    """Of the two roles, over the fields statement, signature (name-free), proof and lemma."""

    prover: str
    conjecturer: str
    target: str
    """Asks for a step towards a statement that nobody has proved yet."""
    trivial_lemma: str
    """Stands where there is no lemma: the model is then free to conjecture."""


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """Templates of each system.

    The prover's target is the proof, the conjecturer's the signature of a new statement: names are
    the caller's to give, so the model spends no tokens on them.
    """

    templates: Mapping[System, Templates]
    special_tokens: tuple[str, ...] = ()
    """What the tokenizer must know as single tokens."""

    def prover(self, statement: str, system: System = System.LEAN) -> Prompt:
        """Asks for a proof of `theorem NAME SIGNATURE`."""
        template = self.templates[system].prover
        return _fill(template, statement=statement, signature=signature_of(statement))

    def conjecturer(
        self, lemma: str | None, statement: str, proof: str | None, system: System = System.LEAN
    ) -> Prompt:
        """Asks for a new statement after a proved one (STP, section 3.1), or towards one without a proof.

        `lemma` is a statement used by `proof`, as the checker prints it, name included: names of the
        library carry its structure. None asks for a free conjecture.
        """
        templates = self.templates[system]
        return _fill(
            templates.target if proof is None else templates.conjecturer,
            lemma=templates.trivial_lemma if lemma is None else lemma,
            statement=statement,
            signature=signature_of(statement),
            proof=proof or "",
        )


def _fill(template: str, **fields: str) -> Prompt:
    pieces: list[Piece] = []
    for literal, field, _, _ in Formatter().parse(template):
        pieces.append(Piece(literal, trusted=True))
        if field is not None:
            pieces.append(Piece(fields[field], trusted=False))
    return Prompt(tuple(piece for piece in pieces if piece.text))


_TINY = Templates(
    prover="<|theorem|>{signature}<|proof|>",
    conjecturer="<|lemma|>{lemma}<|theorem|>{signature}<|proof|>{proof}<|conjecture|>",
    target="<|lemma|><|theorem|>{signature}<|proof|><|conjecture|>",
    trivial_lemma="",
)
FORMATS = {
    "tiny": PromptFormat(
        dict.fromkeys(System, _TINY),  # an Isabelle signature tells by its colon and its quotes
        special_tokens=("<|theorem|>", "<|proof|>", "<|lemma|>", "<|conjecture|>"),
    ),
    "stp": PromptFormat({
        System.LEAN: Templates(
            prover="Write a complete Lean 4 proof of this theorem.\n\n{statement} :=\n",
            conjecturer=(
                "Here are a lemma and an easy theorem with its proof, in Lean 4. "
                "State a harder theorem whose proof uses the lemma.\n\n"
                "-- Lemma\n{lemma}\n\n"
                "-- Easy theorem\n{statement} :=\n{proof}\n\n"
                "-- Hard theorem\ntheorem hard\n"
            ),
            target=(
                "Here is a theorem in Lean 4 that has no proof yet. "
                "State a simpler theorem that is a useful step towards it.\n\n"
                "-- Open theorem\n{statement}\n\n"
                "-- Step\ntheorem step\n"
            ),
            trivial_lemma="theorem trivial_lemma : True",
        ),
        System.ISABELLE: Templates(
            prover="Write a complete Isabelle/HOL proof of this theorem.\n\n{statement}\n",
            conjecturer=(
                "Here are a lemma and an easy theorem with its proof, in Isabelle/HOL. "
                "State a harder theorem whose proof uses the lemma.\n\n"
                "(* Lemma *)\nlemma {lemma}\n\n"
                "(* Easy theorem *)\n{statement}\n{proof}\n\n"
                "(* Hard theorem *)\ntheorem hard\n"
            ),
            target=(
                "Here is a theorem in Isabelle/HOL that has no proof yet. "
                "State a simpler theorem that is a useful step towards it.\n\n"
                "(* Open theorem *)\n{statement}\n\n"
                "(* Step *)\ntheorem step\n"
            ),
            trivial_lemma='trivial_lemma: "True"',
        ),
    }),
}  # fmt: skip


def prompt_format(name: str) -> PromptFormat:
    """The format of that name.

    Raises:
        UsageError: there is none; lists those there are.
    """
    try:
        return FORMATS[name]
    except KeyError:
        raise UsageError(f"model.prompt_format {name!r}: expected one of {', '.join(FORMATS)}") from None


def signature_of(statement: str) -> str:
    """SIGNATURE of `theorem NAME SIGNATURE`: what the conjecturer is trained to write. Of Isabelle's
    `theorem NAME: "…"` it begins with the colon.

    Raises:
        UsageError: the text does not begin with `theorem NAME`.
    """
    match = _NAMED.match(statement)
    if match is None:
        raise UsageError(f"expected a statement `theorem NAME SIGNATURE`, found {statement[:60]!r}")
    return statement[match.end() :].strip()


def statement_of(signature: str, name: str) -> str:
    """`theorem NAME SIGNATURE` of what the conjecturer wrote; the inverse of `signature_of`."""
    signature = signature.strip()
    blank = "" if signature.startswith(".{") else " "  # universe names belong to the name: `foo.{u}`
    return f"theorem {name}{blank}{signature}"


def check_tokenizer(tokenizer: PreTrainedTokenizerFast, style: PromptFormat, where: str) -> None:
    """Refuses a tokenizer that cannot write `style`.

    Raises:
        UsageError: no end token, or one of the format's special tokens is missing; names `where`.
    """
    if tokenizer.eos_token_id is None:
        raise UsageError(f"{where}: its tokenizer has no end token (eos_token)")
    missing = [token for token in style.special_tokens if token not in tokenizer.all_special_tokens]
    if missing:
        raise UsageError(f"{where}: its tokenizer lacks {', '.join(missing)}: choose another prompt_format")


def encode_prompt(tokenizer: PreTrainedTokenizerFast, prompt: Prompt) -> list[int]:
    """Ids of a prompt, behind the tokenizer's begin token where it has one."""
    ids = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
    for piece in prompt.pieces:
        ids += _encode(tokenizer, piece.text, piece.trusted)
    return ids


def encode_content(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Ids of a bare text; what spells a special token is spelled out in ordinary ones."""
    return _encode(tokenizer, text, trusted=False)


def encode_target(tokenizer: PreTrainedTokenizerFast, target: str) -> list[int]:
    """Ids that the model is to write: the target, then the end token."""
    return [*encode_content(tokenizer, target), int(tokenizer.eos_token_id)]


def decode_sample(tokenizer: PreTrainedTokenizerFast, ids: list[int]) -> str:
    """Text of sampled ids, special tokens left out."""
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _encode(tokenizer: PreTrainedTokenizerFast, text: str, trusted: bool) -> list[int]:
    encoded = tokenizer(text, add_special_tokens=False, split_special_tokens=not trusted)
    return list(encoded["input_ids"])
