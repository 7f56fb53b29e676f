"""One decomposition of a feature matrix that every class, label and strength shares.

F [N,D] = U diag(s) V' with r = rank F. What rankers need of it is s² [r], the coordinates U'Y [r,C] of targets, what
is left of them, and U or the first principal scores. It comes from the eigenvectors of the smaller of F'F [D,D] and
FF' [N,N] in float64. Squaring F doubles the decades between its directions, so where the smallest lies under 1e-9 of
the largest s² the singular value decomposition of F itself is taken, which is slower. Directions without size are left
out, so rank-deficient features are exact too.

Measured, one thread, N = 10 000, D = 1 280, beside other work: 1.6 s; `scipy.linalg.svd` of F: 7.6 s.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray

NOTHING = 1e-14
"""Eigenvalues under this part of the largest are rounding."""

SQUARED = 1e-9
"""The least part of the largest eigenvalue that a squared matrix gives exactly enough (1e-7 of its value)."""


@dataclass(frozen=True)
class Spectrum:
    """F = U diag(sqrt(values)) V'. values: [r], from the largest. held: ``left``, vectors are U [N,r]; or V [D,r]."""

    F: Array
    values: Array
    vectors: Array
    held: str

    @cached_property
    def left(self) -> Array:
        """U [N,r]."""
        return self.vectors if self.held == "left" else np.asarray(self.F @ (self.vectors / np.sqrt(self.values)))

    def project(self, Y: Array) -> Array:
        """U'Y [r,C] of Y [N,C]; U is not made for it."""
        if self.held == "left":
            return np.asarray(self.vectors.T @ Y)
        return np.asarray((self.vectors.T @ (self.F.T @ Y)) / np.sqrt(self.values)[:, None])

    def residual(self, Y: Array, projected: Array) -> Array:
        """What F cannot reach of Y, Y - U U'Y [N,C]. A small error of ``projected`` = U'Y counts squared only."""
        if self.held == "left":
            return np.asarray(Y - self.vectors @ projected)
        return np.asarray(Y - self.F @ (self.vectors @ (projected / np.sqrt(self.values)[:, None])))

    def onto(self, G: Array) -> Array:
        """Coordinates G V [M,r] of other rows [M,D] on the same axes."""
        if self.held == "right":
            return np.asarray(G @ self.vectors)
        return np.asarray(((G @ self.F.T) @ self.vectors) / np.sqrt(self.values))

    def scores(self, width: int) -> Array:
        """The first ``width`` coordinates of the rows, F V [N,width]; of centred F these are principal components.

        The sign of each is such that its largest loading is positive, so it does not depend on the order of the rows.
        """
        vectors, root = self.vectors[:, :width], np.sqrt(self.values[:width])
        loadings = (self.F.T @ vectors) / root if self.held == "left" else vectors
        signs = np.sign(loadings[np.abs(loadings).argmax(axis=0), np.arange(loadings.shape[1])])
        return np.asarray((vectors * root if self.held == "left" else self.F @ vectors) * signs)


def spectrum(F: Array) -> Spectrum:
    """The decomposition of F [N,D] as it is, in float64; centre it before where the score is about centred features."""
    from scipy import linalg

    F = np.asarray(F, dtype=np.float64)
    wide = F.shape[0] < F.shape[1]
    values, vectors = linalg.eigh(F @ F.T if wide else F.T @ F, overwrite_a=True, driver="evd", check_finite=False)
    keep = (values > NOTHING * values[-1]) & (values > 0)
    values, vectors = values[keep][::-1], np.ascontiguousarray(vectors[:, keep][:, ::-1])
    if len(values) and values[-1] < SQUARED * values[0]:
        U, sizes, _ = linalg.svd(F, full_matrices=False, check_finite=False)
        keep = sizes > max(F.shape) * np.finfo(np.float64).eps * sizes[0]
        return Spectrum(F, sizes[keep] ** 2, U[:, keep], "left")
    return Spectrum(F, values, vectors, "left" if wide else "right")


def centred(F: Array) -> Array:
    """F [N,D] minus the mean of its rows; a column that is the same in every row becomes exactly zero."""
    F = np.asarray(F, dtype=np.float64)
    constant = F.min(axis=0) == F.max(axis=0)
    return np.asarray(np.where(constant, 0.0, F - F.mean(axis=0)))
