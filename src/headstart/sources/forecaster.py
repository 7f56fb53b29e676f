"""forecaster: a small convolutional network that forecasts series, to be pretrained on series related to the user's
own.

Fresh, it has learned nothing; ``headstart pretrain POOL --objective forecast`` trains it on a pool of series and
saves it as a source. ``fracast`` on the shelf is the same network, larger and pretrained on many public series. Its
features are forecasts: the quantiles of the next H steps, in units of the range of the history (0 the smallest value,
1 the largest), where H is the horizon of the rows. Beyond its own horizon it goes on from its medians.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import nn

from headstart.datasets.windows import ranged, stamps_ahead
from headstart.errors import DataError
from headstart.nn.forecaster import QUANTILES, Forecaster
from headstart.sources import weights
from headstart.sources.base import Card, Source
from headstart.types import Batch, Features, Json, Sample

if TYPE_CHECKING:
    from headstart.datasets.base import Dataset

FRESH: Json = {"context": 128, "horizon": 24, "width": 64, "stages": 7, "seed": 64}
NARROW = 1e-5
"""Range of the context, at least."""


class ForecasterSource(Source):
    """A network that forecasts. sizes: of the network (`Forecaster`). horizon: steps that the features hold."""

    provider = "forecaster"
    exact: ClassVar[bool] = True

    def __init__(
        self, network: nn.Module | None = None, card: Card | None = None, sizes: Json | None = None, horizon: int = 0
    ) -> None:
        self.sizes = dict(sizes or FRESH)
        network = network if network is not None else _first()
        found = weights.digest(weights.state(network))
        self.horizon = horizon or int(self.sizes["horizon"])
        card = card or Card(
            name="forecaster", modality="series", architecture="one convolutional block at every scale", width=0,
            parameters=sum(p.numel() for p in network.parameters()), origin="none", licence="none needed", digest=found,
            description="forecasts of series; no knowledge before headstart pretrain",
        )  # fmt: skip
        super().__init__(replace(card, width=self.horizon * len(QUANTILES)), network)
        self.pretrained = found != _fresh_digest()

    def settled(self, dataset: Dataset, align: Mapping[str, str] | None = None) -> ForecasterSource:
        """With the horizon of the rows, where they are windows."""
        self.refuse_names(align)
        if not dataset.windows or not len(dataset):
            return self
        horizon = len(stamps_ahead(dataset.select([0]))[1][0])
        return self if horizon == self.horizon else ForecasterSource(self.network, self.card, self.sizes, horizon)

    def preprocess(self, samples: Sequence[Sample], train: bool = False) -> Batch:
        """Histories [1,T_i] to ``values`` [B,W] in units of their range and ``valid`` [B,W], the last value last.

        Raises DataError HS-DATA-020 for more than one channel.
        """
        context = self.sizes["context"]
        values = torch.zeros(len(samples), context)
        valid = torch.zeros(len(samples), context, dtype=torch.bool)
        for row, sample in enumerate(samples):
            series = np.atleast_2d(np.asarray(sample, np.float64))
            if len(series) != 1:
                raise DataError(
                    "HS-DATA-020", f"a series has {len(series)} channels; expected one.", "Name one with --target."
                )
            low, size = ranged(series[0])
            kept = (series[0, -context:] - low) / size
            values[row, -len(kept) :] = torch.from_numpy(kept.astype(np.float32))
            valid[row, -len(kept) :] = True
        return Batch({"values": values, "valid": valid})

    def forward(self, batch: Batch) -> Features:
        """pooled [B,H Q]: quantiles step by step."""
        values, valid = batch.inputs["values"].float(), batch.inputs["valid"]
        found: list[torch.Tensor] = []
        while sum(each.shape[1] for each in found) < self.horizon:
            found.append(self._block(values, valid))
            medians = found[-1][:, :, QUANTILES.index(0.5)]
            values = torch.cat([values, medians], dim=1)[:, -values.shape[1] :]
            valid = torch.cat([valid, torch.ones_like(medians, dtype=torch.bool)], dim=1)[:, -valid.shape[1] :]
        return Features(torch.cat(found, dim=1)[:, : self.horizon].flatten(1))

    def _block(self, values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """The network's own horizon [B,h,Q]; it sees the context between 0 and 1."""
        low = values.masked_fill(~valid, float("inf")).amin(dim=1, keepdim=True)
        high = values.masked_fill(~valid, float("-inf")).amax(dim=1, keepdim=True)
        size = (high - low).clamp(min=NARROW)
        quantiles = self.network(((values - low) / size).masked_fill(~valid, 0.0), valid)
        return torch.as_tensor(low.unsqueeze(2) + size.unsqueeze(2) * quantiles)

    def pool_cut(self, output: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The states of a layer: their mean over time."""
        return output.mean(dim=1) if output.ndim == 3 else output

    def example(self) -> Batch:
        """Two waves, one of them shorter than the context."""
        wave = np.sin(np.arange(self.sizes["context"]) / 3)
        return self.preprocess([wave[None], wave[None, : len(wave) // 2]])

    def fresh_network(self) -> nn.Module:
        """See `Source.fresh_network`."""
        return Forecaster(**self.sizes)

    def settings(self) -> Json:
        """Sizes of the network and the horizon."""
        return {**self.sizes, "ahead": self.horizon}

    def save(self, folder: Path) -> None:
        """See `Source.save`."""
        weights.write(folder, self)

    @classmethod
    def load(cls, folder: Path) -> ForecasterSource:
        """See `Source.load`."""
        card, settings, tensors = weights.read(folder)
        horizon = int(settings.pop("ahead"))
        with torch.random.fork_rng(devices=[]):
            network = weights.fill(Forecaster(**settings), tensors, card.name)
        return cls(network, card, settings, horizon)


def from_wheel(path: Path, card: Json) -> ForecasterSource:
    """The source in the files ``model.safetensors`` and ``config.json`` of the wheel fracast.

    Raises SourceError HS-SOURCE-004, HS-SOURCE-008.
    """
    model: Json = json.loads((path.parent / "config.json").read_text(encoding="utf-8"))["model"]
    sizes = {
        "context": model["W"], "horizon": model["horizon"], "width": model["d_model"], "stages": model["n_stages"],
        "seed": 128, "periods": model["periodic_topk"],
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        network = weights.fill(Forecaster(**sizes), weights.read_safetensors(path), card["name"])
    numbers: Any = {"modality": "series", "width": 0, "parameters": sum(p.numel() for p in network.parameters())}
    return ForecasterSource(network, Card(**card, **numbers, digest=weights.digest(weights.state(network))), sizes)


def _first() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Forecaster(**FRESH)


@cache
def _fresh_digest() -> str:
    return weights.digest(weights.state(_first()))
