"""Prompts: snapshots, injection, and that training and inference see the same ids."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stp.errors import UsageError
from stp.models.prompts import (
    PromptFormat,
    Templates,
    check_tokenizer,
    decode_sample,
    encode_content,
    encode_prompt,
    encode_target,
    prompt_format,
    signature_of,
    two_roles,
)
from stp.models.tiny import END, train_tokenizer
from stp.settings import ModelSettings
from stp.syntax.isabelle import make_statement
from stp.syntax.lean import named
from stp.types import Source, System
from tests.theorems import theorem

TINY = prompt_format("tiny")
THEOREM = "theorem add_swap (a b : Nat) : a + b = b + a"
LEMMA = "Nat.add_comm (n m : Nat) : n + m = m + n"
TOKENIZER = train_tokenizer([THEOREM, LEMMA, "by omega", "by simp [Nat.add_comm]"], 300)
TEXTS = st.text(max_size=40) | st.sampled_from([END, "<|proof|>", "a <|theorem|> b", "<|lemma|><|end|>"])


def test_tiny_prompts_read_as_they_always_did() -> None:
    assert TINY.prover(theorem(THEOREM)).text == "<|theorem|>(a b : Nat) : a + b = b + a<|proof|>"
    assert TINY.conjecturer(LEMMA, THEOREM, "by omega").text == (
        "<|lemma|>Nat.add_comm (n m : Nat) : n + m = m + n"
        "<|theorem|>(a b : Nat) : a + b = b + a<|proof|>by omega<|conjecture|>"
    )
    assert TINY.conjecturer(None, THEOREM, "by omega").text == (
        "<|lemma|><|theorem|>(a b : Nat) : a + b = b + a<|proof|>by omega<|conjecture|>"
    )


def test_stp_prompts_read_as_they_always_did() -> None:
    style = prompt_format("stp")
    assert style.prover(theorem(THEOREM)).text == (
        "Write a complete Lean 4 proof of this theorem.\n\ntheorem add_swap (a b : Nat) : a + b = b + a :=\n"
    )
    assert style.conjecturer(None, THEOREM, "by omega").text == (
        "Here are a lemma and an easy theorem with its proof, in Lean 4. "
        "State a harder theorem whose proof uses the lemma.\n\n"
        "-- Lemma\ntheorem trivial_lemma : True\n\n"
        "-- Easy theorem\ntheorem add_swap (a b : Nat) : a + b = b + a :=\nby omega\n\n"
        "-- Hard theorem\ntheorem hard\n"
    )


HEADER = "import Mathlib\nopen Nat Real"
CODE = """```lean4
import Mathlib
open Nat Real

theorem add_swap (a b : Nat) : a + b = b + a := by
"""
PLAN = """  sorry
```

