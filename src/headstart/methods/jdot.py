"""Joint distribution optimal transport: features and labels are carried together; the head learns from what arrives.

    min over f, G of  sum_ij G_ij (a |x_i - t_j|² + L(y_i, f(t_j)))

In turns: given f, the coupling G by exact transport; given G, target row j has label y_i to the share m G_ij, and f is
fitted on that. Courty, Flamary, Habrard & Rakotomamonjy 2017, Joint Distribution Optimal Transportation for Domain
Adaptation, NeurIPS 30, equation 7 and algorithm 1. L: half the squared distance of one-hot labels and chances, or of
standardised values; |x - t|² in units of its largest value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headstart.methods.adaptation import Adaptation, Aligned, Domains
from headstart.methods.base import hyper
from headstart.methods.ot import pot
from headstart.nn.kernels import squared_distances
from headstart.nn.maps import chain
from headstart.tasks.base import Array
from headstart.tasks.classification import softmax

LEAST = 0.01  # of a target row's mass, under which a label is left out


@dataclass(frozen=True)
class Jdot(Adaptation):
    """Features and labels are carried to the target domain together."""

    name: ClassVar[str] = "jdot"
    paper: ClassVar[str] = "Courty et al. 2017, arXiv:1705.08848"

    alpha: float = hyper(1.0, "weight of the distance of features against that of labels", low=1e-6, high=1e6)
    rounds: int = hyper(10, "turns of coupling and fitting", low=1, high=1000)
    most: int = hyper(2000, "rows of each domain that a coupling is made of", low=10, high=20_000)

    def align(self, domains: Domains) -> Aligned:
        """Target rows with the labels that were carried to them."""
        rng, classes = np.random.default_rng(domains.seed), bool(domains.task.classes)
        rows, goals = (np.sort(rng.permutation(len(each))[: self.most]) for each in (domains.X, domains.target))
        X, target = domains.X[rows], domains.target[goals]
        y = np.asarray(domains.y)[rows]
        labels = np.eye(domains.task.width)[y] if classes else y.reshape(len(y), -1)
        distance = squared_distances(X, target)
        distance /= max(float(distance.max()), 1e-300)
        mass = domains.counts[rows] / domains.counts[rows].sum()
        goal = np.full(len(target), 1 / len(target))
        maps, carried = domains.head(domains.X).maps, labels
        for turn in range(self.rounds):
            said = chain(maps, target)
            loss = squared_distances(labels, softmax(said) if classes else said) / 2
            G = np.asarray(pot().emd(mass, goal, self.alpha * distance + loss, numItermax=1_000_000))
            new = (G.T @ labels) * len(target)
            settled, carried = turn > 0 and bool(np.abs(new - carried).max() < 1e-6), new
            aligned = taught(target, carried, classes)
            if settled or turn == self.rounds - 1:
                break
            maps = domains.recipe.fit(
                domains.task, aligned.X, aligned.y, weights=aligned.weights, seed=domains.seed
            ).maps
        return Aligned(aligned.X, y=aligned.y, weights=aligned.weights, history={"turns": turn + 1})


def taught(target: Array, labels: Array, classes: bool) -> Aligned:
    """Rows for a head from target [m,D] with labels [m,C]; a row stands once for each class that it has part of."""
    if not classes:
        return Aligned(target, y=labels, weights=np.ones(len(target)))
    row, label = np.nonzero(labels > LEAST)
    return Aligned(target[row], y=label, weights=labels[row, label])
