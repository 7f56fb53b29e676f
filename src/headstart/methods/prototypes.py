"""Prototypes: a row belongs to the class whose mean feature is nearest, in a metric that shrinks towards a sphere.

The mean m_c of each class stands for it (Snell et al. 2017). Distances are measured by the pooled covariance within
the classes, shrunk as far as cross-validation says (Friedman 1989, regularised discriminant analysis):

    S(g) = (1 - g) S + g tr(S)/D I [D,D],    output_c = t (m_c' S(g)^-1 x - m_c' S(g)^-1 m_c / 2) + log share_c

g = 1 is the nearest mean, g = 0 linear discriminant analysis. The temperature t is the one with which the outputs of
left-out rows have the smallest loss, because distances to means of a few rows are overconfident. All of it is a linear
head on frozen features, found without iterating: for n rows of width D one eigendecomposition of min(n, D) serves
every g.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from headstart import augmented
from headstart.errors import MethodError
from headstart.methods.base import Method, Problem, hyper
from headstart.methods.network import NetworkFitted, layer_rows
from headstart.nn.linear import assign_folds, choose
from headstart.tasks.base import Array, Task

SHRINKAGES = (1.0, 0.95, 0.9, 0.8, 0.65, 0.5, 0.35, 0.2, 0.1, 0.05)
"""From the nearest mean to nearly linear discriminant analysis."""

SMALL = 400  # rows under which the folds are drawn several times, because one draw says little
REPEATS = 4


@dataclass(frozen=True)
class Prototypes(Method):
    """The nearest class mean of frozen features, its metric shrunk by cross-validation."""

    name: ClassVar[str] = "prototypes"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    paper: ClassVar[str] = "Snell et al. 2017, arXiv:1703.05175; Friedman 1989"

    shrinkage: float = hyper(-1.0, "1 = nearest mean, 0 = pooled covariance; -1 = by cross-validation", low=-1, high=1)
    folds: int = hyper(5, "folds of the cross-validation", low=2, high=50)
    augment: int = hyper(0, "augmented copies of each training row besides (sounds, images)", low=0, high=100)

    def fit(self, problem: Problem) -> NetworkFitted:
        """Fit on the training rows alone; ``problem.valid`` is not read."""
        if problem.source is None or problem.extractor is None:
            raise MethodError("HS-METHOD-003", "prototypes needs a source.", "Name one with --source.")
        train, task = problem.train, problem.task
        X, y, weights = problem.extractor.matrix(train), task.encode(train.targets()), train.weights()
        groups, count = train.groups(), len(train)
        if self.augment:
            X = np.concatenate([X, *augmented.copies(problem.extractor, train, ["pooled"], self.augment)])
            groups = np.arange(count) if groups is None else groups  # a row and its copies share a fold
            y, groups, weights = (augmented.repeated(each, self.augment) for each in (y, groups, weights))
        tries = SHRINKAGES if self.shrinkage < 0 else (self.shrinkage,)
        chosen = cross_validate(task, X, y, tries, self.folds, groups, weights, problem.seed)
        weight, bias, offset = next(discriminants(X, y, task.width, (chosen.shrinkage,), weights))
        head = nn.Linear(X.shape[1], task.width)
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(chosen.temperature * weight))
            head.bias.copy_(torch.from_numpy(chosen.temperature * bias + offset))
        rows = layer_rows(problem.source, head, [])
        rows[-1] = type(rows[-1])("head", rows[-1].parameters, 1.0, None)
        history = {
            "outputs": ["pooled"],
            "shrinkage": chosen.shrinkage,
            "temperature": chosen.temperature,
            "cross-validation": chosen.score,
        }
        fitted = NetworkFitted(
            replace(self, shrinkage=chosen.shrinkage), task, problem.source, head, ("pooled",), changed=False,
            extractor=problem.extractor, precision=problem.extractor.precision, history=[history], layers=rows,
        )  # fmt: skip
        fitted.cv_outputs = chosen.outputs[:count]
        return fitted


@dataclass(frozen=True)
class Choice:
    """What cross-validation settled. score: headline metric of the out-of-fold outputs [N,C] (mean of the repeats)."""

    shrinkage: float
    temperature: float
    score: float
    outputs: Array


def discriminants(
    X: Array, y: Array, classes: int, shrinkages: Sequence[float], weights: Array | None = None
) -> Iterator[tuple[Array, Array, Array]]:
    """Of each shrinkage the weight [C,D] and bias [C] of the distances, and the log share [C] of the classes.

    X: [n,D]. y: int [n]. weights: [n], how much each row counts. A class without rows has the mean of all rows and the
    share of half a row. Where no row differs from its class's mean (one row each), the metric is the sphere.
    """
    counted = np.ones(len(X)) if weights is None else np.asarray(weights, np.float64)
    X = np.asarray(X, np.float64)
    member = np.zeros((classes, len(X)))
    member[y, np.arange(len(X))] = counted
    sums = member.sum(axis=1)
    middle = counted @ X / counted.sum()
    means = np.where(sums[:, None] > 0, member @ X / np.maximum(sums, 1e-12)[:, None], middle)
    offset = np.log(np.maximum(sums, 0.5) / counted.sum())
    inner = np.sqrt(counted / counted.sum())[:, None] * (X - means[y])  # its Gram matrix is S
    values, axes = _principal(inner)
    level = values.sum() / X.shape[1]
    if level <= 1e-12 * max(float(np.square(X).mean()), 1e-300):
        values, level = np.zeros_like(values), 1.0
    centred = means - middle  # the same differences between classes, better conditioned
    turned = centred @ axes  # [C,r]
    rest = centred - turned @ axes.T
    for shrinkage in shrinkages:
        floor = max(shrinkage, 1e-6) * level
        weight = rest / floor + (turned / ((1 - shrinkage) * values + floor)) @ axes.T
        yield weight, -0.5 * (weight * centred).sum(axis=1) - weight @ middle, offset


def _principal(inner: Array) -> tuple[Array, Array]:
    """Eigenvalues [r] and axes [D,r] of inner' inner, by the smaller of its two Gram matrices."""
    n, width = inner.shape
    values, vectors = np.linalg.eigh(inner @ inner.T if n < width else inner.T @ inner)
    kept = values > 1e-10 * max(float(values[-1]), 1e-300)
    values, vectors = values[kept], vectors[:, kept]
    return values, inner.T @ vectors / np.sqrt(values) if n < width else vectors


