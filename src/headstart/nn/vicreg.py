"""VICReg: two views of an image get alike features (invariance), that vary from row to row (variance) and whose numbers
say different things (covariance).

With z, z' [B,D] the expanded features of the two views, weights 25, 25 and 1:

    invariance = mean (z - z')^2            variance = mean over d of max(0, 1 - sqrt(Var(z_d) + 1e-4)), of both / 2
    covariance = sum over i != j of Cov(z)_ij^2 / D, of both

Bardes, Ponce & LeCun 2021, arXiv:2105.04906, with the scales of the authors' code. The variance term itself keeps the
features apart, so small batches do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from headstart.nn.self_supervised import Objective
from headstart.nn.simsiam import lacks_pixels, two_views
from headstart.sources.base import Source
from headstart.types import Batch, Modality, Sample

WEIGHTS = {"invariance": 25.0, "variance": 25.0, "covariance": 1.0}
WIDEST = 2048


def terms(one: torch.Tensor, other: torch.Tensor) -> dict[str, torch.Tensor]:
    """The three terms of two views [B,D] without their weights; of a single row only the invariance is not 0."""
    found = {"invariance": nn.functional.mse_loss(one, other)}
    found["variance"] = (_variance(one) + _variance(other)) / 2
    found["covariance"] = _covariance(one) + _covariance(other)
    return found


def _variance(z: torch.Tensor) -> torch.Tensor:
    if len(z) < 2:
        return z.new_zeros(())
    return torch.relu(1 - (z.var(dim=0) + 1e-4).sqrt()).mean()


def _covariance(z: torch.Tensor) -> torch.Tensor:
    if len(z) < 2:
        return z.new_zeros(())
    centred = z - z.mean(dim=0)
    square = (centred.T @ centred / (len(z) - 1)).square()
    return (square.sum() - square.diagonal().sum()) / z.shape[1]


class VICReg(Objective):
    """Views of an image get alike features, which are kept varied and uncorrelated."""

    name: ClassVar[str] = "vicreg"
    modality: ClassVar[Modality] = "image"
    paper: ClassVar[str] = "Bardes et al. 2021, arXiv:2105.04906"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        width, inner = source.card.width, min(2 * source.card.width, WIDEST)
        self.expander = nn.Sequential(
            nn.Linear(width, inner), nn.BatchNorm1d(inner), nn.ReLU(),
            nn.Linear(inner, inner), nn.BatchNorm1d(inner), nn.ReLU(),
            nn.Linear(inner, inner),
        )  # fmt: skip

    @classmethod
    def lacks(cls, source: Source) -> str | None:
        """Pixels."""
        return lacks_pixels(source)

    def prepare(self, samples: Sequence[Sample]) -> tuple[Batch, torch.Tensor]:
        """Two views of every row; there is no target."""
        return two_views(self.source, samples), torch.zeros(len(samples))

    def loss(self, batch: Batch, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """The weighted sum, and its terms."""
        one, other = self.expander(self(batch)).float().chunk(2)
        parts = terms(one, other)
        return {"loss": sum((WEIGHTS[name] * value for name, value in parts.items()), one.new_zeros(())), **parts}
