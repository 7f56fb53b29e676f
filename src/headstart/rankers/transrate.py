"""TransRate: the mutual information of features and classes, with entropy measured as a coding rate.

The bits that all features need at a distortion eps, minus the bits they need once the class is known. Features that
are spread as a whole and compact within each class score high.

    R(Z) = 1/2 log det(I + Z'Z/(n eps)),   Z [n,D]
    score = R(Z) - sum_c n_c/N R(Z_c),     Z centred over all rows

The rate depends on the scale of the features, which says nothing about them; they are divided by one number so that
the mean square length of the rows is 1, and eps has one meaning for every source. Values are put into 10 classes of
equal size by rank (equal values together), as the paper does for regression; several columns of values are averaged.

A blind spot: Z_c is not centred on its own mean, so of two classes of equal size, whose means lie at m and -m, the
score sees m in each of them as much as in the whole, and nothing of their distance. It is therefore not offered for
labels, each of which is two classes.

Huang, Huang, Rong, Yang & Wei 2022, Frustratingly Easy Transferability Estimation, arXiv:2106.09362.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headstart.nn.spectrum import centred
from headstart.rankers.base import Array, Ranker, Target

BINS = 10
"""Classes that values are put into."""


@dataclass(frozen=True)
class TransRate(Ranker):
    """Coding rate of all rows minus that within classes. eps: distortion, in units of the mean square length."""

    name: ClassVar[str] = "transrate"
    paper: ClassVar[str] = "Huang et al. 2022, arXiv:2106.09362"
    reads: ClassVar[frozenset[str]] = frozenset({"classes", "values"})

    eps: float = 1e-4

    def measure(self, features: Array, target: Target) -> float:
        """0 for features that do not vary."""
        Z = centred(features)
        scale = np.sqrt(np.einsum("nd,nd->n", Z, Z).mean())
        if scale == 0:
            return 0.0
        Z = Z / scale
        whole = self.rate(Z)
        parts = target.partitions() if target.kind == "classes" else [_binned(column) for column in target.columns.T]
        within = []
        for groups in parts:
            counts = np.bincount(groups)
            rates = [self.rate(Z[groups == group]) if count else 0.0 for group, count in enumerate(counts)]
            within.append(counts @ rates / len(Z))
        return whole - float(np.mean(within))

    def rate(self, Z: Array) -> float:
        """Nats a row of Z [n,D] needs: from the smaller of Z'Z and ZZ', whose determinants agree."""
        gram = Z @ Z.T if len(Z) < Z.shape[1] else Z.T @ Z
        gram /= len(Z) * self.eps
        gram[np.diag_indices_from(gram)] += 1.0
        return float(np.log(np.diagonal(np.linalg.cholesky(gram))).sum())


def _binned(values: Array) -> Array:
    """The tenth that each value lies in by rank, [N]."""
    from scipy.stats import rankdata

    return np.asarray((rankdata(values) - 1) * BINS // len(values), dtype=np.int64)
