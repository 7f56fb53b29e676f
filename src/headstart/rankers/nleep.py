"""N-LEEP: LEEP for a source without a classifier; clusters of its features stand for its classes.

A Gaussian mixture is fitted to the features alone; the probability of each component for a row takes the place of the
source's class probabilities. Good features gather rows of one target class in the same clusters.

    X [N,d]: principal components of the features that hold 80 % of their variance, of mean variance 1
    theta [N,V]: posteriors of a mixture of V = 5 C Gaussians on X, then LEEP(theta, y)

Here the covariances are diagonal by default (the principal components are uncorrelated as a whole): full ones have
d²/2 numbers for each of the 5 C components, more than a small dataset has rows. V is at most N/4. More than 4 000 rows
are thinned to 4 000, evenly over the classes. A label is a division of the rows into two classes; V is then 5 a label,
and the score the mean over labels.

Li, Jia, Sang, Zhu, Green, Wang & Gong 2021, Ranking Neural Checkpoints, arXiv:2011.11200.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from headstart.nn.spectrum import centred, spectrum
from headstart.rankers.base import Array, Ranker, Target, thinned
from headstart.rankers.leep import mean_leep


@dataclass(frozen=True)
class NLEEP(Ranker):
    """LEEP with clusters of the features for source classes.

    energy: share of the variance that is kept. components: Gaussians for each class. most: rows that are read.
    """

    name: ClassVar[str] = "nleep"
    paper: ClassVar[str] = "Li et al. 2021, arXiv:2011.11200"
    reads: ClassVar[frozenset[str]] = frozenset({"classes", "labels"})

    energy: float = 0.8
    components: int = 5
    covariance: Literal["diag", "full", "spherical"] = "diag"
    most: int = 4000
    seed: int = 0

    def measure(self, features: Array, target: Target) -> float:
        """Minus the entropy of the target for features that do not vary."""
        rows = thinned(features, target, self.most, self.seed)
        target = target.rows(rows)
        return mean_leep(self.posteriors(features[rows], target.columns.shape[1]), target)

    def posteriors(self, features: Array, columns: int) -> Array:
        """theta [N,V] of features [N,D] for C = ``columns`` classes or labels."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        basis = spectrum(centred(features))
        if not len(basis.values):
            return np.ones((len(features), 1))
        shares = np.cumsum(basis.values) / basis.values.sum()
        X = basis.scores(int(np.searchsorted(shares, self.energy)) + 1)
        mixture = GaussianMixture(
            max(1, min(self.components * columns, len(X) // 4)),
            covariance_type=self.covariance, reg_covar=1e-3, random_state=self.seed % 2**32,
        )  # fmt: skip
        with warnings.catch_warnings():  # fewer distinct rows than components, or 100 steps: the posteriors stand
            warnings.simplefilter("ignore", ConvergenceWarning)
            return np.asarray(mixture.fit(X / X.std()).predict_proba(X / X.std()))
