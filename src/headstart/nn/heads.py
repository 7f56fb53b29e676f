"""Heads for features whose domain changes: linear, or linear on the Gaussian kernel with landmarks.

Which of them, how wide the kernel and how strong the regularisation is found once, by cross-validation on the labelled
rows (`choose`). A method that moves or weighs the rows then fits the same kind of head on them (`Recipe.fit`), so that
heads differ by the method alone. Widths are relative to the median distance of the rows that are fitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from headstart.nn.kernels import gaussian, landmarks, median_gamma
from headstart.nn.linear import fit_linear
from headstart.nn.maps import Map, chain
from headstart.tasks.base import Array, Targets, Task

Kind = Literal["auto", "linear", "kernel"]

WIDTHS = (0.3, 1.0, 3.0, 10.0)
"""Gamma of the kernels tried, in units of that of the median distance."""

POINTS = 400
"""Landmarks of a kernel."""


class Head(NamedTuple):
    """maps: from features to outputs [n,C]. outside: out-of-fold outputs of the rows fitted, or None."""

    maps: tuple[Map, ...]
    outside: Array | None


@dataclass(frozen=True)
class Recipe:
    """width: of the kernel, or 0 for a linear head. strength: inverse regularisation, or None to be chosen."""

    width: float = 0.0
    strength: float | None = None

    def fit(
        self, task: Task, X: Array, y: Targets, *, weights: Array | None = None, groups: Array | None = None,
        seed: int = 0, folds: int = 5,
    ) -> Head:  # fmt: skip
        """The head for X [n,D] and encoded y. weights: [n] of the rows in the loss."""
        strengths = None if self.strength is None else [self.strength]
        before = [kernel_map(X, self.width, seed)] if self.width else []
        fit = fit_linear(
            task,
            chain(before, X),
            y,
            groups=groups,
            seed=seed,
            strengths=strengths,
            folds=folds,
            weights=_mean1(weights),
        )
        return Head((*before, Map(fit.weight.T, fit.bias)), fit.cv_outputs)


def choose(
    task: Task, X: Array, y: Targets, kind: Kind = "auto", *, groups: Array | None = None,
    weights: Array | None = None, seed: int = 0,
) -> Recipe:  # fmt: skip
    """The kind of head, its width and strength, that cross-validate best on X [n,D]; of equals the simplest."""
    widths = {"linear": (0.0,), "kernel": WIDTHS, "auto": (0.0, *WIDTHS)}[kind]
    best: tuple[float, Recipe] | None = None
    for width in widths:
        F = kernel_map(X, width, seed)(X) if width else X
        fit = fit_linear(task, F, y, groups=groups, seed=seed, weights=_mean1(weights))
        if best is None or fit.cv_score > best[0]:
            best = fit.cv_score, Recipe(width, fit.strength)
    assert best is not None
    return best[1]


def kernel_map(X: Array, width: float, seed: int = 0) -> Map:
    """The kernel with landmarks of X [n,D], turned so that products of its columns are about the kernel: [n,p].

    Williams & Seeger 2001: K_np K_pp^-1/2.
    """
    points, gamma = landmarks(np.asarray(X, np.float64), POINTS, seed), width * median_gamma(X, seed)
    values, vectors = np.linalg.eigh(gaussian(points, points, gamma))
    kept = values > values[-1] * 1e-7
    turned = vectors[:, kept] / np.sqrt(values[kept])
    return Map(turned, np.zeros(turned.shape[1]), points, gamma)


def _mean1(weights: Array | None) -> Array | None:
    return None if weights is None else np.asarray(weights / weights.mean())
