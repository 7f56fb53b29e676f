"""EASE: how much each item of a user's history speaks for each other item, by ridge regression in closed form.

    W = argmin |X - X W|^2 + s |W - B|^2   with diag W = 0,      X [N,I] the 0/1 of users and items

With B = 0 this is Steck 2019, Embarrassingly shallow autoencoders for sparse data (arXiv:1905.03375), eq. 8. A prior B
(diag B = 0) is where knowledge comes in: the fewer users there are, the nearer W stays to it. With the hat matrix
S = X'(X X' + s I)^-1 X = I - s (X'X + s I)^-1, and F = S + B - S B,

    W = F - (I - S) diag(F_jj / (1 - S_jj)).

S comes from the smaller of [N,N] and [I,I].
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import linalg

Array = np.ndarray


def ease(X: Any, strength: float, prior: Array | None = None) -> Array:
    """W [I,I] float32, from X [N,I] (scipy.sparse). prior: B [I,I] with a zero diagonal, or None.

    strength: s; infinity gives the prior itself.
    """
    items = X.shape[1]
    if strength == np.inf:
        return np.zeros((items, items), np.float32) if prior is None else prior.astype(np.float32)
    X = X.astype(np.float32).tocsr()
    dual = X.shape[0] <= items
    if dual:
        factor = linalg.cho_factor(_shifted((X @ X.T).toarray(), strength), overwrite_a=True, check_finite=False)
        half = linalg.cho_solve(factor, X.toarray(), check_finite=False)  # [N,I]
        S = np.asarray(X.T @ half)
    else:
        factor = linalg.cho_factor(_shifted((X.T @ X).toarray(), strength), overwrite_a=True, check_finite=False)
        S = linalg.cho_solve(factor, np.eye(items, dtype=np.float32), overwrite_b=True, check_finite=False)
        S *= -strength
        S[np.diag_indices(items)] += 1
    rest = np.clip(1 - np.diag(S), 1e-6, None)
    W = S.copy()
    if prior is not None:
        W += prior
        W -= X.T @ linalg.cho_solve(factor, np.asarray(X @ prior), check_finite=False) if dual else S @ prior
    scale = np.diag(W) / rest
    S *= scale
    W += S
    W[np.diag_indices(items)] = 0  # what is left there is rounding
    return np.asarray(W, np.float32)


def _shifted(gram: Array, strength: float) -> Array:
    gram = np.asarray(gram, np.float32)
    gram[np.diag_indices(len(gram))] += strength
    return gram


def stand_ins(own: Array, others: Array, shift: float) -> Array:
    """How much each of the items ``own`` [I,D] stands for each of ``others`` [J,D], [I,J]: kernel ridge regression.

    shift: of the kernel ridge, over the mean diagonal; the wider, the more items share in it.
    """
    factor, _ = _kernel(own, shift)
    return np.asarray(linalg.cho_solve(factor, np.asarray(own @ others.T, np.float32), check_finite=False), np.float32)


def carried(W: Array, A: Array) -> Array:
    """Weights W [I,I] between items, for items that they stand in for by A [I,J]: A'WA with a zero diagonal, [J,J].

    Regression shrinks, so the mean size of a column is brought back to that of W.
    """
    B = np.asarray(A.T @ (np.asarray(W, np.float32) @ A), np.float32)
    B[np.diag_indices(len(B))] = 0
    size = float(np.square(B).sum()) / max(len(B), 1)
    if size > 0:
        B *= np.float32(np.sqrt(float(np.square(W).sum()) / max(len(W), 1) / size))
    return B


def told_by_content(W: Array, warm: Array, rest: Array, shift: float) -> tuple[Array, Array]:
    """The columns of W as the contents of the items would have them: kernel ridge regression from content to columns.

    Gantner et al. 2010, Learning attribute-to-feature mappings for cold-start recommendations. W: [R,J]. warm: vectors
    [J,D] of the items of its columns, rest: [M,D] of items without one. shift: of the kernel ridge, over the mean
    diagonal. Returns the columns of the warm items, each told by the others (leave one out), [R,J], and of the rest,
    [R,M].
    """
    factor, kernel = _kernel(warm, shift)
    A = linalg.cho_solve(factor, kernel, check_finite=False)  # [J,J]: the smoother, columns to columns
    own, W = np.clip(np.diag(A), 0, 1 - 1e-4), np.asarray(W, np.float32)
    inside = (W @ A - W * own) / (1 - own)
    outside = W @ linalg.cho_solve(factor, np.asarray(warm @ rest.T, np.float32), check_finite=False)
    return np.asarray(inside, np.float32), np.asarray(outside, np.float32)


def _kernel(vectors: Array, shift: float) -> tuple[Any, Array]:
    """The Cholesky factor of the kernel of vectors [J,D] with its ridge, and the kernel [J,J]."""
    kernel = np.asarray(vectors @ vectors.T, np.float32)
    ridge = kernel.copy()
    ridge[np.diag_indices(len(ridge))] += shift * max(float(np.trace(kernel)) / max(len(kernel), 1), 1e-6)
    return linalg.cho_factor(ridge, overwrite_a=True, check_finite=False), kernel
