"""SimSiam: two views of an image, and the features of each predict those of the other.

    p = predictor(projector(f(x))),  z = projector(f(x)),     loss = -cos(p, sg(z')) / 2 - cos(p', sg(z)) / 2

sg stops the gradient; without it all features would become the same. No negatives, no large batch, no second network.
Chen & He 2020, arXiv:2011.10566, algorithm 1. The layers are as wide as the features, at most their 2048.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from headstart.nn.self_supervised import Objective
from headstart.nn.views import view
from headstart.sources.base import Source
from headstart.types import Batch, Modality, Sample

WIDEST = 2048


def negative_cosine(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Minus the mean cosine of rows [B,D]; no gradient flows to the target."""
    return -nn.functional.cosine_similarity(prediction, target.detach(), dim=1).mean()


def two_views(source: Source, samples: Sequence[Sample]) -> Batch:
    """One view of every image and then another one of every image, [2B,C,H,W]."""
    inputs = source.preprocess(samples).inputs
    return Batch({name: torch.cat([view(pixels), view(pixels)]) for name, pixels in inputs.items()})


def lacks_pixels(source: Source) -> str | None:
    """What a source lacks for views: inputs that are pixels [B,C,H,W], and nothing else."""
    shapes = [value.ndim for value in source.example().inputs.values()]
    return None if shapes == [4] else "pixels as its one input"


class SimSiam(Objective):
    """Each view of an image is predicted from the other."""

    name: ClassVar[str] = "simsiam"
    modality: ClassVar[Modality] = "image"
    paper: ClassVar[str] = "Chen & He 2020, arXiv:2011.10566"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        width, inner = source.card.width, min(source.card.width, WIDEST)
        self.projector = nn.Sequential(
            nn.Linear(width, inner, bias=False), nn.BatchNorm1d(inner), nn.ReLU(),
            nn.Linear(inner, inner, bias=False), nn.BatchNorm1d(inner), nn.ReLU(),
            nn.Linear(inner, inner, bias=False), nn.BatchNorm1d(inner, affine=False),
        )  # fmt: skip
        narrow = max(1, inner // 4)
        self.predictor = nn.Sequential(
            nn.Linear(inner, narrow, bias=False), nn.BatchNorm1d(narrow), nn.ReLU(), nn.Linear(narrow, inner)
        )

    @classmethod
    def lacks(cls, source: Source) -> str | None:
        """Pixels."""
        return lacks_pixels(source)

    def prepare(self, samples: Sequence[Sample]) -> tuple[Batch, torch.Tensor]:
        """Two views of every row; there is no target."""
        return two_views(self.source, samples), torch.zeros(len(samples))

    def loss(self, batch: Batch, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """The symmetric loss, -1 at best."""
        z = self.projector(self(batch))
        p = self.predictor(z)
        (one, other), (first, second) = z.float().chunk(2), p.float().chunk(2)
        return {"loss": (negative_cosine(first, other) + negative_cosine(second, one)) / 2}
