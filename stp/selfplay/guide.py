"""How much a conjecture is worth learning from beyond its pass rate: measured features for want of a judge.

Both are factors on the weights of the conjecturer's examples, 1 on average or less.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stp.selfplay.reweight import unit

_BLOCK_ROWS = 512


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
