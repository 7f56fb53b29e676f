"""A linear model that says what a teacher says: ridge regression on the teacher's probabilities.

Of N rows X [N,D], labelled or not, with the teacher's word Y [N,C] (the chance of each class or label, sharpened, or a
number):

    min over W, b of  strength |X W' + b - Y|² + |W|²

solved to the optimum (`solvers.ridge`). A fifth of the rows is left out to choose the strength by the squared error
there, and, of chances, the factor that turns the fitted ones less 1/C (of labels: less 1/2) into logits with the least
cross-entropy to the chances as they were given. Least squares on probabilities asks for no more than what can be said
linearly; on logits it would spend itself on rows of which the teacher is sure. Hinton et al. 2015, arXiv:1503.02531,
for the soft targets; Ba & Caruana 2014, arXiv:1312.6184, for the regression; Berthelot et al. 2019, arXiv:1905.02249,
equation 7 with T = 1/2, for the sharpening. Measured on development reviews, n-grams imitating a probe on minilm,
strength 1, the part of the teacher's gain that is kept: with 120 labels 0.99 as given, 1.02 sharpened; with 240 labels
0.91, 0.97.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from threadpoolctl import threadpool_limits

from headstart.nn.linear import STRENGTHS, best_factor, norm
from headstart.nn.solvers import Rotated, ridge, rotate
from headstart.tasks.base import Task

Array: TypeAlias = np.ndarray

FEW = (1.0, 10.0)
"""Strength and factor where there are too few rows to choose them."""


@dataclass(frozen=True)
class Imitation:
    """weight [C,D] and bias [C] of a head for X; strength: the chosen one; error: mean square of the rows left out."""

    weight: Array
    bias: Array
    strength: float
    error: float


def imitate(task: Task, X: Any, Y: Array, *, weights: Array | None = None, seed: int = 0) -> Imitation:
    """Fit on X [N,D], dense or sparse. Y: [N,C], `chances` for classes and labels. weights: [N] of the rows, or None.

    Of fewer than ten rows none is left out, and strength and factor are `FEW`.
    """
    n = X.shape[0]
    order = np.random.default_rng(seed).permutation(n)
    left, kept = np.sort(order[: n // 5]), np.sort(order[n // 5 :])
    scale = norm(X)
    X = X * (1 / scale)
    middle = {"classification": 1 / Y.shape[1], "multilabel": 0.5}.get(task.name)
    strength, factor, error = *FEW, float("nan")
    sharp = _sharpened(task, Y)
    with threadpool_limits(1):
        if n >= 10:
            basis, tried, counts = _basis(X, kept, weights), [], None if weights is None else weights[left]
            for each in STRENGTHS:
                weight, bias = ridge(basis, sharp[kept], each)
                outputs = np.asarray(X[left] @ weight.T) + bias
                squares = ((outputs - sharp[left]) ** 2).mean(axis=1)
                tried.append((float(np.average(squares, weights=counts)), each, outputs))
                if len(tried) > 2 and tried[-1][0] > tried[-2][0] > tried[-3][0]:
                    break
            error, strength, outputs = min(tried, key=lambda trial: trial[0])
            factor = factor if middle is None else _factor(task, outputs - middle, Y[left])
        weight, bias = ridge(_basis(X, np.arange(n), weights), sharp, strength)
    if middle is not None:
        weight, bias = factor * weight, factor * (bias - middle)
    return Imitation(weight / scale, bias, strength, error)


def chances(task: Task, outputs: Array) -> Array:
    """Outputs [N,C] as what is imitated: chances of classes or labels, or the numbers themselves."""
    from scipy.special import expit, softmax

    if task.name == "classification":
        return np.asarray(softmax(outputs, axis=1))
    return np.asarray(expit(outputs) if task.name == "multilabel" else outputs)


def certain(task: Task, targets: Array) -> Array:
    """Encoded targets as chances of 0 and 1 [n,C], or the numbers themselves."""
    return np.eye(task.width)[targets] if task.name == "classification" else np.asarray(targets, dtype=np.float64)


def _sharpened(task: Task, Y: Array) -> Array:
    """Chances squared and brought to a sum of 1 again, of labels with those of their absence."""
    if task.name == "classification":
        return np.asarray(Y**2 / (Y**2).sum(axis=1, keepdims=True))
    return np.asarray(Y**2 / (Y**2 + (1 - Y) ** 2)) if task.name == "multilabel" else Y


def _basis(X: Any, rows: Array, weights: Array | None) -> Rotated:
    return replace(rotate(X[rows]), weight=None if weights is None else weights[rows])


def _factor(task: Task, outputs: Array, Y: Array) -> float:
    """What these outputs are to be multiplied by to say Y with the least cross-entropy."""
    from scipy.special import log_expit, log_softmax

    def loss(factor: float) -> float:
        logits = factor * outputs
        if task.name == "classification":
            return -float((Y * log_softmax(logits, axis=1)).sum(axis=1).mean())
        return -float((Y * log_expit(logits) + (1 - Y) * log_expit(-logits)).mean())

    return best_factor(loss)
