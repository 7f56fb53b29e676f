"""H-score, shrinkage version: how much of the features' spread lies between the classes.

Features are good when the mean of a class says much and the spread around it is small in the same directions. The
covariance of D features from few rows is unreliable, so it is drawn towards a multiple of the identity by the amount
that Ledoit and Wolf prove best.

    S = X'X/N [D,D] of centred features X [N,D],   S_a = (1 - a) S + a tr(S)/D I
    B = sum_c n_c/N (mean_c - mean)(mean_c - mean)'
    score = tr(S_a^-1 (1 - a) B)

In the eigenvectors of X this is one sum, whichever of N and D is larger. A label is a division of the rows into two
classes; the score of several labels is the mean of theirs.

Ibrahim, Ponomareva & Mazumder 2022, Newer is not always better: rethinking transferability metrics, arXiv:2110.06893;
the score is due to Bao et al. 2019, the shrinkage to Ledoit & Wolf 2004, doi:10.1016/S0047-259X(03)00096-4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headstart.nn.spectrum import Spectrum, centred, spectrum
from headstart.rankers.base import Array, Ranker, Target


@dataclass(frozen=True)
class HScore(Ranker):
    """Spread between classes relative to the whole spread, well-conditioned by shrinkage."""

    name: ClassVar[str] = "hscore"
    paper: ClassVar[str] = "Ibrahim, Ponomareva & Mazumder 2022, arXiv:2110.06893"
    reads: ClassVar[frozenset[str]] = frozenset({"classes", "labels"})

    def measure(self, features: Array, target: Target) -> float:
        """0 for features that do not vary; at most C - 1 for C classes."""
        rows, width = features.shape
        basis = spectrum(centred(features))
        if not len(basis.values):
            return 0.0
        shrinkage = ledoit_wolf(basis)
        ridge = shrinkage * basis.values.sum() / (rows * width)
        weights = (1 - shrinkage) * basis.values / ((1 - shrinkage) * basis.values / rows + ridge)  # [r]
        scores = []
        for groups in target.partitions():
            shares = np.eye(groups.max() + 1)[groups] / np.sqrt(np.bincount(groups) * rows)  # [N,C]
            scores.append(float(weights @ (basis.project(shares) ** 2).sum(axis=1)))
        return float(np.mean(scores))


def ledoit_wolf(basis: Spectrum) -> float:
    """Ledoit and Wolf's best shrinkage, from the decomposition of the centred features: the fourth powers of the rows'
    lengths stand for the variance of the entries of S, and the eigenvalues for S itself."""
    rows, width = basis.F.shape
    size = float((basis.values**2).sum()) / rows**2  # |S|²
    fourth = float((np.einsum("nd,nd->n", basis.F, basis.F) ** 2).sum()) / rows
    mean = float(basis.values.sum()) / (rows * width)
    distance = size - width * mean**2  # |S - mean I|²
    variance = min((fourth - size) / rows, distance)
    return 0.0 if variance <= 0 else variance / distance
