"""Optimal transport: the labelled rows are carried to the target domain at the least total squared distance.

    linear     x' = (x - m_s) A + m_t,  A = C_s^-1/2 (C_s^1/2 C_t C_s^1/2)^1/2 C_s^-1/2
    exact      x_i' = n sum_j G_ij t_j,   G = argmin over couplings of <G, |x - t|²>
    entropic   the same with - e H(G),    classes: rows of one class go to the same target rows (group lasso on G)

Courty, Flamary, Tuia & Rakotomamonjy 2017, Optimal Transport for Domain Adaptation, equations 9, 13 and 16; linear, the
map between normal distributions: Flamary, Lounici & Ferrari 2019, Concentration bounds for linear Monge mapping
estimation, equation 2. Couplings are
POT's, of at most ``most`` rows of each domain; another row moves as the nearest of those does (Ferradans et al. 2014).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from headstart.errors import EnvironmentProblem, MethodError
from headstart.methods.adaptation import Adaptation, Aligned, Domains
from headstart.methods.base import hyper
from headstart.nn.discrepancy import nearest
from headstart.nn.kernels import squared_distances
from headstart.nn.moments import covariance, power
from headstart.tasks.base import Array


@dataclass(frozen=True)
class Ot(Adaptation):
    """The labelled rows are carried to the target domain at the least total distance."""

    name: ClassVar[str] = "ot"
    paper: ClassVar[str] = "Courty et al. 2017, arXiv:1507.00504; Flamary et al. 2019, arXiv:1905.10155"

    plan: str = hyper("linear", "how rows are carried", choices=("linear", "exact", "entropic", "classes"))
    ridge: float = hyper(1e-6, "linear: added to the variances, in units of their mean", low=0.0, high=1e3)
    entropy: float = hyper(0.1, "entropic, classes: weight of the entropy, in median distances", low=1e-4, high=1e3)
    lasso: float = hyper(0.1, "classes: weight of the group lasso, in median distances", low=0.0, high=1e3)
    most: int = hyper(2000, "rows of each domain that a coupling is made of", low=10, high=20_000)

    def align(self, domains: Domains) -> Aligned:
        """The labelled rows among the target rows, which stay where they are."""
        if self.plan == "linear":
            return Aligned(monge(domains.X, domains.target, self.ridge, domains.weights))
        rng = np.random.default_rng(domains.seed)
        rows, goals = (np.sort(rng.permutation(len(each))[: self.most]) for each in (domains.X, domains.target))
        X, target = domains.X[rows].astype(np.float64), domains.target[goals].astype(np.float64)
        mass = domains.counts[rows] / domains.counts[rows].sum()
        labels = None
        if self.plan == "classes":
            if not domains.task.classes:
                raise MethodError("HS-METHOD-003", "ot: the plan classes needs classes.", "Choose another --plan.")
            labels = np.asarray(domains.y)[rows]
        G = coupling(X, target, mass, plan=self.plan, entropy=self.entropy, lasso=self.lasso, labels=labels)
        moved = G @ target / np.maximum(G.sum(axis=1, keepdims=True), 1e-300)
        if len(rows) == len(domains.X):
            return Aligned(moved)
        near = nearest(domains.X, X)
        return Aligned(np.asarray(domains.X + (moved - X)[near]))


def monge(X: Array, target: Array, ridge: float = 1e-6, weights: Array | None = None) -> Array:
    """X [n,D] by the linear map between normal distributions, to the mean and covariance of target [m,D]."""
    mean, inside = covariance(X, ridge, weights)
    goal, outside = covariance(target, ridge)
    root, back = power(inside, 0.5), power(inside, -0.5)
    A = back @ power(root @ outside @ root, 0.5) @ back
    return np.asarray(X @ A.astype(X.dtype) + (goal - mean @ A).astype(X.dtype))


def coupling(
    X: Array, target: Array, mass: Array, *, plan: str, entropy: float = 0.1, lasso: float = 0.1, labels: Any = None
) -> Array:
    """The coupling [n,m] of rows X [n,D] of this mass [n] with target [m,D]. labels: int [n], for ``classes``."""
    ot = pot()
    cost, goal = squared_distances(X, target), np.full(len(target), 1 / len(target))
    if plan == "exact":
        return np.asarray(ot.emd(mass, goal, cost, numItermax=1_000_000))
    cost = cost / max(float(np.median(cost)), 1e-300)
    if plan == "entropic":
        return np.asarray(ot.sinkhorn(mass, goal, cost, entropy, method="sinkhorn_log", numItermax=1000, warn=False))
    return np.asarray(ot.da.sinkhorn_l1l2_gl(mass, labels, goal, cost, entropy, lasso, numItermax=20, verbose=False))


def pot() -> Any:
    """The library POT. Raises EnvironmentProblem HS-ENV-001 with the line that installs it."""
    try:
        import ot
        import ot.da
    except ImportError as error:
        raise EnvironmentProblem(
            "HS-ENV-001", "this plan of ot needs the package POT.", "pip install 'headstart[adapt]'"
        ) from error
    return ot
