"""What the rest of the project asks of a language model, whatever runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stp.models.prompts import Prompt


@dataclass(frozen=True, slots=True)
class Sample:
    """One text that the model wrote. `tokens` counts the end token; an unfinished sample has none:
    it ran into `max_tokens`, so its text is cut anywhere and proves nothing."""

    text: str
    tokens: int
    finished: bool
    logprobs: tuple[float, ...] = field(default=(), compare=False)
    """Of each token, the end token included, under the model itself, whatever the temperature; empty unless
    the generator was opened with `model.logprobs`. They differ in rounding: equality looks past them."""

    @property
    def logprob(self) -> float:
        """Of the whole text; 0 where nobody asked."""
        return sum(self.logprobs)


class Generator(Protocol):
    """A loaded model that writes and embeds."""

    def generate(
        self, prompts: Sequence[Prompt], *, n: int, temperature: float, max_tokens: int, seed: int
    ) -> list[list[Sample]]:
        """`n` samples for each prompt, in the prompts' order.

        Each sample is a function of (seed, prompt, its index below n), not of the prompts beside it:
        a call may be cut into chunks at will. (Up to rounding: in 16 bits the shape of a batch can tip a
        token.) The same prompt twice therefore gives the same samples twice, and more samples of a
        prompt need another seed. A prompt that leaves no room for `max_tokens` in the model's context
        gets an empty list and is never cut.
        """
        ...

    def use(self, folder: Path) -> None:
        """From now on the weights of this folder, a later training of the same model."""
        ...

    def release(self) -> None:
        """Gives its device's memory to others; `use` takes it back."""
        ...

    def close(self) -> None:
        """Ends what it started. May be called more than once."""
        ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Mean-pooled last hidden states of bare texts, (N, hidden): of as much of each as its context
        holds."""
        ...
