"""Linear centred kernel alignment (CKA): how alike the similarities of rows are in two sets of features.

The plain estimate grows with D even for noise, so the unbiased one is used; it needs no N x N matrix unless N < D.

    K = FF', L = YY' [N,N] without their diagonals, k = K 1, l = L 1
    HSIC(K,L) = (tr(KL) + k'1 l'1 / ((N-1)(N-2)) - 2 k'l / (N-2)) / (N (N-3))
    CKA = HSIC(K,L) / sqrt(HSIC(K,K) HSIC(L,L))             (about 0 for noise, 1 where the kernels are the same)

Kornblith et al. 2019, Similarity of Neural Network Representations Revisited, arXiv:1905.00414; unbiased HSIC: Song et
al. 2012, Feature Selection via Dependence Maximization, JMLR 13; in CKA: Nguyen, Raghu & Kornblith 2021,
arXiv:2010.15327.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray


def linear_cka(F: Array, Y: Array) -> float | None:
    """CKA of F [N,D] and Y [N,C], both centred; None where rows are too few or too alike for it to exist."""
    if len(F) < 4:
        return None
    F, Y = F / (np.abs(F).max() or 1.0), Y / (np.abs(Y).max() or 1.0)
    own, others = hsic(F, F), hsic(Y, Y)
    return hsic(F, Y) / float(np.sqrt(own * others)) if min(own, others) > 0 else None


def hsic(F: Array, Y: Array) -> float:
    """The unbiased estimate for linear kernels of F [N,D] and Y [N,C], both centred; N is at least 4."""
    n = len(F)
    one, other = np.einsum("nd,nd->n", F, F), np.einsum("nc,nc->n", Y, Y)  # the diagonals
    if n < min(F.shape[1], Y.shape[1]):
        trace = float(np.einsum("nm,nm->", F @ F.T, Y @ Y.T))
    else:
        trace = float(((F.T @ Y) ** 2).sum())
    trace -= float(one @ other)
    # the rows of centred kernels sum to zero, so without the diagonal they sum to minus it
    ones = float(one.sum() * other.sum()) / ((n - 1) * (n - 2))
    return (trace + ones - 2 * float(one @ other) / (n - 2)) / (n * (n - 3))
