"""Convex linear heads, solved fast: multinomial and binary logistic regression, ridge regression.

Objective, as in scikit-learn: strength * sum_i w_i loss(x_i W' + b, y_i) + |W|²/2 with a free intercept b; the weight
w_i of a row is 1 unless `Rotated.weight` says otherwise. The optimum is
scikit-learn's; the way there is shorter. `rotate` centres X and turns it to its principal axes once (for D > n through
the Gram matrix X X', so that n numbers stand for D), and L-BFGS runs with each axis scaled by 1/sqrt(curvature), which
takes a third of the steps of the plain problem. The same rotation serves every fold and strength of a path.

Measured, one thread, n = 2 000, D = 384, 6 classes, strength 10: 0.08 s, of which the rotation is 0.02 s;
scikit-learn's lbfgs: 0.24 s.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray
Start: TypeAlias = tuple[Array, Array] | None

LARGEST_ROTATION = 4096
"""Above this min(n, D) an eigendecomposition costs more than it saves."""

LARGEST_SPARSE = 2500
"""The same for the rows of sparse X with D > n, where a pass over X itself is cheap."""

PART = 4096
"""Rows of long data that are taken at once; the sums, and so the result, do not depend on the number of cores."""


@dataclass(frozen=True)
class Rotated:
    """X in the axes in which its covariance is diagonal: X - mean = Z axes'.

    Z: [n,r]. curvature: [r], sum of squares of each axis (of the rows that were rotated). mean: [D] of X.
    axes: [D,r] for D <= n, else None and X' dual is used: dual [n,r], with axes = centred X' dual. weight: [n] of the
    rows in the loss, or None where all count 1.
    """

    Z: Array
    curvature: Array
    mean: Array
    axes: Array | None = None
    dual: Array | None = None
    X: Any = None
    weight: Array | None = None

    def rows(self, rows: Array) -> Rotated:
        """The same axes with only these rows; weights found on it live in the axes of the whole."""
        n, width = self.Z.shape
        weight = None if self.weight is None else self.weight[rows]
        return Rotated(self.Z[rows], self.curvature * (len(rows) / max(n, 1)), np.zeros(width), weight=weight)

    @property
    def is_diagonal(self) -> bool:
        """Whether the axes were found, so that the Gram matrix of all rows is diagonal."""
        return self.axes is not None or self.dual is not None

    @cached_property
    def counts(self) -> Array:
        """How much each row counts, [n]."""
        return np.ones(self.Z.shape[0]) if self.weight is None else np.asarray(self.weight, dtype=np.float64)

    @cached_property
    def middle(self) -> Array:
        """The weighted mean of Z, [r]."""
        if self.weight is None:
            return np.asarray(self.Z.mean(axis=0), dtype=np.float64)
        return np.asarray((self.counts @ self.Z) / self.counts.sum(), dtype=np.float64)

    @cached_property
    def gram(self) -> Array:
        """Z'Z of the centred rows [r,r] in float64, for ridge; each row as often as it counts."""
        centred = np.asarray(self.Z - self.middle, dtype=np.float64)
        return np.asarray(centred.T @ (centred if self.weight is None else centred * self.counts[:, None]))

    def back(self, weight: Array, bias: Array) -> tuple[Array, Array]:
        """V [C,r] and bias [C] for Z to W [C,D] and bias [C] for X."""
        if self.axes is not None:
            full = weight @ self.axes.T
        elif self.dual is not None:
            mixed = self.dual @ weight.T  # [n,C]; its columns sum to zero over rows up to rounding
            full = np.asarray((self.X.T @ mixed).T) - np.outer(mixed.sum(axis=0), self.mean)
        else:
            full = weight
        return full, bias - full @ self.mean

    def onto(self, start: Start) -> Start:
        """A start for X [C,D] to one for Z [C,r]."""
        if start is None or (self.axes is None and self.dual is None):
            return start
        weight, bias = np.asarray(start[0], dtype=np.float64), np.asarray(start[1], dtype=np.float64)
        if self.axes is not None:
            moved = weight @ self.axes
        else:
            assert self.dual is not None
            scores = np.asarray(self.X @ weight.T) - self.mean @ weight.T  # [n,C]
            moved = scores.T @ self.dual
        return moved, bias + weight @ self.mean


