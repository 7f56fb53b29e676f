"""forecaster: a small convolutional network that forecasts series, to be pretrained on series related to the user's
own.

Fresh, it has learned nothing; ``headstart pretrain POOL --objective forecast`` trains it on a pool of series and
saves it as a source. ``fracast`` on the shelf is the same network, larger and pretrained on many public series. Beyond
its own horizon it goes on from its medians.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from headstart.nn.forecaster import QUANTILES, Forecaster
from headstart.sources import weights
from headstart.sources.base import Card
from headstart.sources.forecast_network import ForecastNetwork, rolled
from headstart.types import Json

FRESH: Json = {"context": 128, "horizon": 24, "width": 64, "stages": 7, "seed": 64}
NARROW = 1e-5
"""Range of the context, at least."""


class ForecasterSource(ForecastNetwork):
    """A network that forecasts. sizes: of the network (`Forecaster`). horizon: steps that the features hold."""

    provider = "forecaster"

    def __init__(
        self, network: nn.Module | None = None, card: Card | None = None, sizes: Json | None = None, horizon: int = 0
    ) -> None:
        sizes = dict(sizes or FRESH)
        network = network if network is not None else _first()
        found = weights.digest(weights.state(network))
        card = card or Card(
            name="forecaster", modality="series", architecture="one convolutional block at every scale", width=0,
            parameters=sum(p.numel() for p in network.parameters()), origin="none", licence="none needed", digest=found,
            description="forecasts of series; no knowledge before headstart pretrain",
        )  # fmt: skip
        super().__init__(network, card, sizes, horizon or int(sizes["horizon"]))
        self.pretrained = found != _fresh_digest()

    @staticmethod
    def built(sizes: Json, drawn: bool = True) -> nn.Module:
        """See `ForecastNetwork.built`."""
        return Forecaster(**sizes)

    @property
    def context(self) -> int:
        """Steps of a history that the network sees at most."""
        return int(self.sizes["context"])

    def quantiles(self, values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """[B,H,Q]; beyond its own horizon it goes on from its medians."""
        return rolled(self._ahead, values, valid, self.horizon, self.context)

    def _ahead(self, values: torch.Tensor, valid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The network's own horizon [B,h,Q], and the medians; it sees the context between 0 and 1."""
        low = values.masked_fill(~valid, float("inf")).amin(dim=1, keepdim=True)
        high = values.masked_fill(~valid, float("-inf")).amax(dim=1, keepdim=True)
        size = (high - low).clamp(min=NARROW)
        quantiles = self.network(((values - low) / size).masked_fill(~valid, 0.0), valid)
        found = torch.as_tensor(low.unsqueeze(2) + size.unsqueeze(2) * quantiles)
        return found, found[:, :, QUANTILES.index(0.5)]


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
