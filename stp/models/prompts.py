"""The one prompt builder: seed training, self-play and inference all read and write through here.

A format is data (formats.toml): a template for each of the model's two roles. A template's own words are
*trusted* and may be special tokens; what is filled in is *content* and never is, whatever it spells, so no
statement can close its own field. Each piece is tokenised alone and the ids are put end to end, in
training and in inference alike: the target's ids never depend on the prompt before them (STP's
published prompts differ by a header and a blank between the two).
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any, Literal, get_args

from stp.errors import UsageError
from stp.syntax.lean import split_theorem
from stp.syntax.lean_file import preamble_end, theorems
from stp.types import Statement, System

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from stp.settings import ModelSettings

#: `theorem NAME`, where a part of NAME may be quoted («a b»); universe names (`.{u}`) stay outside.
_NAMED = re.compile(
    r"\s*theorem\s+(?:«[^»]*»|[^\s.:(){}\[\]⦃⦄«»]+)(?:\.(?:«[^»]*»|[^\s.:(){}\[\]⦃⦄«»]+))*(?=\W|$)\s*"
)
Answer = Literal["proof", "tactics", "file"]
_FENCE = "```"
#: Lean code between fences; the last fence may be missing.
_CODE = re.compile(r"^```(?:lean4|lean)[ \t]*\n(.*?)(?:^```|\Z)", re.DOTALL | re.MULTILINE)
_CONTENT = "\u2063content\u2063"


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a prompt; only in a trusted one does `<|end|>` mean the special token."""

    text: str
    trusted: bool


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is shown before it writes; `text` is for people, snapshot tests and chat servers."""

    pieces: tuple[Piece, ...]
    chat: bool = False
    """It is a user's message: the tokenizer's chat template goes around it."""
    system: str = ""
    """The system's message before it."""

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Templates:
    """Of the roles, over fields such as statement and signature (name-free)."""

    prover: str
    conjecturer: str = ""
    """Empty, like the next one: for proof search alone, no self-play."""
    target: str = ""
    """Asks for a step towards a statement that nobody has proved yet."""
    repair: str = ""
    """Asks for a proof after an `attempt` that failed, with what the checker `said`; empty: never asked."""
    judge: str = ""
    """Asks what a conjecture is worth to the statement that it was made from; empty: no judge."""
    trivial_lemma: str = ""
    """Stands where there is no lemma: the model is then free to conjecture."""


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """Templates of each system, and how the prover's answer is read.

    The prover's target is the proof, the conjecturer's the signature of a new statement: names are
    the caller's to give, so the model spends no tokens on them.
    """

    templates: Mapping[System, Templates]
    special_tokens: tuple[str, ...] = ()
    """What the tokenizer must know as single tokens."""
    answer: Answer = "proof"
    """What the prover writes: what follows `:=`; what follows `:= by`, up to a fence; or prose with Lean code
    between fences, the last of which counts."""
    chat: bool = False
    system_message: str = ""

    def prover(self, asked: Statement) -> Prompt:
        """Asks for a proof of a statement behind its header."""
        template, signature = self._of(asked.system).prover, signature_of(asked.text)
        return self._asked(template, asked.header, statement=asked.text, signature=signature)

    def repair(self, attempt: str, said: str, system: System, header: str) -> Prompt | None:
        """Asks to mend a theorem whose proof failed; None where the format has no words for that."""
        if not (template := self._of(system).repair):
            return None
        return self._asked(template, header, attempt=attempt, said=said)

    def proof(self, answer: str, statement: str) -> str:
        """The proof of `theorem NAME SIGNATURE` in what the prover wrote, or "" where there is none.

        Of a file with lemmas before the theorem it is the text from the first lemma on.
        """
        if self.answer == "proof":
            return answer.strip()
        if self.answer == "tactics":
            body = answer.partition(_FENCE)[0].rstrip()
            return f"by\n{body}" if body else ""
        blocks = _CODE.findall(answer)
        return _proof_in(blocks[-1], statement) if blocks else ""

    def conjecturer(
        self, lemma: str | None, statement: str, proof: str | None, system: System = System.LEAN
    ) -> Prompt:
        """Asks for a new statement after a proved one (STP, section 3.1), or towards one without a proof.

        `lemma` is a statement used by `proof`, as the checker prints it, name included: names of the
        library carry its structure. None asks for a free conjecture.
        """
        templates = self._of(system)
        return self._asked(
            templates.target if proof is None else templates.conjecturer,
            lemma=templates.trivial_lemma if lemma is None else lemma,
            statement=statement,
            signature=signature_of(statement),
            proof=proof or "",
        )

    def judge(self, statement: str, conjecture: str, system: System = System.LEAN) -> Prompt:
        """Asks what a conjecture is worth to the statement that it was made from, or is to lead to."""
        if not (template := self._of(system).judge):
            raise UsageError("judge.prompt_format: this format has no words for a judge: take stp")
        return self._asked(template, statement=statement, conjecture=conjecture)

    def _of(self, system: System) -> Templates:
        if system not in self.templates:
            raise UsageError(f"this prompt format has no words for {system.title()}: take stp")
        return self.templates[system]

    def _asked(self, template: str, header: str = "", **fields: str) -> Prompt:
        header = f"{header.rstrip()}\n\n" if header.strip() else ""
        prompt = _fill(template, header=header, **fields)
        return replace(prompt, chat=self.chat, system=self.system_message)


