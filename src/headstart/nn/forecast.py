"""Forecasting as a way to learn from series without labels: what follows any step is known.

Of every series a step is drawn; what comes before it is the history, what follows the target, by pinball loss in mean
absolute changes of the history. So a pool of related series makes a *global* forecaster (Salinas et al. 2020,
arXiv:1704.04110; Montero-Manso & Hyndman 2021, arXiv:2008.00444), which ``fit --horizon`` takes as its source.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from headstart.datasets.windows import CONTEXT, ranged, scale
from headstart.nn.forecaster import QUANTILES, pinball
from headstart.nn.self_supervised import Objective
from headstart.sources.base import Source
from headstart.sources.forecast_network import ForecastNetwork
from headstart.types import Batch, Modality, Sample

LEAST = 6
"""Values before the step that is drawn, at least."""

HEAVIEST = 10.0
"""Range over mean change, at most, in the loss."""

FAR = 4.0
"""Ranges beyond the history at which a target is cut off."""


class Forecast(Objective):
    """What follows a step is told from what was before it."""

    name: ClassVar[str] = "forecast"
    modality: ClassVar[Modality] = "series"
    paper: ClassVar[str] = "Salinas et al. 2020, arXiv:1704.04110"
    usual: ClassVar[str | None] = "forecaster"
    collapses: ClassVar[bool] = False

    @classmethod
    def lacks(cls, source: Source) -> str | None:
        """A network that forecasts."""
        return None if isinstance(source, ForecastNetwork) else "a head that forecasts"

    def prepare(self, samples: Sequence[Sample]) -> tuple[Batch, torch.Tensor]:
        """Histories up to a drawn step, and what follows [B,h+1]: values, NaN behind the end, and the weight."""
        horizon, histories = self.source.card.width // len(QUANTILES), []
        target = torch.full((len(samples), horizon + 1), float("nan"))
        for row, sample in enumerate(samples):
            series = np.asarray(sample, np.float64)[0]
            first = min(LEAST, len(series) - 1)
            origin = first + int(torch.rand(()) * (len(series) - first))
            history = series[max(0, origin - CONTEXT) : origin]
            low, size = ranged(history)
            ahead = np.clip((series[origin : origin + horizon] - low) / size, -FAR, 1 + FAR)
            target[row, : len(ahead)] = torch.from_numpy(ahead.astype(np.float32))
            target[row, horizon] = min(size / scale(history, 1), HEAVIEST)
            histories.append(history[None])
        return self.source.preprocess(histories), target

    def loss(self, batch: Batch, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """Twice the mean pinball loss."""
        horizon = target.shape[1] - 1
        found = self.source.forward(batch).pooled.reshape(len(batch), -1, len(QUANTILES))[:, :horizon]
        truth = target[:, :horizon, None]
        there = torch.isfinite(truth).squeeze(2).float()
        rows = (pinball(found, truth).mean(dim=2) * there).sum(dim=1) / there.sum(dim=1).clamp(min=1)
        return {"loss": (rows * target[:, horizon]).mean()}