def cross_validate(
    task: Task,
    X: Array,
    y: Array,
    shrinkages: Sequence[float],
    folds: int,
    groups: Array | None = None,
    weights: Array | None = None,
    seed: int = 0,
) -> Choice:
    """The shrinkage and temperature for X [N,D] and classes y [N]; small data are folded several times.

    The score is smoothed over neighbouring shrinkages; within a quarter of its standard error of the best the smallest
    loss decides, as it does for the strength of the probe (`nn.linear.choose`).
    """
    rng = np.random.default_rng(seed)
    drawn = [assign_folds(y, groups, folds, rng) for _ in range(REPEATS if len(X) < SMALL else 1)]
    found = np.zeros((len(drawn), len(shrinkages), len(X), task.width))
    shares = np.zeros((len(drawn), len(X), task.width))
    for repeat, fold in enumerate(drawn):
        for part in np.unique(fold):
            kept, left = np.flatnonzero(fold != part), np.flatnonzero(fold == part)
            if not len(kept):  # one fold: nothing can be left out
                kept = left
            some = None if weights is None else weights[kept]
            for place, (weight, bias, offset) in enumerate(
                discriminants(X[kept], y[kept], task.width, shrinkages, some)
            ):
                found[repeat, place, left] = X[left] @ weight.T + bias
                shares[repeat, left] = offset
    again = np.tile(y, len(drawn))
    path, temperatures, scaled = [], [], []
    for place, shrinkage in enumerate(shrinkages):
        temperature, loss = calibrate(task, np.concatenate(found[:, place]), np.concatenate(shares), again)
        outputs = temperature * found[:, place] + shares
        path.append((float(shrinkage), float(task.score(np.concatenate(outputs), again)), loss))
        temperatures.append(temperature)
        scaled.append(outputs)
    best = int(np.argmax([score for _, score, _ in path]))
    error = np.sqrt(max(path[best][1] * (1 - path[best][1]), 0.0) / len(X))
    at = [step[0] for step in path].index(choose(path, float(error) / 4))
    return Choice(path[at][0], temperatures[at], path[at][1], scaled[at].mean(axis=0))


def calibrate(task: Task, distances: Array, shares: Array, y: Array) -> tuple[float, float]:
    """The temperature with which ``temperature * distances + shares`` [N,C] has the smallest loss, and that loss."""
    from scipy.optimize import minimize_scalar

    spread = float(np.std(distances - distances.mean(axis=1, keepdims=True))) or 1.0
    target = torch.as_tensor(y)

    def loss(power: float) -> float:
        return float(task.loss(torch.as_tensor(np.exp(power) / spread * distances + shares), target)["loss"])

    found = minimize_scalar(loss, bounds=(-4.0, 4.0), method="bounded", options={"xatol": 0.01})
    return float(np.exp(found.x) / spread), float(found.fun)
