"""Least squares on numbers that stand for classes, and what it says of rows left out, without a fit for each fold.

With H the matrix that turns targets into fitted values and L the rows of a fold, the residuals that a fit without
those rows would have are (I - H_LL)⁻¹ (y_L - f_L), exactly, intercept included (Stone 1974; Cook 1977). In the
axes of `Rotated` the Gram matrix is diagonal, so that a strength costs one product U_L U_L' a fold.

On class indicators this is a classifier, about as good as the logistic one (Rifkin & Klautau 2004, In defense of
one-vs-all classification; Hui & Belkin 2021, arXiv:2006.07322), and its errors are others:
`nn/linear.py` takes the mean of both.

Measured, the logistic head alone -> the mean of both. Reviews through minilm (2 000 rows, 4 000 others to test, drawn
as `benchmarks/reviews.py --splits` does, 18 splits): the probe has 0.54 points more than scikit-learn's
LogisticRegressionCV on the last features (standard error 0.06). Sets of `benchmarks/ranking_sets.py`, mobilenet_v2,
mean of 2 or 3 draws: digits, 200 rows: accuracy 0.926 -> 0.941, log loss 0.262 -> 0.196; MNIST, 200 rows:
0.896 -> 0.910, 0.326 -> 0.278; 26 letters, 300 rows: 0.715 -> 0.779, 0.927 -> 0.747; 12 typefaces, 300 rows:
0.378 -> 0.381, 1.99 -> 1.83. minilm, 1 000 reviews: recommended 0.859 -> 0.860, garment 0.620 -> 0.628 (log loss
1.149 -> 1.159), rating 0.563 (the mean is not taken).
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from headstart.nn.solvers import Rotated

Array: TypeAlias = np.ndarray


class LeftOut:
    """Ridge regression of Y [n,C] on a rotated X, of all rows and of all but a fold.

    basis: rotated (`Rotated.is_diagonal`). fold: int [n]. The objective is that of `solvers.ridge`.
    """

    def __init__(self, basis: Rotated, Y: Array, fold: Array) -> None:
        from scipy import linalg

        self.basis, self.Y = basis, np.asarray(Y, dtype=np.float64)
        self.parts = [np.flatnonzero(fold == k) for k in np.unique(fold)]
        self.middle = basis.counts @ self.Y / basis.counts.sum()
        self.turn: Array | None = None
        if basis.weight is None:
            self.U, self.curvature = basis.Z, basis.curvature
        else:  # rows that count differently have other axes
            self.curvature, self.turn = linalg.eigh(basis.gram)
            self.curvature = np.maximum(self.curvature, 0)
            self.U = np.asarray((basis.Z - basis.middle) @ self.turn, dtype=basis.Z.dtype)
        counted = basis.counts[:, None] * (self.Y - self.middle)
        self.right = np.asarray(self.U.T @ counted.astype(self.U.dtype), dtype=np.float64)  # [r,C]

    def head(self, strength: float) -> tuple[Array, Array]:
        """The head of all rows, W [C,D] and b [C] for X."""
        weight = self._weight(strength)
        if self.turn is not None:
            weight = self.turn @ weight
        return self.basis.back(weight.T, self.middle - self.basis.middle @ weight)

    def outputs(self, strength: float) -> Array:
        """For every row [n,C]: what the rows of the other folds say of it."""
        fitted = np.asarray(self.U @ self._weight(strength).astype(self.U.dtype), dtype=np.float64) + self.middle
        found = np.empty_like(self.Y)
        shrink = (1 / np.sqrt(self.curvature + 1 / strength)).astype(self.U.dtype)
        counts, total = self.basis.counts, self.basis.counts.sum()
        for rows in self.parts:
            half = self.U[rows] * shrink
            hat = (np.asarray(half @ half.T, dtype=np.float64) + 1 / total) * counts[rows]
            residual = np.linalg.solve(np.eye(len(rows)) - hat, self.Y[rows] - fitted[rows])
            found[rows] = self.Y[rows] - residual
        return found

    def _weight(self, strength: float) -> Array:
        return self.right / (self.curvature + 1 / strength)[:, None]
