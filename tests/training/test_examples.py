"""Examples: what carries loss, and how the batches of a training are planned."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stp.errors import UsageError
from stp.models.prompts import encode_prompt, encode_target, prompt_format
from stp.models.tiny import train_tokenizer
from stp.training.examples import Encoded, Example, collate, encode, plan
from tests.theorems import theorem

TINY = prompt_format("tiny")
TOKENIZER = train_tokenizer(["theorem t (a b : Nat) : a + b = b + a", "by omega"], 300)
EXAMPLE = Example(TINY.prover(theorem("theorem t (a : Nat) : a = a")), "by omega", 2.0)


def test_training_shows_byte_for_byte_what_inference_sends() -> None:
    [encoded], _ = encode([EXAMPLE], TOKENIZER, 100)
    sent = encode_prompt(TOKENIZER, EXAMPLE.prompt)
    assert list(encoded.ids) == sent + encode_target(TOKENIZER, EXAMPLE.target)
    assert encoded.prompt_tokens == len(sent)


def test_first_target_token_and_end_token_weigh_and_nothing_else_does() -> None:
    """Even where the end token is the padding token and stands in the prompt too."""
    end = 5
    tensors = collate([Encoded((end, 7, 8, 9, end), 2, 1.0), Encoded((end, end, 7, end), 3, 3.0)])
    weights_BT = tensors["token_weights"]
    assert (weights_BT[0] > 0).tolist() == [False, True, True, True]
    assert (weights_BT[1] > 0).tolist() == [False, False, True, False]
    assert weights_BT.sum().item() == pytest.approx(1)
    assert weights_BT[1, 2] / weights_BT[0, 1] == pytest.approx(3)


def test_long_and_weightless_examples_are_left_out_and_bad_weights_refused() -> None:
    long = Example(TINY.prover(theorem("theorem t : " + "+ a " * 200)), "by omega")
    ignored = Example(EXAMPLE.prompt, "by simp", 0.0)
    encoded, too_long = encode([EXAMPLE, long, ignored], TOKENIZER, 100)
    assert (len(encoded), too_long) == (1, 1)
    for weight in (-1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match="weight"):
            encode([Example(EXAMPLE.prompt, "by simp", weight)], TOKENIZER, 100)


@given(
    lengths=st.lists(st.integers(2, 50), min_size=1, max_size=80),
    epochs=st.integers(1, 3),
    seed=st.integers(),
)
def test_each_epoch_shows_each_example_once(lengths: list[int], epochs: int, seed: int) -> None:
    examples = [Encoded((1,) * length, 1, float(index)) for index, length in enumerate(lengths)]
    batches = plan(examples, epochs, 8, seed)
    assert batches == plan(examples, epochs, 8, seed)
    assert len(batches) == epochs * math.ceil(len(examples) / 8)
    shown = sorted(example.weight for batch in batches for example in batch)
    assert shown == sorted([example.weight for example in examples] * epochs)


def test_batches_hold_examples_of_similar_length() -> None:
    lengths = torch.randint(10, 100, (512,), generator=torch.Generator().manual_seed(0)).tolist()
    batches = plan([Encoded((1,) * length, 1, 1.0) for length in lengths], 1, 32, 0)
    padded = sum(len(batch) * max(len(example.ids) for example in batch) for batch in batches)
    assert sum(lengths) / padded > 0.93


def test_half_an_epoch_is_half_of_the_batches() -> None:
    assert len(plan([Encoded((1, 1), 1, 1.0)] * 80, 0.5, 8, 0)) == 5
