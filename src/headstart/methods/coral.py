"""CORAL: the labelled rows get the mean and the covariance of the target domain.

    x' = (x - m_s) C_s^-1/2 C_t^1/2 + m_t         C = covariance + ridge I

Sun, Feng & Saenko 2016, Return of Frustratingly Easy Domain Adaptation, algorithm 1, with the means moved as well;
there the features are centred beforehand, which ``centre`` off leaves to the user.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headstart.methods.adaptation import Adaptation, Aligned, Domains
from headstart.methods.base import hyper
from headstart.nn.moments import covariance, power
from headstart.tasks.base import Array


@dataclass(frozen=True)
class Coral(Adaptation):
    """Labelled rows get the mean and covariance of the target domain."""

    name: ClassVar[str] = "coral"
    paper: ClassVar[str] = "Sun, Feng & Saenko 2016, arXiv:1511.05547"

    ridge: float = hyper(1e-3, "added to the variances, in units of their mean", low=0.0, high=1e3)
    centre: bool = hyper(True, "whether the mean is moved as well")

    def align(self, domains: Domains) -> Aligned:
        """The labelled rows in the covariance of the target domain; target rows stay where they are."""
        return Aligned(coral(domains.X, domains.target, self.ridge, centre=self.centre, weights=domains.weights))


def coral(X: Array, target: Array, ridge: float = 1e-3, *, centre: bool = True, weights: Array | None = None) -> Array:
    """X [n,D] with the covariance of target [m,D]: [n,D]."""
    mean, inside = covariance(X, ridge, weights)
    goal, outside = covariance(target, ridge)
    turn = power(inside, -0.5) @ power(outside, 0.5)
    offset = goal - mean @ turn if centre else np.zeros(X.shape[1])
    return np.asarray(X @ turn.astype(X.dtype) + offset.astype(X.dtype))
