"""LEEP: how well the source's own classifier, as it is, explains the target's classes.

The source gives each target row probabilities over its own Z classes. From them comes the empirical table of target
class y given source class z; the score is the mean log-likelihood of the classifier "draw z, then y from the table".

    theta [N,Z],  P(y,z) = 1/N sum_{i: y_i = y} theta_iz,  P(y|z) = P(y,z) / sum_y P(y,z)
    score = 1/N sum_i log sum_z P(y_i|z) theta_iz        (at most 0)

A label is a division of the rows into two classes; the score of several labels is the mean of theirs.

Nguyen, Hassner, Seeger & Archambeau 2020, LEEP: A New Measure to Evaluate Transferability, arXiv:2002.12462.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from headstart.rankers.base import Array, Ranker, Target

SOFTMAX = "Give the softmax of the source's own classifier."


@dataclass(frozen=True)
class LEEP(Ranker):
    """Log expected empirical prediction from the source's own class probabilities."""

    name: ClassVar[str] = "leep"
    paper: ClassVar[str] = "Nguyen et al. 2020, arXiv:2002.12462"
    reads: ClassVar[frozenset[str]] = frozenset({"classes", "labels"})
    needs: ClassVar[Literal["features", "probabilities"]] = "probabilities"

    def measure(self, features: Array, target: Target) -> float:
        """features: theta [N,Z]. Raises MethodError HS-METHOD-003 unless its rows are probabilities."""
        sums = features.sum(axis=1)
        if features.min() < 0 or np.abs(sums - 1).max() > 1e-3:
            row = int(np.maximum(np.abs(sums - 1), -features.min(axis=1)).argmax())
            raise self.cannot(f"row {row} is no distribution over source classes (its sum is {sums[row]:.6g})", SOFTMAX)
        return mean_leep(features, target)


def mean_leep(theta: Array, target: Target) -> float:
    """LEEP of theta [N,Z], mean over the target's partitions; N-LEEP shares it."""
    return float(np.mean([_leep(theta, classes) for classes in target.partitions()]))


def _leep(theta: Array, classes: Array) -> float:
    joint = np.eye(classes.max() + 1)[classes].T @ theta  # [C,Z]
    mass = joint.sum(axis=0)
    table = np.divide(joint, mass, out=np.zeros_like(joint), where=mass > 0)
    return float(np.log(np.einsum("nz,nz->n", table[classes], theta)).mean())
