"""Domain weights: of several labelled domains, those that are like the target domain count more.

All rows of domain k have one weight, so that few numbers are to be found:

    softmax  rows count exp(-MMD²(k, t) / temperature)
    mixture  the shares b_k >= 0, of sum 1, whose mixture of kernel means is nearest to that of the target,
             min |sum_k b_k mean phi(x of k) - mean phi(t)|²; rows count b_k over the share of k as it is

Kernel mean matching (Huang et al. 2007) with one weight a domain; weights of domains by their kernel distance:
Sun, Chattopadhyay, Panchanathan & Ye 2011, A Two-Stage Weighting Framework for Multi-Source Domain Adaptation, NeurIPS
24, section 3; why a mixture: Mansour, Mohri & Rostamizadeh 2009, NeurIPS 21. Where domains are alike the softmax takes
all alike, while chance decides what the mixture takes; that one is for a target between domains. At least ``least``
of the weight of the nearest one is kept by all. Of one domain the weights are 1.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from headstart.datasets.base import Dataset
from headstart.errors import MethodError
from headstart.methods.adaptation import Adaptation, Aligned, Domains
from headstart.methods.base import Need, hyper
from headstart.methods.labelshift import by_kernel_means
from headstart.nn.discrepancy import MOST, mmd
from headstart.nn.kernels import landmarks, median_gamma
from headstart.tasks.base import Array, Task

if TYPE_CHECKING:
    from headstart.sources.base import Source


@dataclass(frozen=True)
class Domainweights(Adaptation):
    """Of several labelled domains, those that are like the target domain count more."""

    name: ClassVar[str] = "domainweights"
    paper: ClassVar[str] = "Sun et al. 2011; Mansour et al. 2009"

    estimator: str = hyper("softmax", "of the weights", choices=("softmax", "mixture"))
    temperature: float = hyper(0.1, "of the softmax, in units of MMD²", low=1e-6, high=1e3)
    least: float = hyper(0.05, "least weight of a domain, in units of that of one that fits", low=0.0, high=1.0)

    def admit(self, task: Task, source: Source | None, dataset: Dataset, given: Collection[Need] = ()) -> None:
        """As `Method.admit`; there has to be a column that says of which domain a row is."""
        super().admit(task, source, dataset, given)
        if not dataset.with_role("domain"):
            raise MethodError(
                "HS-METHOD-003", "domainweights needs labelled rows of several domains.",
                "Name the column that says of which domain a row is with --domain.",
            )  # fmt: skip

    def align(self, domains: Domains) -> Aligned:
        """The labelled rows with the weight of their domain."""
        number = np.zeros(len(domains.X), int) if domains.domain is None else domains.domain
        known, number = np.unique(number, return_inverse=True)
        found = np.ones(1)
        if len(known) > 1:
            estimate = by_mixture if self.estimator == "mixture" else self.by_distance
            found = estimate(domains.X, number, domains.target, domains.counts)
            found = np.maximum(found, self.least * found.max())
        w = found[number]
        mean = float(domains.counts @ w / domains.counts.sum())
        return Aligned(domains.X, weights=w / mean, history={"weights of domains": (found / mean).tolist()})

    def by_distance(self, X: Array, number: Array, target: Array, counts: Array) -> Array:
        """Weights [K] from the distance of each domain alone; arguments as in `by_mixture`."""
        gamma, goal = median_gamma(np.concatenate([X, target])), landmarks(target, MOST, 1)
        parts = [np.flatnonzero(number == each) for each in range(number.max() + 1)]
        chosen = [landmarks(rows[:, None], MOST)[:, 0] for rows in parts]
        far = np.array([mmd(X[rows], goal, gamma, counts[rows]) for rows in chosen])
        return np.asarray(np.exp(-(far - far.min()) / self.temperature))


def by_mixture(X: Array, number: Array, target: Array, counts: Array) -> Array:
    """Weights [K] of the rows of each domain. X [n,D], number: int [n], its domain. target [m,D]. counts: [n]."""
    size = np.bincount(number, weights=counts) / counts.sum()
    return np.asarray(by_kernel_means(X, number, target, counts, len(size)) / np.maximum(size, 1e-12))
