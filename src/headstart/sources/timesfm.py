"""TimesFM 2.0 and 2.5 as the transformers library has them: ``hf:google/timesfm-2.0-500m-pytorch``,
``hf:google/timesfm-2.5-200m-transformers``, or a folder in their format.

A decoder over patches of a series (Das et al. 2024, arXiv:2310.10688). The forecasts are those of the library's own
forward pass, which also trains; a patch that would be padding alone is left out, which changes nothing. Beyond its own
horizon it goes on from its line: the mean of 2.0, the median of 2.5. TimesFM 2.0 is told how often values come: 0 up to
daily, 1 weekly and monthly, 2 beyond; that is read off the dates of the rows. 2.5 never forecasts below zero what
never was below zero, where its configuration says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import nn

from headstart.datasets.windows import CONTEXT, ranged, stamps_ahead
from headstart.nn.forecaster import QUANTILES
from headstart.sources import hf
from headstart.sources.forecast_network import ForecastNetwork, card_of, patched, places, rolled
from headstart.types import Batch, Features, Json, Sample

if TYPE_CHECKING:
    from headstart.datasets.base import Dataset

WEEK, QUARTER = 6, 80
"""Days between values from which they count as weekly or monthly, and as less often."""


class TimesFM(ForecastNetwork):
    """A TimesFM with its head. sizes: ``config`` of the model, and ``frequency``, 0 to 2."""

    provider = "timesfm"

    @staticmethod
    def built(sizes: Json, drawn: bool = True) -> nn.Module:
        """See `ForecastNetwork.built`."""
        settings: Json = {"config": sizes["config"], "part": "", "trust": None}
        return hf.build(settings, drawn, "AutoModelForTimeSeriesPrediction")

    @property
    def context(self) -> int:
        """Steps of a history that it sees: whole patches, at most `windows.CONTEXT`."""
        patch = int(self.sizes["config"]["patch_length"])
        return min(int(self.sizes["config"]["context_length"]), CONTEXT) // patch * patch

    def width(self, longest: int) -> int:
        """Whole patches."""
        return patched(longest, int(self.sizes["config"]["patch_length"]), self.context)

    def settled(self, dataset: Dataset, align: Mapping[str, str] | None = None) -> Self:
        """With the horizon of the rows, and how often their values come where dates say so."""
        other = super().settled(dataset, align)
        if other is not self and (days := _days(stamps_ahead(dataset.select([0]))[1][0])):
            other.sizes = {**self.sizes, "frequency": int(days >= WEEK) + int(days >= QUARTER)}
        return other

    def preprocess(self, samples: Sequence[Sample], train: bool = False) -> Batch:
        """See `ForecastNetwork.preprocess`; ``least`` [B] is what no forecast goes below, in units of the range."""
        batch = super().preprocess(samples, train)
        least = torch.full((len(samples),), float("-inf"))
        for row, sample in enumerate(samples if self.sizes["config"].get("infer_is_positive") else ()):
            history = np.asarray(sample, np.float64).reshape(-1)
            if history[-self.context :].min() >= 0:
                low, size = ranged(history)
                least[row] = -low / size
        return Batch({**batch.inputs, "least": least})

    def forward(self, batch: Batch) -> Features:
        """pooled [B,H Q]: quantiles step by step."""
        found = super().forward(batch).pooled
        return Features(torch.maximum(found, batch.inputs["least"].to(found.dtype).unsqueeze(1)))

    def quantiles(self, values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """[B,H,Q]."""
        return rolled(self._ahead, values, valid, self.horizon, self.context)

    def _ahead(self, values: torch.Tensor, valid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Quantiles [B,h,Q] of the model's own horizon, and its line [B,h]."""
        config: Json = self.sizes["config"]
        first = config["model_type"] == "timesfm"
        given: Json = {"freq": [self.sizes["frequency"]] * len(values)} if first else {"truncate_negative": False}
        past = [row[there] for row, there in zip(values, valid)]
        network: Any = self.network
        found = network(past_values=past, forecast_context_len=self.width(values.shape[1]), **given).full_predictions
        quantiles = found[:, :, [1 + place for place in places(config["quantiles"], self.card.name)]]
        line = found[:, :, 0] if first else quantiles[:, :, QUANTILES.index(0.5)]
        return quantiles, line.detach()  # as if seen: at a flat stretch its deviation has no gradient


def opened(place: str, config: Json, known: Json) -> TimesFM:
    """The source in a repository or folder. config: of the model. known: fields of the card.

    Raises SourceError HS-SOURCE-004 (weights do not fit), HS-SOURCE-007 (other quantiles).
    """
    import transformers

    places(config["quantiles"], place)
    model, info = transformers.AutoModelForTimeSeriesPrediction.from_pretrained(
        place, dtype=torch.float32, output_loading_info=True
    )
    hf.check_loaded(place, info)
    return TimesFM(model, card_of(place, model, known), {"config": config, "frequency": 0}, config["horizon_length"])


def _days(stamps: Sequence[str]) -> float:
    """Days between the steps, 0 where they are no dates or there is only one."""
    try:
        first, second = (datetime.fromisoformat(stamp) for stamp in stamps[:2])
    except ValueError:
        return 0.0
    return (second - first).total_seconds() / 86_400
