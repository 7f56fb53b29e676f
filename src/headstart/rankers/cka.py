"""CKA with the targets: how alike the rows' similarities are in the features and in the targets.

The kernel of the features says which rows the source finds alike, the kernel of the targets which are alike; centred
kernel alignment is their correlation. The plain estimate grows with D even for noise, so the unbiased one is used.

    K = FF', L = YY' [N,N] without their diagonals, k = K 1, l = L 1
    HSIC(K,L) = (tr(KL) + k'1 l'1 / ((N-1)(N-2)) - 2 k'l / (N-2)) / (N (N-3))
    score = HSIC(K,L) / sqrt(HSIC(K,K) HSIC(L,L))           (about 0 for noise, 1 where the kernels are the same)

It is computed from F and Y, no N x N matrix is made unless N < D. Y: one-hot classes, labels, or values of variance 1.

Kornblith et al. 2019, Similarity of Neural Network Representations Revisited, arXiv:1905.00414; unbiased HSIC: Song et
al. 2012, Feature Selection via Dependence Maximization, JMLR 13; in CKA: Nguyen, Raghu & Kornblith 2021,
arXiv:2010.15327.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headstart.nn.spectrum import centred
from headstart.rankers.base import Array, Ranker, Target


@dataclass(frozen=True)
class CKA(Ranker):
    """Unbiased centred kernel alignment of features and targets, with linear kernels."""

    name: ClassVar[str] = "cka"
    paper: ClassVar[str] = "Kornblith et al. 2019, arXiv:1905.00414"
    reads: ClassVar[frozenset[str]] = frozenset({"classes", "labels", "values"})

    def measure(self, features: Array, target: Target) -> float:
        """0 where features or targets are too few or too alike for the estimate to exist."""
        F, Y = centred(features), centred(target.columns)
        if target.kind == "values":
            Y = Y / Y.std(axis=0)
        F = F / (np.abs(F).max() or 1.0)
        own, others = hsic(F, F), hsic(Y, Y)
        return hsic(F, Y) / float(np.sqrt(own * others)) if min(own, others) > 0 else 0.0


def hsic(F: Array, Y: Array) -> float:
    """The unbiased estimate for linear kernels of F [N,D] and Y [N,C], both centred."""
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
