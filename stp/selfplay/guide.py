"""How much a conjecture is worth learning from beyond its pass rate: by a judge's word, or measured.

All are factors on the weights of the conjecturer's examples, 1 on average or less.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from stp.models.base import Generator
from stp.models.prompts import PromptFormat
from stp.selfplay.reweight import unit
from stp.types import Statement

_BLOCK_ROWS = 512
_JUDGEMENTS, _JUDGEMENT_TOKENS = 4, 8
_BEST = 10


def judged_scores(
    judge: Generator, style: PromptFormat, pairs: Sequence[tuple[Statement, str]], seed: int
) -> tuple[NDArray[np.float64], int]:
    """The guide by a judge model: its mean score of each (statement, conjecture), 1 on average, and how many
    it scored. One without a score, be it that the judge wrote none or that the pair does not fit its context,
    weighs 1; so do all where every score is 0."""
    prompts = [style.judge(statement.text, conjecture, statement.system) for statement, conjecture in pairs]
    sampled = judge.generate(prompts, n=_JUDGEMENTS, temperature=1.0, max_tokens=_JUDGEMENT_TOKENS, seed=seed)
    written = [
        [score for sample in samples if (score := _score(sample.text)) is not None] for samples in sampled
    ]
    means = {at: fmean(scores) for at, scores in enumerate(written) if scores}
    mean = fmean(means.values()) if means else 0.0
    scores_X = [means[at] / mean if mean and at in means else 1.0 for at in range(len(pairs))]
    return np.array(scores_X, dtype=np.float64), len(means)


def _score(text: str) -> int | None:
    """The first whole number of an answer, where it is a score."""
    found = re.search(r"(?<![\d.-])\d+(?![.\d]*\d)", text)
    return int(found[0]) if found and int(found[0]) <= _BEST else None


def guide_scores(
    lengths_X: NDArray[np.int64],
    seed_lengths_X: NDArray[np.int64],
    vectors_XD: NDArray[np.floating],
    seed_vectors_XD: NDArray[np.floating],
) -> NDArray[np.float64]:
    """SGS's guide, measured: relevance · simplicity · non-redundancy of each conjecture, 1 on average.

    Relevance is the cosine to the statement it was made from or is to lead to, simplicity how little longer
    it is, non-redundancy the distance from the nearest other conjecture.
    """
    own_XD = unit(vectors_XD)
    relevance_X = np.clip((own_XD * unit(seed_vectors_XD)).sum(axis=1), 0, 1)
    simplicity_X = np.minimum(1.0, seed_lengths_X / np.maximum(1, lengths_X))
    scores_X = relevance_X * simplicity_X * (1 - nearest(own_XD, own_XD, same=True))
    mean = float(scores_X.mean()) if len(scores_X) else 0.0
    return scores_X / mean if mean > 0 else np.ones(len(scores_X))


def novelty(vectors_XD: NDArray[np.floating], earlier_MD: NDArray[np.floating]) -> NDArray[np.float64]:
    """1 for what is orthogonal to every earlier example, 0 for what repeats one; a frozen model must have
    made all vectors, or distances between rounds would mean nothing."""
    return 1 - nearest(unit(vectors_XD), unit(earlier_MD))


def nearest(
    unit_XD: NDArray[np.float32], others_MD: NDArray[np.float32], *, same: bool = False
) -> NDArray[np.float64]:
    """The largest cosine of each row with any of the others, from 0 to 1; `same`: but itself."""
    found_X = np.zeros(len(unit_XD))
    if len(others_MD) <= same:
        return found_X
    for first in range(0, len(unit_XD), _BLOCK_ROWS):
        similarity_BM = unit_XD[first : first + _BLOCK_ROWS] @ others_MD.T
        if same:
            rows = np.arange(len(similarity_BM))
            similarity_BM[rows, first + rows] = 0
        found_X[first : first + _BLOCK_ROWS] = np.clip(similarity_BM.max(axis=1), 0, 1)
    return found_X
