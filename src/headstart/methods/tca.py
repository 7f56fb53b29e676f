"""Transfer component analysis: components in which the means of both domains meet and the rows still differ.

    max over W of  tr(W' Z'HZ W)   with   W' (Z'LZ + mu I) W = I

Z: [n+m,p] the kernel of all rows with all of them, H the centring, tr(W' Z'LZ W) the squared distance of the means of
the domains in k components. Pan, Tsang, Kwok & Yang 2011, Domain Adaptation via Transfer Component Analysis, equation
14. Of many rows, the kernel is that with landmarks. ``linear``: Z is the rows themselves and mu counts against their
variances.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headstart.methods.adaptation import Adaptation, Aligned, Domains
from headstart.methods.base import hyper
from headstart.nn.kernels import gaussian, landmarks, median_gamma
from headstart.nn.maps import Map
from headstart.tasks.base import Array


@dataclass(frozen=True)
class Tca(Adaptation):
    """Components in which both domains have one mean and keep their spread."""

    name: ClassVar[str] = "tca"
    paper: ClassVar[str] = "Pan et al. 2011, IEEE TNN 22"

    kernel: str = hyper("gaussian", "of the rows", choices=("gaussian", "linear"))
    components: int = hyper(20, "components kept", low=1, high=4096)
    mu: float = hyper(0.1, "how much small weights matter", low=1e-9, high=1e9)
    width: float = hyper(1.0, "gamma of the kernel, in units of that of the median distance", low=1e-6, high=1e6)
    points: int = hyper(500, "landmarks of the kernel, at most", low=2, high=20_000)

    def align(self, domains: Domains) -> Aligned:
        """Both domains in the components."""
        both = np.concatenate([domains.X, domains.target]).astype(np.float64)
        middle = both.mean(axis=0)
        if self.kernel == "linear":
            scale = float(np.sqrt(((both - middle) ** 2).sum(axis=1).mean())) or 1.0
            W = components((both - middle) / scale, len(domains.X), self.components, self.mu)
            onto = Map(W / scale, -middle @ W / scale)
        else:
            points = landmarks(both, self.points, domains.seed)
            gamma = self.width * median_gamma(both, domains.seed)
            W = components(gaussian(both, points, gamma), len(domains.X), self.components, self.mu)
            onto = Map(W, np.zeros(W.shape[1]), points, gamma)
        return Aligned(onto(domains.X), (onto,), history={"components": W.shape[1]})


def components(Z: Array, labelled: int, count: int, mu: float) -> Array:
    """W [p,k] for Z [n+m,p], of which the first ``labelled`` rows are one domain."""
    from scipy import linalg

    gap = Z[:labelled].mean(axis=0) - Z[labelled:].mean(axis=0)
    centred = Z - Z.mean(axis=0)
    within, spread = np.outer(gap, gap) + mu * np.eye(Z.shape[1]), centred.T @ centred
    count = min(count, Z.shape[1])
    values, vectors = linalg.eigh(spread, within, subset_by_index=(Z.shape[1] - count, Z.shape[1] - 1))
    order = np.argsort(-values, kind="stable")
    return np.asarray(vectors[:, order])
