"""SimCSE: a text passes twice through the network, and dropout makes the two features differ.

Each has to be nearer to the other than to those of the other texts of the batch (InfoNCE), with cosine similarity:

    loss = mean over i of  -log( exp(cos(z_i, z'_i) / t) / sum over j of exp(cos(z_i, z'_j) / t) ),     t = 0.05

Gao et al. 2021, arXiv:2104.08821, equation 4. Without their extra layer above the pooled features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from headstart.nn.self_supervised import Objective
from headstart.sources.base import Source
from headstart.types import Batch, Modality, Sample

TEMPERATURE = 0.05


def info_nce(one: torch.Tensor, other: torch.Tensor, temperature: float = TEMPERATURE) -> torch.Tensor:
    """InfoNCE of features [B,D] and [B,D], row by row the two of a pair."""
    alike = nn.functional.normalize(one, dim=1) @ nn.functional.normalize(other, dim=1).T / temperature  # [B,B]
    return nn.functional.cross_entropy(alike, torch.arange(len(alike), device=alike.device))


def twice(batch: Batch) -> Batch:
    """The batch followed by itself, [2B, ...]."""
    return Batch({name: torch.cat([value, value]) for name, value in batch.inputs.items()})


class SimCSE(Objective):
    """A text is told from the others of its batch, through another dropout."""

    name: ClassVar[str] = "simcse"
    modality: ClassVar[Modality] = "text"
    paper: ClassVar[str] = "Gao et al. 2021, arXiv:2104.08821"

    @classmethod
    def lacks(cls, source: Source) -> str | None:
        """Dropout inside the network."""
        drops = any(isinstance(m, nn.Dropout) and m.p > 0 for m in source.network.modules())
        return None if drops else "dropout"

    def prepare(self, samples: Sequence[Sample]) -> tuple[Batch, torch.Tensor]:
        """Every row twice; there is no target."""
        return twice(self.source.preprocess(samples, train=True)), torch.zeros(len(samples))

    def loss(self, batch: Batch, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """`info_nce` of the two passes."""
        one, other = self(batch).float().chunk(2)
        return {"loss": info_nce(one, other)}
