"""Subspace alignment: the principal axes of the labelled rows are turned onto those of the target domain.

    X_s' = X_s P_s P_s' P_t        X_t' = X_t P_t        P: [D,k] leading principal axes of each domain

Fernando, Habrard, Sebban & Tuytelaars 2013, Unsupervised Visual Domain Adaptation Using Subspace Alignment, equation 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headstart.methods.adaptation import Adaptation, Aligned, Domains
from headstart.methods.base import hyper
from headstart.nn.maps import Map
from headstart.nn.moments import covariance
from headstart.tasks.base import Array


@dataclass(frozen=True)
class Subspace(Adaptation):
    """The principal axes of the labelled rows are turned onto those of the target domain."""

    name: ClassVar[str] = "subspace"
    paper: ClassVar[str] = "Fernando et al. 2013, ICCV"

    components: int = hyper(0, "principal axes kept; 0 = those of 99 % of the variance, at most 64", low=0, high=4096)

    def align(self, domains: Domains) -> Aligned:
        """Both domains in the target's axes."""
        mean, inside = covariance(domains.X, weights=domains.weights)
        goal, outside = covariance(domains.target)
        count = self.components or enough(inside, 64)
        first, second = axes(inside, count), axes(outside, count)
        X = (domains.X - mean) @ (first @ (first.T @ second))
        return Aligned(X, (Map(second, -goal @ second),), history={"components": second.shape[1]})


def axes(matrix: Array, count: int) -> Array:
    """The ``count`` leading eigenvectors of a covariance: [D,k]."""
    from scipy import linalg

    D = len(matrix)
    count = min(count, D)
    return np.asarray(linalg.eigh(matrix, subset_by_index=(D - count, D - 1))[1][:, ::-1])


def enough(matrix: Array, most: int) -> int:
    """How many axes hold 99 % of the variance, at most ``most``."""
    values = np.maximum(np.linalg.eigvalsh(matrix)[::-1], 0)
    share = np.cumsum(values) / max(float(values.sum()), 1e-300)
    return min(most, int(np.searchsorted(share, 0.99)) + 1)
