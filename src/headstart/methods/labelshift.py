"""Label shift: the classes have other shares in the target domain, while a row of a class looks the same.

The labelled rows of class c then count w_c = p_t(c) / p_s(c). The shares p_t are found without target labels:

    mlls  the maximum of the likelihood, by expectation maximisation (Saerens et al. 2002; Alexandari et al. 2020)
    bbse  C w = mu,  C_ij = p_s(predicted i, true j),  mu_i = p_t(predicted i)    (Lipton, Wang & Smola 2018, eq. 4)
    mmd   min over w of |sum_c w_c p_s(c) phi_c - phi_t|²,  phi: kernel means      (Zhang et al. 2013, section 3)

Predictions on the labelled rows are out of fold. w is not negative, and the labelled rows count as much in all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headstart.methods.adaptation import Adaptation, Aligned, Domains
from headstart.methods.base import hyper
from headstart.nn.kernels import gaussian, median_gamma
from headstart.nn.linear import best_factor
from headstart.nn.maps import chain
from headstart.nn.priors import shares
from headstart.tasks.base import Array
from headstart.tasks.classification import softmax


@dataclass(frozen=True)
class Labelshift(Adaptation):
    """Labelled rows count as often as their class occurs in the target domain."""

    name: ClassVar[str] = "labelshift"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    paper: ClassVar[str] = "Lipton et al. 2018, arXiv:1802.03916; Alexandari et al. 2020, arXiv:1901.06852"

    estimator: str = hyper("mlls", "of the shares of the classes", choices=("mlls", "bbse", "mmd"))

    def align(self, domains: Domains) -> Aligned:
        """The labelled rows with the weight of their class."""
        classes, y = domains.task.width, np.asarray(domains.y)
        prior = np.bincount(y, weights=domains.counts, minlength=classes) / domains.counts.sum()
        if self.estimator == "mmd":
            found = by_kernel_means(domains.X, y, domains.target, domains.counts, classes)
        else:
            head = domains.head(domains.X)
            inside = head.outside if head.outside is not None else chain(head.maps, domains.X)
            outside = chain(head.maps, domains.target)
            if self.estimator == "mlls":
                found = shares(softmax(temper(inside, y) * outside), np.maximum(prior, 1e-12), smoothing=1.0)[0]
            else:
                found = by_confusion(inside.argmax(axis=1), y, outside.argmax(axis=1), domains.counts, classes)
        weight = np.where(prior > 0, found / np.maximum(prior, 1e-12), 0.0)
        named = {str(label): float(share) for label, share in zip(domains.task.classes, found)}
        return Aligned(domains.X, weights=np.asarray(weight[y]), history={"shares": named})


def by_confusion(predicted: Array, y: Array, target: Array, counts: Array, classes: int) -> Array:
    """BBSE. predicted: int [n] of the labelled rows, out of fold. target: int [m], predicted. -> shares [C]."""
    from scipy.optimize import nnls

    joint = np.zeros((classes, classes))
    np.add.at(joint, (predicted, y), counts / counts.sum())
    mu = np.bincount(target, minlength=classes) / len(target)
    weight = nnls(joint, mu)[0]
    found = weight * joint.sum(axis=0)
    return np.asarray(found / found.sum()) if found.sum() > 0 else joint.sum(axis=0)


def by_kernel_means(X: Array, y: Array, target: Array, counts: Array, classes: int, most: int = 2000) -> Array:
    """The shares [C] whose mixture of kernel means is nearest to that of the target."""
    from scipy.optimize import nnls

    rng = np.random.default_rng(0)
    rows, goals = (rng.permutation(len(each))[:most] for each in (X, target))
    X, y, counts, target = X[rows], y[rows], counts[rows], target[goals]
    gamma = median_gamma(np.concatenate([X, target]))
    indicator = np.zeros((len(X), classes))
    indicator[np.arange(len(X)), y] = counts
    indicator /= np.maximum(indicator.sum(axis=0), 1e-300)
    gram = indicator.T @ gaussian(X, X, gamma) @ indicator + 1e-9 * np.eye(classes)
    aim = indicator.T @ gaussian(X, target, gamma).mean(axis=1)
    root = np.linalg.cholesky(gram)
    # |root' q - root^-1 aim|² + big (sum q - 1)²
    big = 1e3 * float(np.sqrt(np.trace(gram)))
    system = np.vstack([root.T, np.full((1, classes), big)])
    found = nnls(system, np.concatenate([np.linalg.solve(root, aim), [big]]))[0]
    return np.asarray(found / max(found.sum(), 1e-300))


def temper(logits: Array, y: Array) -> float:
    """The factor on logits [n,C] with the least loss on classes y [n]: what makes chances of them."""

    def loss(factor: float) -> float:
        chance = softmax(factor * logits)[np.arange(len(y)), y]
        return float(-np.log(np.maximum(chance, 1e-12)).mean())

    return best_factor(loss)
