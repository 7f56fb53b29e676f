"""Means, covariances, and powers of symmetric matrices."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray


def covariance(X: Array, ridge: float = 0.0, weights: Array | None = None) -> tuple[Array, Array]:
    """Mean [D] and covariance [D,D] (over n - 1) of X [n,D], float64. ridge: added to the variances, in units of their
    mean. weights: [n] of the rows.
    """
    w = None if weights is None else weights / weights.sum()
    mean = np.asarray(X.mean(axis=0, dtype=np.float64) if w is None else w @ X, np.float64)
    Z = X - mean.astype(X.dtype)
    if w is None:
        found = np.asarray(Z.T @ Z, np.float64) / max(len(X) - 1, 1)
    else:
        found = np.asarray((Z * w[:, None]).T @ Z, np.float64) / max(1 - float(w @ w), 1e-12)
    if ridge:
        found = found + ridge * max(float(np.trace(found)) / len(found), 1e-300) * np.eye(len(found))
    return mean, found


def power(matrix: Array, exponent: float) -> Array:
    """The symmetric positive matrix [D,D] to this power; directions without any variance are left out."""
    values, vectors = np.linalg.eigh(matrix)
    kept = values > max(float(values[-1]), 0.0) * 1e-12
    return np.asarray((vectors[:, kept] * values[kept] ** exponent) @ vectors[:, kept].T)