def rotate(X: Any) -> Rotated:
    """Centre and rotate X [n,D], dense or sparse. Wide or long data over `LARGEST_ROTATION` are only centred (dense)
    or left as they are (sparse).
    """
    from scipy import linalg, sparse

    n, width = X.shape
    if sparse.issparse(X):
        if n * width <= 20_000_000 and width <= n:
            return rotate(X.toarray())
        if n > LARGEST_SPARSE:
            return Rotated(X.tocsr(), np.asarray(X.multiply(X).sum(axis=0)).ravel(), np.zeros(width))
    X = X.tocsr() if sparse.issparse(X) else np.asarray(X)
    mean = np.asarray(X.mean(axis=0), dtype=np.float64).ravel()
    if min(n, width) > LARGEST_ROTATION:
        Z = X - mean.astype(X.dtype)
        return Rotated(Z, np.einsum("nd,nd->d", Z, Z).astype(np.float64), mean)
    if width <= n:
        Z = X - mean.astype(X.dtype)
        values, axes = linalg.eigh(np.asarray(Z.T @ Z, dtype=np.float64))
        keep = values > max(values[-1], 0) * 1e-10 + 1e-300
        return Rotated(Z @ axes[:, keep].astype(Z.dtype), values[keep], mean, axes=axes[:, keep])
    gram = _gram(X)
    gram = gram - gram.mean(axis=0) - gram.mean(axis=1)[:, None] + gram.mean()
    values, vectors = linalg.eigh(gram, overwrite_a=True, driver="evd")
    keep = values > max(values[-1], 0) * 1e-7 + 1e-300
    values, vectors = values[keep], vectors[:, keep]
    Z = (vectors * np.sqrt(values)).astype(X.dtype if X.dtype.kind == "f" else np.float64)
    return Rotated(Z, values, mean, dual=vectors / np.sqrt(values), X=X)


def _gram(X: Any) -> Array:
    """X X' in float64 [n,n]; of sparse X the columns that most rows share go through a dense product."""
    from scipy import sparse

    if not sparse.issparse(X):
        return np.asarray(X @ X.T, dtype=np.float64)
    common = np.bincount(X.indices, minlength=X.shape[1]) > 0.05 * X.shape[0]
    dense, rest = X[:, common].toarray(), X[:, ~common]
    return np.asarray(np.asarray(dense @ dense.T, dtype=np.float64) + (rest @ rest.T).toarray())


def multinomial(X: Any, y: Array, classes: int, strength: float, start: Start = None) -> tuple[Array, Array]:
    """Multinomial logistic regression. X [n,D] or `Rotated`, y int [n] -> W [C,D], b [C].

    Two classes are fitted as scikit-learn does, by one binomial weight vector w: W = [-w/2, w/2]. A class without rows
    gets zero weights and a bias far below the others.
    """
    basis = X if isinstance(X, Rotated) else rotate(X)
    moved = basis.onto(start)
    present, y = np.unique(np.asarray(y, dtype=np.int64), return_inverse=True)
    width = basis.Z.shape[1]
    weight, bias = np.zeros((classes, width)), np.zeros(classes)
    if classes == 2 and len(present) == 2:
        begin = None if moved is None else (moved[0][1:] - moved[0][:1], moved[1][1:] - moved[1][:1])
        single, offset = _binomial(basis, y[:, None].astype(np.float64), strength, begin)
        weight, bias = np.vstack([-single / 2, single / 2]), np.concatenate([-offset / 2, offset / 2])
        return basis.back(weight, bias)
    if len(present) > 1:
        begin = None if moved is None else (moved[0][present], moved[1][present])
        share = np.maximum(np.bincount(y, weights=basis.counts, minlength=len(present)), 1e-9)

        def losses(logits: Array, part: slice) -> tuple[float, Array, Array]:
            rows, label = np.arange(len(logits)), y[part]
            logits -= logits.max(axis=1, keepdims=True)
            chances = np.exp(logits)
            total = chances.sum(axis=1, keepdims=True)
            value = float(basis.counts[part] @ (np.log(total[:, 0]) - logits[rows, label]))
            chances /= total
            residual = chances.copy()
            residual[rows, label] -= 1
            return value, _counted(residual, basis, part), chances

        default = np.log(share) - np.log(share).mean()
        weight[present], bias[present] = _minimise(basis, losses, default, strength, begin)
        bias[present] -= bias[present].mean()
    absent = np.setdiff1d(np.arange(classes), present)
    bias[absent] = bias[present].min(initial=0.0) - 10.0
    return basis.back(weight, bias)


def one_vs_rest(X: Any, y: Array, strength: float, start: Start = None) -> tuple[Array, Array]:
    """C independent binary logistic regressions. y [n,C] of 0 and 1 -> W [C,D], b [C].

    A label that is always on or always off gets zero weights and the bias log((on + 1/2) / (off + 1/2)).
    """
    basis = X if isinstance(X, Rotated) else rotate(X)
    y = np.asarray(y, dtype=np.float64)
    on = y.sum(axis=0)
    bias = np.log((on + 0.5) / (len(y) - on + 0.5))
    weight = np.zeros((y.shape[1], basis.Z.shape[1]))
    mixed = np.flatnonzero((on > 0) & (on < len(y)))
    if len(mixed):
        moved = basis.onto(start)
        begin = None if moved is None else (moved[0][mixed], moved[1][mixed])
        weight[mixed], bias[mixed] = _binomial(basis, y[:, mixed], strength, begin)
    return basis.back(weight, bias)