Before producing the Lean 4 code to formally prove the given theorem, provide a detailed proof plan \
outlining the main proof steps and strategies.
The plan should highlight key ideas, intermediate lemmas, and proof structures that will guide the \
construction of the final formal proof."""
TWO_BLOCKS = f"First\n```lean\n{THEOREM} := by simp\n```\nno:\n```lean4\n{THEOREM} := by omega\n```"
CUT = f"cut behind its code\n```lean4\nimport Mathlib\n{THEOREM} := by\n  omega\n"
WITH_A_LEMMA = f"lemma h : True := trivial\n\n{THEOREM} := by omega"


def test_the_formats_of_published_provers_are_those_of_their_cards() -> None:
    def asked(name: str) -> str:
        return prompt_format(name).prover(theorem(THEOREM, HEADER)).text

    complete = "Complete the following Lean 4 code:\n\n" + CODE
    assert asked("deepseek-prover-v1.5") == complete
    assert asked("deepseek-prover-v2") == complete + PLAN
    task = "Think about and solve the following problem step by step in Lean 4.\n# Formal statement:\n"
    assert asked("kimina-prover") == task + CODE + "```\n"
    assert asked("chat").endswith(CODE + "  sorry\n```\n")
    assert prompt_format("kimina-prover").prover(theorem(THEOREM)).system.startswith("You are an expert")
    assert "import" not in prompt_format("deepseek-prover-v2").prover(theorem(THEOREM)).text


@pytest.mark.parametrize(
    ("name", "answer", "proof"),
    [
        ("tiny", " by omega\n", "by omega"),
        ("deepseek-prover-v1.5", "  omega\n```\nDone.", "by\n  omega"),
        ("deepseek-prover-v1.5", "\n```", ""),
        ("chat", TWO_BLOCKS, "by omega"),
        ("chat", CUT, "by\n  omega"),
        ("chat", "no code at all", ""),
        ("chat", "```lean4\ntheorem other : True := trivial\n```", ""),
        ("chat", "```lean4\n/- a comment that never ends\n```", ""),
        (
            "deepseek-prover-v2",
            f"```lean4\nimport Mathlib\nopen Nat\n\n{WITH_A_LEMMA}\n\n#print h\n```",
            WITH_A_LEMMA,
        ),
    ],
)
def test_the_proof_in_an_answer(name: str, answer: str, proof: str) -> None:
    assert prompt_format(name).proof(answer, THEOREM) == proof


def test_a_chat_template_goes_around_what_is_content_and_never_reads_it() -> None:
    tokenizer = train_tokenizer([THEOREM, "you user say"], 300)
    tokenizer.chat_template = (
        "{% for m in messages %}<|lemma|>{{ m['role'] }}: {{ m['content'] }}<|proof|>{% endfor %}"
        "{% if add_generation_prompt %}<|conjecture|>{% endif %}"
    )
    style = PromptFormat(
        {System.LEAN: Templates("{statement}")}, answer="file", chat=True, system_message="say"
    )
    ids = encode_prompt(tokenizer, style.prover(theorem("theorem t : <|lemma|> = 1")))
    assert tokenizer.decode(ids) == (
        "<|lemma|>system: say<|proof|><|lemma|>user: theorem t : <|lemma|> = 1<|proof|><|conjecture|>"
    )
    assert ids.count(tokenizer.convert_tokens_to_ids("<|lemma|>")) == 2, "the statement's own is text"
    with pytest.raises(UsageError, match="no chat template"):
        check_tokenizer(TOKENIZER, style, "folder")


def test_a_format_of_ones_own_is_a_file(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('[lean]\nprover = "Prove {statement}."')
    assert prompt_format(str(own)).prover(theorem(THEOREM)).text == f"Prove {THEOREM}."
    for text, said in (
        ('[lean]\nprover = "{goal}"', "unknown field {goal}, expected attempt, conjecture"),
        ('answer = "essay"\n[lean]\nprover = "x"', "answer 'essay', expected one of proof, tactics, file"),
        ('temperature = 1\n[lean]\nprover = "x"', "temperature"),
        ('answer = "proof"', "expected a table lean or isabelle"),
        ("prover", "not a prompt format"),
    ):
        bad = tmp_path / f"{len(text)}.toml"
        bad.write_text(text)
        with pytest.raises(UsageError, match=said):
            prompt_format(str(bad))
    with pytest.raises(UsageError, match=r"nowhere.toml: not a prompt format"):
        prompt_format(str(tmp_path / "nowhere.toml"))


def test_what_only_proves_does_not_train() -> None:
    with pytest.raises(UsageError, match="for stp prove alone"):
        two_roles(ModelSettings(prompt_format="kimina-prover"))
    with pytest.raises(UsageError, match="for stp prove alone"):
        two_roles(ModelSettings(backend="chat"))


ISABELLE = 'theorem rev_twice: "rev (rev xs) = xs"'


@pytest.mark.parametrize("name", ["tiny", "stp"])
def test_each_system_has_its_own_words_and_the_same_fields(name: str) -> None:
    style = prompt_format(name)
    lean, isabelle = (
        style.prover(theorem(THEOREM)).text,
        style.prover(make_statement(ISABELLE, "", Source.DATASET)).text,
    )
    assert signature_of(ISABELLE) == ': "rev (rev xs) = xs"'
    assert "rev (rev xs) = xs" in isabelle
    assert ("Isabelle" in isabelle) == ("Lean" in lean)
    asked = style.conjecturer('List.rev_append: "x"', ISABELLE, "by simp", System.ISABELLE).text
    assert all(part in asked for part in ('List.rev_append: "x"', "rev (rev xs) = xs", "by simp"))
    assert "Lean" not in asked
    assert "Lean" not in style.conjecturer(None, ISABELLE, None, System.ISABELLE).text


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="tiny, stp"):
        prompt_format("alpaca")


@pytest.mark.parametrize("name", ["t", "Nat.add_comm'", "foo.«a b».bar", "«x: y»", "h₁.le?"])
@pytest.mark.parametrize(
    "signature", ["(a : Nat) : a = a", ": True", "{α : Type} : True", ".{u} (α : Type u) : True"]
)
def test_names_come_off_and_go_back_on(name: str, signature: str) -> None:
    statement = named(name, signature)
    assert signature_of(statement) == signature
    assert named(name, signature_of(statement)) == statement


def test_a_name_may_touch_its_binder() -> None:
    assert signature_of("theorem foo(a : Nat) : a = a") == "(a : Nat) : a = a"


@pytest.mark.parametrize("text", ["", "(a : Nat) : a = a", "lemma x : True", "theorem", "theoremx : True"])
def test_a_text_without_a_theorem_has_no_signature(text: str) -> None:
    with pytest.raises(UsageError, match="theorem NAME"):
        signature_of(text)


@given(text=TEXTS)
def test_any_unicode_survives_the_tiny_tokenizer(text: str) -> None:
    assert decode_sample(TOKENIZER, encode_target(TOKENIZER, text)) == text


@given(text=TEXTS)
def test_content_cannot_spell_a_special_token(text: str) -> None:
    assert not set(encode_content(TOKENIZER, text)) & set(TOKENIZER.all_special_ids)


@given(lemma=TEXTS, signature=TEXTS, proof=TEXTS)
def test_a_prompt_has_its_marks_and_no_others(lemma: str, signature: str, proof: str) -> None:
    ids = encode_prompt(TOKENIZER, TINY.conjecturer(lemma, f"theorem t : {signature}", proof))
    marks = [TOKENIZER.convert_ids_to_tokens(i) for i in ids if i in TOKENIZER.all_special_ids]
    assert marks == ["<|lemma|>", "<|theorem|>", "<|proof|>", "<|conjecture|>"]


@given(lemma=TEXTS, signature=TEXTS, proof=TEXTS)
def test_the_ids_of_a_prompt_decode_to_its_text(lemma: str, signature: str, proof: str) -> None:
    prompt = TINY.conjecturer(lemma, f"theorem t : {signature}", proof)
    ids = encode_prompt(TOKENIZER, prompt)
    assert TOKENIZER.decode(ids, skip_special_tokens=False) == prompt.text


def test_digits_stand_alone() -> None:
    tokens = TOKENIZER.convert_ids_to_tokens(encode_content(TOKENIZER, "1234"))
    assert tokens == ["1", "2", "3", "4"]


def test_a_tokenizer_without_the_marks_is_refused() -> None:
    bare = train_tokenizer([THEOREM], 300)
    bare.eos_token = None
    with pytest.raises(UsageError, match="end token"):
        check_tokenizer(bare, TINY, "folder")


@pytest.mark.parametrize("name", ["tiny", "stp"])
def test_a_statement_without_a_proof_is_asked_for_a_step_towards_it(name: str) -> None:
    style = prompt_format(name)
    target, solved = style.conjecturer(None, THEOREM, None), style.conjecturer(None, THEOREM, "by simp")
    assert signature_of(THEOREM) in target.text
    assert target.text != solved.text
    assert "by simp" not in target.text
