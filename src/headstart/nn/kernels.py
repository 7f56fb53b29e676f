"""The Gaussian kernel k(x, z) = exp(-gamma |x - z|²), its usual width, and landmarks that stand for many rows.

The width of the median heuristic, gamma = 1 / median |x - z|², is that of Gretton et al. 2012, A Kernel Two-Sample
Test, JMLR 13, section 8. Landmarks: Williams & Seeger 2001, Using the Nyström Method to Speed Up Kernel Machines.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray

SAMPLE = 1000  # rows from which the median distance is taken


def squared_distances(X: Array, Z: Array) -> Array:
    """|x - z|² of the rows of X [n,D] and Z [m,D]: [n,m], none below 0."""
    X, Z = np.asarray(X, np.float64), np.asarray(Z, np.float64)
    found = (X * X).sum(axis=1)[:, None] + (Z * Z).sum(axis=1)[None, :] - 2 * X @ Z.T
    return np.asarray(np.maximum(found, 0, out=found))


def gaussian(X: Array, Z: Array, gamma: float) -> Array:
    """The kernel matrix [n,m] of the rows of X [n,D] and Z [m,D]."""
    distances = squared_distances(X, Z)
    distances *= -gamma
    return np.asarray(np.exp(distances, out=distances))


def median_gamma(X: Array, seed: int = 0) -> float:
    """1 over the median squared distance of the rows of X [n,D]; 1 where they are all the same."""
    rows = np.random.default_rng(seed).permutation(len(X))[:SAMPLE]
    distances = squared_distances(X[rows], X[rows])[np.triu_indices(len(rows), 1)]
    middle = float(np.median(distances[distances > 0])) if (distances > 0).any() else 1.0
    return 1 / middle


def landmarks(X: Array, count: int, seed: int = 0) -> Array:
    """At most ``count`` of the rows of X [n,D], drawn by the seed: [p,D]."""
    if len(X) <= count:
        return X
    return X[np.sort(np.random.default_rng(seed).permutation(len(X))[:count])]
