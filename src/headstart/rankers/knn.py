"""k-NN: how often the nearest neighbours of a row agree with it.

Each row is predicted from the k other rows with the most similar features (cosine). Nothing is fitted, and structure
that no straight line separates counts as well.

    score = accuracy of the majority of k neighbours (classes), micro F1 of labels that more than half of them have,
            R² of their mean (values); every row is left out of its own neighbours, and with it its group

A tied vote counts for the part of the tied classes that is right. A row of zeros is like no other. More than 5 000
rows are thinned to 5 000, evenly over the classes.

Cover & Hart 1967, Nearest neighbor pattern classification, doi:10.1109/TIT.1967.1053964; as a measure of transfer:
Puigcerver et al. 2021, Scalable Transfer Learning with Expert Models, arXiv:2009.13239.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headstart.rankers.base import Array, Ranker, Target, thinned


@dataclass(frozen=True)
class KNN(Ranker):
    """Leave-one-out score of k nearest neighbours. most: rows that are read."""

    name: ClassVar[str] = "knn"
    paper: ClassVar[str] = "Cover & Hart 1967, doi:10.1109/TIT.1967.1053964"
    reads: ClassVar[frozenset[str]] = frozenset({"classes", "labels", "values"})
    grouped: ClassVar[bool] = True

    k: int = 5
    most: int = 5000
    seed: int = 0

    def measure(self, features: Array, target: Target) -> float:
        """Accuracy, micro F1 or R²."""
        from sklearn.neighbors import NearestNeighbors

        rows = thinned(features, target, self.most, self.seed)
        target = target.rows(rows)
        X = features[rows] / (np.abs(features).max() or 1.0)
        size = np.linalg.norm(X, axis=1, keepdims=True)
        X = X / np.where(size > 0, size, 1.0)
        if target.groups is not None and len(np.unique(target.groups)) > 1:
            return target.agreement(_of_others(X, target, self.k))
        search = NearestNeighbors(n_neighbors=min(self.k, len(X) - 1), algorithm="brute")
        near = search.fit(X).kneighbors(return_distance=False)  # [N,k]
        return target.agreement(target.columns[near].mean(axis=1))


def _of_others(X: Array, target: Target, k: int) -> Array:
    """The mean target [N,C] of the ``k`` rows of other groups that are most like each row of X [N,D] of length one."""
    assert target.groups is not None
    outputs = np.zeros_like(target.columns)
    for group in np.unique(target.groups):
        own = target.groups == group
        rest = target.columns[~own]
        near = np.argsort(-(X[own] @ X[~own].T), axis=1, kind="stable")[:, : min(k, len(rest))]
        outputs[own] = rest[near].mean(axis=1)
    return outputs
