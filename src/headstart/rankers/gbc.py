"""GBC: how little the classes overlap when each is taken for a Gaussian.

Each class becomes one Gaussian in the first 64 principal components; the Bhattacharyya coefficient of two Gaussians is
1 where they coincide and 0 where they do not touch, and the score is minus the sum over all pairs.

    D_B = 1/8 (m_a - m_b)' S^-1 (m_a - m_b) + 1/2 log(|S| / sqrt(|S_a| |S_b|)),   S = (S_a + S_b)/2
    score = - sum over ordered pairs a != b of exp(-D_B)       (at most 0)

The covariances are spherical (one variance a class, counted in every dimension) or diagonal. A class of one row has no
variance of its own: variances are kept at 1e-4 of the mean variance of a component or above. A label is a division of
the rows into two classes; the score of several labels is the mean of theirs.

Pándy, Agostinelli, Uijlings, Ferrari & Mensink 2022, Transferability Estimation using Bhattacharyya Class
Separability, arXiv:2111.12780.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from headstart.nn.spectrum import centred, spectrum
from headstart.rankers.base import Array, Ranker, Target

LEAST_VARIANCE = 1e-4


@dataclass(frozen=True)
class GBC(Ranker):
    """Minus the overlap of the classes' Gaussians. width: principal components that are kept."""

    name: ClassVar[str] = "gbc"
    paper: ClassVar[str] = "Pándy et al. 2022, arXiv:2111.12780"
    reads: ClassVar[frozenset[str]] = frozenset({"classes", "labels"})

    width: int = 64
    covariance: Literal["spherical", "diagonal"] = "spherical"

    def measure(self, features: Array, target: Target) -> float:
        """For features that do not vary every pair overlaps wholly: -C (C - 1)."""
        basis = spectrum(centred(features))
        X = basis.scores(self.width) if len(basis.values) else np.zeros((len(features), 1))
        least = LEAST_VARIANCE * float(X.var(axis=0).mean()) or 1.0
        return float(np.mean([self._overlap(X, classes, least) for classes in target.partitions()]))

    def _overlap(self, X: Array, classes: Array, least: float) -> float:
        groups = [X[classes == label] for label in range(classes.max() + 1)]
        means = np.stack([group.mean(axis=0) for group in groups])  # [C,d]
        variances = np.stack([group.var(axis=0) for group in groups])  # [C,d]
        if self.covariance == "spherical":
            variances = np.broadcast_to(variances.mean(axis=1, keepdims=True), means.shape)
        variances = np.maximum(variances, least)
        logs = np.log(variances).sum(axis=1)
        total = 0.0
        for label in range(len(means) - 1):  # the pairs of one class with those after it
            others = slice(label + 1, None)
            middle = (variances[label] + variances[others]) / 2
            distance = ((means[label] - means[others]) ** 2 / middle).sum(axis=1) / 8
            distance += 0.5 * (np.log(middle).sum(axis=1) - 0.5 * (logs[label] + logs[others]))
            total += float(np.exp(-distance).sum())
        return -2 * total