def ridge(X: Any, y: Array, strength: float) -> tuple[Array, Array]:
    """Ridge regression in closed form (through the Gram matrix where D > n). y [n,C] -> W [C,D], b [C].

    The objective is strength * weighted sum of squares + |W|², scikit-learn's Ridge with alpha = 1 / strength.
    """
    from scipy import linalg, sparse

    basis = X if isinstance(X, Rotated) else rotate(X)
    y = np.asarray(y, dtype=np.float64).reshape(basis.Z.shape[0], -1)
    if sparse.issparse(basis.Z):
        return basis.back(*_sparse_ridge(basis.Z, y, strength, basis.weight))
    middle = basis.counts @ y / basis.counts.sum()
    shift = basis.middle
    right = np.asarray(basis.Z.T @ _counted(y - middle, basis), dtype=np.float64)
    left = basis.gram + np.eye(len(shift)) / strength
    weight = linalg.solve(left, right, assume_a="pos").T if len(shift) else np.zeros((y.shape[1], 0))
    return basis.back(weight, middle - weight @ shift)


def _counted(values: Array, basis: Rotated, part: slice = slice(None)) -> Array:
    """Values of a part of the rows [n,C], each as often as its row counts."""
    return values if basis.weight is None else values * basis.counts[part, None]


def _sparse_ridge(X: Any, y: Array, strength: float, counts: Array | None) -> tuple[Array, Array]:
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=1 / strength, solver="sparse_cg", tol=1e-5).fit(X, y, sample_weight=counts)
    return np.atleast_2d(model.coef_), np.atleast_1d(np.asarray(model.intercept_))


def _binomial(basis: Rotated, y: Array, strength: float, start: Start) -> tuple[Array, Array]:
    from scipy.special import expit

    def losses(logits: Array, part: slice) -> tuple[float, Array, Array]:
        value = float((basis.counts[part] @ (np.logaddexp(0, logits) - y[part] * logits)).sum())
        chances = np.asarray(expit(logits))
        return value, _counted(chances - y[part], basis, part), chances

    share = np.clip(basis.counts @ y / basis.counts.sum(), 1e-9, 1 - 1e-9)
    return _minimise(basis, losses, np.log(share / (1 - share)), strength, start)


def workers(pieces: int) -> int:
    """How many of these pieces of work go at once, each product on one thread."""
    return min(pieces, int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))


def _minimise(
    basis: Rotated,
    losses: Callable[[Array, slice], tuple[float, Array, Array]],
    default: Array,
    strength: float,
    start: Start,
) -> tuple[Array, Array]:
    """L-BFGS on strength * losses(Z V' + b) + |V|²/2, each axis scaled by its curvature at the start.

    losses: logits [m,C] and which of the rows they are -> (their sum, slopes [m,C], probabilities [m,C]).
    default: the bias [C] without a start. Long data go in parts of `PART` rows, as many at once as there are cores.
    """
    from scipy import sparse
    from scipy.optimize import minimize

    Z = basis.Z
    n, width = Z.shape
    outputs = len(default)
    dtype = Z.dtype
    parts = [slice(first, min(first + PART, n)) for first in range(0, n, PART)]

    def losses_of(part: slice, weight: Array, bias: Array) -> tuple[float, Array, Array]:
        return losses(np.asarray(np.asarray(Z[part] @ weight.T.astype(dtype), dtype=np.float64) + bias), part)

    def slopes_of(part: slice, weight: Array, bias: Array) -> tuple[float, Array, Array]:
        """Loss, slopes of the weight [r,C] and of the bias [C]."""
        value, residual, _ = losses_of(part, weight, bias)
        return value, np.asarray(Z[part].T @ residual.astype(dtype), dtype=np.float64), residual.sum(axis=0)

    def objective(flat: Array) -> tuple[float, Array]:
        weight = flat[: outputs * width].reshape(outputs, width) * scale
        bias = flat[outputs * width :] * offset
        found = list(each(lambda part: slopes_of(part, weight, bias), parts))
        value, slope, tilt = (sum(values[1:], values[0]) for values in zip(*found))
        gradient = np.concatenate([((strength * slope.T + weight) * scale).ravel(), strength * tilt * offset])
        return strength * value + 0.5 * float(np.einsum("cd,cd->", weight, weight)), gradient

    cores = workers(len(parts))
    with contextlib.ExitStack() as stack:
        each: Callable[..., Iterable[Any]] = map
        if cores > 1:
            each = stack.enter_context(ThreadPoolExecutor(cores)).map
        weight, bias = (np.zeros((outputs, width)), default) if start is None else start
        chances = np.concatenate(list(each(lambda part: losses_of(part, weight, bias)[2], parts)))
        variance = np.maximum((chances * (1 - chances)).mean(axis=0), 1e-6)  # [C]
        scale = 1 / np.sqrt(1 + strength * np.outer(variance, basis.curvature))  # [C,r]
        offset = 1 / np.sqrt(strength * n * variance)  # [C]
        begin = np.concatenate([(weight / scale).ravel(), bias / offset])
        options = {
            "maxiter": 500,
            "maxfun": 700,
            "maxcor": 12,
            "gtol": 1e-4,
            "ftol": 1e-6 if sparse.issparse(Z) else 1e-7,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = minimize(objective, begin, jac=True, method="L-BFGS-B", options=options).x
    best = np.asarray(found, dtype=np.float64)
    return best[: outputs * width].reshape(outputs, width) * scale, best[outputs * width :] * offset
