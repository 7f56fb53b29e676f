"""CKA with the targets: how alike the rows' similarities are in the features and in the targets.

The kernel of the features says which rows the source finds alike, the kernel of the targets which are alike; centred
kernel alignment is their correlation, by the unbiased estimate of `headstart.nn.alignment`.

    score = CKA(FF', YY')           (about 0 for noise, 1 where the kernels are the same)

Y [N,C]: one-hot classes, labels, or values of variance 1.

Kornblith et al. 2019, Similarity of Neural Network Representations Revisited, arXiv:1905.00414.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from headstart.nn.alignment import linear_cka
from headstart.nn.spectrum import centred
from headstart.rankers.base import Array, Ranker, Target


@dataclass(frozen=True)
class CKA(Ranker):
    """Unbiased centred kernel alignment of features and targets, with linear kernels."""

    name: ClassVar[str] = "cka"
    paper: ClassVar[str] = "Kornblith et al. 2019, arXiv:1905.00414"
    reads: ClassVar[frozenset[str]] = frozenset({"classes", "labels", "values"})

    def measure(self, features: Array, target: Target) -> float:
        """0 where features or targets are too few or too alike for the estimate to exist."""
        F, Y = centred(features), centred(target.columns)
        if target.kind == "values":
            Y = Y / Y.std(axis=0)
        return linear_cka(F, Y) or 0.0
