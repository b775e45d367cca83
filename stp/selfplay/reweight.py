"""Weights that turn the surviving conjectures towards what is still unproved (STP; step 7 of the round).

STP asks for argmin over P of Wasserstein(P, Q), P supported on the conjectures, Q uniform over the
unproved statements, cost = -cosine. P is free, so nothing but y's own cost decides where its mass goes: each
unproved y sends it to the nearest conjecture x. With a cap, the y come in a seeded random order and each
takes the nearest x that still has a place; that is feasible but not always optimal.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stp.errors import MachineryError

#: What is this near to the largest similarity ties with it: equal vectors do, however a product of matrices
#: in single precision is blocked.
TIE = 4e-6


def reweight(
    conjecture_vectors_XD: NDArray[np.floating],
    unproved_vectors_YD: NDArray[np.floating],
    cap: int,
    seed: int,
    block_rows: int = 512,
) -> NDArray[np.float64]:
    """The weight w(x) = X · P*(x) of each conjecture, `(X,)`: 1 on average over all X, those with 0 included.

    P*(x) is x's share of the assigned y. At most `cap` of them go to one x, 0 being no cap; what finds
    no place stays unassigned, which happens only once every x is full. Ties go to the lower index, and the
    order of y depends on its rows: pass both sorted by key. Without any y all weights are 0.

    Memory: (X + block_rows) · D + block_rows · X numbers of 4 bytes beside the arguments; 0.5 GB for
    75,000 conjectures of 1,024 dimensions.

    Raises:
        MachineryError: a vector is not finite.
    """
    unit_XD = unit(conjecture_vectors_XD)
    count_X = np.zeros(len(unit_XD), dtype=np.int64)
    order_Y = np.random.default_rng(seed).permutation(len(unproved_vectors_YD))
    for start in range(0, len(order_Y), block_rows):
        full_X = (count_X >= cap) if cap else np.zeros(len(count_X), dtype=bool)
        if full_X.all():
            break
        similarity_BX = unit(unproved_vectors_YD[order_Y[start : start + block_rows]]) @ unit_XD.T
        similarity_BX[:, full_X] = -np.inf
        _assign(similarity_BX, count_X, cap)
    return count_X.astype(np.float64) * (len(count_X) / max(1, int(count_X.sum())))


def _assign(similarity_BX: NDArray[np.float32], count_X: NDArray[np.int64], cap: int) -> None:
    """Gives each row of the block to its nearest conjecture with a place; adds to `count_X`."""
    for row, similarity_X in enumerate(similarity_BX):
        largest = similarity_X.max()
        if largest == -np.inf:
            return  # all full
        nearest = int((similarity_X >= largest - TIE).argmax())
        count_X[nearest] += 1
        if count_X[nearest] == cap:
            similarity_BX[row + 1 :, nearest] = -np.inf


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows of length 1, in single precision; a zero row stays zero."""
    rows = np.array(vectors, dtype=np.float32)
    if not np.isfinite(rows).all():
        raise MachineryError(
            "expected finite embeddings of statements, found NaN or infinity: check the model"
        )
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(norms > 0, norms, 1)
    return rows
