"""Iterative pseudo-labelling: the head labels the target rows that it is surest of, and learns from them as well.

Round r of R takes the surest r/R of the target rows, of every predicted class the same share, so that an easy class
does not crowd out the others; labelled rows count less and less, down to ``kept`` of their weight. Zou, Yu, Vijaya
Kumar & Wang 2018, Unsupervised Domain Adaptation for Semantic Segmentation via Class-Balanced Self-Training, section
3.2, on features. Where the first head is wrong, this makes it surer of being wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headstart.methods.adaptation import Adaptation, Aligned, Domains
from headstart.methods.base import hyper
from headstart.nn.maps import chain
from headstart.tasks.classification import softmax


@dataclass(frozen=True)
class Pseudolabel(Adaptation):
    """The head labels the target rows that it is surest of, and learns from them, round by round."""

    name: ClassVar[str] = "pseudolabel"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    paper: ClassVar[str] = "Zou et al. 2018, arXiv:1810.07911"

    rounds: int = hyper(5, "rounds until all target rows take part", low=1, high=1000)
    kept: float = hyper(0.5, "what a labelled row counts in the end", low=0.0, high=1.0)

    def align(self, domains: Domains) -> Aligned:
        """The labelled rows and the target rows with their pseudo-labels."""
        maps, y = domains.head(domains.X).maps, np.asarray(domains.y)
        aligned = Aligned(domains.X)
        for turn in range(1, self.rounds + 1):
            chances = softmax(chain(maps, domains.target))
            label, sure = chances.argmax(axis=1), chances.max(axis=1)
            taken = []
            for each in np.unique(label):
                rows = np.flatnonzero(label == each)
                order = rows[np.argsort(-sure[rows], kind="stable")]
                taken.append(order[: int(np.ceil(len(rows) * turn / self.rounds))])
            chosen = np.sort(np.concatenate(taken))
            fade = 1 - (1 - self.kept) * turn / self.rounds
            weights = np.concatenate([domains.counts * fade, np.full(len(chosen), domains.counts.mean())])
            if fade == 0:
                weights[: len(y)] = 1e-6  # a head wants all classes
            X = np.concatenate([domains.X, domains.target[chosen]])
            aligned = Aligned(X, y=np.concatenate([y, label[chosen]]), weights=weights)
            maps = domains.recipe.fit(domains.task, X, aligned.y, weights=weights, seed=domains.seed).maps
        return aligned