def _fill(template: str, **fields: str) -> Prompt:
    pieces: list[Piece] = []
    for literal, field, _, _ in Formatter().parse(template):
        pieces.append(Piece(literal, trusted=True))
        if field is not None:
            pieces.append(Piece(fields[field], trusted=False))
    return Prompt(tuple(piece for piece in pieces if piece.text))


def _proof_in(code: str, statement: str) -> str:
    """The proof of a statement's theorem in Lean code, behind the lemmas and definitions it needs."""
    try:
        name = split_theorem(statement).name
        found = [theorem for theorem in theorems(code) if theorem.name == name]
        if not found:
            return ""
        start, theorem = preamble_end(code), code[found[-1].start : found[-1].end]
        return code[start : found[-1].end] if start < found[-1].start else split_theorem(theorem).proof or ""
    except UsageError:
        return ""


def two_roles(model: ModelSettings) -> PromptFormat:
    """The format of a model that is to train, and to conjecture.

    Raises:
        UsageError: there is none of that name, or this model or format is for proof search alone.
    """
    name = model.prompt_format
    style = prompt_format(name)
    if model.backend == "chat":
        raise UsageError('model.backend "chat": for stp prove alone; to train, take another')
    if style.answer != "proof" or not all(t.conjecturer and t.target for t in style.templates.values()):
        raise UsageError(f"model.prompt_format {name}: for stp prove alone; to train, take stp")
    return style


@functools.cache
def prompt_format(name: str) -> PromptFormat:
    """The format of that name in formats.toml, or of a TOML file with the keys of one.

    Raises:
        UsageError: there is none, or a key is wrong; lists those there are.
    """
    own = name.endswith(".toml")
    tables = tomllib.loads(resources.files("stp.models").joinpath("formats.toml").read_text(encoding="utf-8"))
    if not own and name not in tables:
        raise UsageError(
            f"model.prompt_format {name!r}: expected one of {', '.join(tables)}, or the path of a TOML file"
        )
    try:
        values = tomllib.loads(Path(name).read_text(encoding="utf-8")) if own else tables[name]
        return _format(values)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError, ValueError) as error:
        raise UsageError(f"model.prompt_format {name}: not a prompt format: {error}") from None


def _format(values: dict[str, Any]) -> PromptFormat:
    plain = {key: value for key, value in values.items() if key not in list(System)}
    plain["special_tokens"] = tuple(plain.get("special_tokens", ()))
    templates = {system: Templates(**values[system]) for system in System if system in values}
    made = PromptFormat(templates, **plain)
    if not templates:
        raise ValueError(f"expected a table {' or '.join(System)} of templates, found none")
    fields = {"header", "statement", "signature", "lemma", "proof", "attempt", "said", "conjecture"}
    for template in (text for system in templates for text in values[system].values()):
        if unknown := {field for _, field, _, _ in Formatter().parse(template) if field} - fields:
            raise ValueError(f"unknown field {{{min(unknown)}}}, expected {', '.join(sorted(fields))}")
    if made.answer not in (known := get_args(Answer)):
        raise ValueError(f"answer {made.answer!r}, expected one of {', '.join(known)}")
    return made


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


def check_tokenizer(tokenizer: PreTrainedTokenizerFast, style: PromptFormat, where: str) -> None:
    """Refuses a tokenizer that cannot write `style`.

    Raises:
        UsageError: no end token, or one of the format's special tokens is missing; names `where`.
    """
    if tokenizer.eos_token_id is None:
        raise UsageError(
            f"{where}: its tokenizer has no end token: name its eos_token in tokenizer_config.json"
        )
    missing = [token for token in style.special_tokens if token not in tokenizer.all_special_tokens]
    if missing:
        raise UsageError(f"{where}: its tokenizer lacks {', '.join(missing)}: choose another prompt_format")
    if style.chat and not tokenizer.chat_template:
        raise UsageError(f"{where}: its tokenizer has no chat template: choose another prompt_format")


def encode_prompt(tokenizer: PreTrainedTokenizerFast, prompt: Prompt) -> list[int]:
    """Ids of a prompt: behind the tokenizer's begin token where it has one, or in its chat template."""
    if prompt.chat:
        before, after = _frame(tokenizer, prompt.system)
        ids = _encode(tokenizer, before, trusted=True)
    else:
        after, ids = "", [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
    for piece in prompt.pieces:
        ids += _encode(tokenizer, piece.text, piece.trusted)
    return ids + _encode(tokenizer, after, trusted=True)


def _frame(tokenizer: PreTrainedTokenizerFast, system: str) -> tuple[str, str]:
    """What the chat template puts before and behind a user's message."""
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": _CONTENT})
    framed = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    before, _, after = framed.partition(_CONTENT)
    return before, after


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
