"""PARC: whether rows that are far apart in the features are far apart in the targets.

Two rows are compared by the correlation of their features and by that of their targets; the score is the rank
correlation of the two comparisons over all pairs of rows.

    P_ij = 1 - pearson(f_i, f_j),  Q_ij = 1 - pearson(y_i, y_j),   f_i [32] principal components, y_i [C] one-hot
    score = spearman over i < j of P_ij and Q_ij                   (-1 to 1; the paper prints 100 times this)

Where a row has no variance its correlation is 1 with an equal row and 0 with any other. One label alone is read as
"without, with". More than 1 000 rows (half a million pairs) are thinned to 1 000, evenly over the classes.

Bolya, Mittapalli & Hoffman 2021, Scalable Diverse Model Selection for Accessible Transfer Learning, arXiv:2111.06977.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headstart.nn.spectrum import centred, spectrum
from headstart.rankers.base import Array, Ranker, Target, thinned


@dataclass(frozen=True)
class PARC(Ranker):
    """Rank correlation of distances in features and targets. width: principal components. most: rows read."""

    name: ClassVar[str] = "parc"
    paper: ClassVar[str] = "Bolya, Mittapalli & Hoffman 2021, arXiv:2111.06977"
    reads: ClassVar[frozenset[str]] = frozenset({"classes", "labels"})

    width: int = 32
    most: int = 1000
    seed: int = 0

    def measure(self, features: Array, target: Target) -> float:
        """0 for features or targets whose pairs are all alike."""
        rows = thinned(features, target, self.most, self.seed)
        basis = spectrum(centred(features[rows]))
        columns = target.rows(rows).columns
        if not len(basis.values):
            return 0.0
        Y = np.hstack([1 - columns, columns]) if columns.shape[1] == 1 else columns
        pairs = np.tril_indices(len(rows), -1)
        return _spearman(_correlations(basis.scores(self.width))[pairs], _correlations(Y)[pairs])


def _correlations(X: Array) -> Array:
    """Pearson correlation of every two rows, [N,N]."""
    Z = X - X.mean(axis=1, keepdims=True)
    size = np.sqrt(np.einsum("nd,nd->n", Z, Z))
    flat = size <= 1e-12 * np.abs(X).max()
    Z = np.where(flat[:, None], 0.0, Z / np.where(flat, 1.0, size)[:, None])
    result = Z @ Z.T
    if flat.any():
        alike = (X[flat][:, None, 0] == X[None, flat, 0]).astype(np.float64)
        result[np.ix_(flat, flat)] = alike
    return np.asarray(result)


def _spearman(one: Array, other: Array) -> float:
    """Rank correlation; values that agree to 10 digits share a rank, so rounding does not order equal pairs."""
    from scipy.stats import rankdata

    ranks = [rankdata(np.round(values, 10)) for values in (one, other)]
    a, b = (rank - rank.mean() for rank in ranks)
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else 0.0
