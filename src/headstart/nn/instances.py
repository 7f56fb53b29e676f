"""Instance discrimination of time series: two views of a series are found among those of all others in the batch.

With z_i, z_i' the projected features at unit length of two stretches of series i, and tau = 0.1:

    loss = - mean over i log( exp(z_i z_i' / tau) / sum over j != i exp(z_i z_j / tau) ),  j over both views of all rows

Chen et al. 2020 (SimCLR, arXiv:2002.05709, NT-Xent); stretches of a series as its views: Feofanov et al. 2025 (Mantis,
arXiv:2502.15637). Every channel of a series is an instance of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from headstart.nn.self_supervised import Objective
from headstart.sources.base import Source
from headstart.sources.series import STAGES, Encoder, view
from headstart.types import Batch, Modality, Sample

TEMPERATURE = 0.1
LEAST = 0.6
"""Part of a series that a view shows at least."""

HIDDEN, PROJECTED = 128, 64


def contrast(one: torch.Tensor, other: torch.Tensor, temperature: float = TEMPERATURE) -> torch.Tensor:
    """The loss of two views [B,D] of the same rows; log(2 B - 1) where all are alike."""
    z = nn.functional.normalize(torch.cat([one, other]).float(), dim=1)
    alike = z @ z.T / temperature
    alike = alike.masked_fill(torch.eye(len(z), dtype=torch.bool, device=z.device), float("-inf"))
    half = torch.arange(len(one), device=z.device)
    return nn.functional.cross_entropy(alike, torch.cat([half + len(one), half]))


class Instances(Objective):
    """A series is told from others by any stretch of it."""

    name: ClassVar[str] = "instances"
    modality: ClassVar[Modality] = "series"
    paper: ClassVar[str] = "Chen et al. 2020, arXiv:2002.05709"

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        width = 2 * STAGES[-1][0]
        self.projector = nn.Sequential(nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, PROJECTED))

    @classmethod
    def lacks(cls, source: Source) -> str | None:
        """The encoder of series."""
        return None if isinstance(source.network, Encoder) else "the stages of the series encoder"

    def prepare(self, samples: Sequence[Sample]) -> tuple[Batch, torch.Tensor]:
        """One view of every series and then another one of every series; there is no target."""
        batch = self.source.preprocess(samples)
        series = batch.inputs["series"]
        views = torch.cat([view(series, LEAST), view(series, LEAST)])
        level = batch.inputs["level"]
        return Batch({"series": views, "level": torch.cat([level, level])}), torch.zeros(len(samples))

    def loss(self, batch: Batch, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """The contrast of the last stage's means and maxima."""
        network: Any = self.backbone
        last = network.seen(batch.inputs["series"].flatten(0, 1)[:, None])[-1]
        one, other = self.projector(torch.cat([last.mean(dim=-1), last.amax(dim=-1)], dim=1)).chunk(2)
        return {"loss": contrast(one, other)}
