"""What sources that forecast share: histories in units of their range, the horizon of the rows, steps beyond their own.

Features are forecasts: quantiles of the next H steps, in units of the range of the history (0 the smallest value, 1 the
largest), where H is the horizon of the rows. So no head is needed, and a network trains through its own forward pass.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import torch
from torch import nn

from headstart.datasets.windows import ranged, stamps_ahead
from headstart.errors import DataError, SourceError
from headstart.nn.forecaster import QUANTILES
from headstart.sources import weights
from headstart.sources.base import Card, Source
from headstart.types import Batch, Features, Json, Sample

if TYPE_CHECKING:
    from headstart.datasets.base import Dataset

Ahead = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


class ForecastNetwork(Source):
    """A network from histories to quantiles. sizes: what `built` takes. horizon: steps that the features hold."""

    exact: ClassVar[bool] = True

    def __init__(self, network: nn.Module, card: Card, sizes: Json, horizon: int) -> None:
        super().__init__(replace(card, width=horizon * len(QUANTILES)), network)
        self.sizes, self.horizon = dict(sizes), horizon

    @staticmethod
    @abstractmethod
    def built(sizes: Json, drawn: bool = True) -> nn.Module:
        """The network of these sizes. drawn: its weights count; where not, others replace them at once."""

    @property
    @abstractmethod
    def context(self) -> int:
        """Steps of a history that the network sees at most."""

    @abstractmethod
    def quantiles(self, values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Quantiles [B,H,Q], or of more steps, from values [B,W] in units of the range, 0 where not ``valid`` [B,W]."""

    def width(self, longest: int) -> int:
        """W of a batch whose longest history has so many steps: what the network would only see as padding is left out
        where it can tell.
        """
        return self.context

    def settled(self, dataset: Dataset, align: Mapping[str, str] | None = None) -> Self:
        """With the horizon of the rows, where they are windows."""
        self.refuse_names(align)
        if not dataset.windows or not len(dataset):
            return self
        other = copy.copy(self)
        other.horizon = len(stamps_ahead(dataset.select([0]))[1][0])
        other.card = replace(self.card, width=other.horizon * len(QUANTILES))
        return other

    def preprocess(self, samples: Sequence[Sample], train: bool = False) -> Batch:
        """Histories [1,T_i] to ``values`` [B,W] in units of their range and ``valid`` [B,W], the last value last.

        Raises DataError HS-DATA-020 for more than one channel.
        """
        every = [np.atleast_2d(np.asarray(sample, np.float64)) for sample in samples]
        width = self.width(min(self.context, max((each.shape[1] for each in every), default=1)))
        values = torch.zeros(len(every), width)
        valid = torch.zeros(len(every), width, dtype=torch.bool)
        for row, series in enumerate(every):
            if len(series) != 1:
                raise DataError(
                    "HS-DATA-020", f"a series has {len(series)} channels; expected one.", "Name one with --target."
                )
            low, size = ranged(series[0])
            kept = (series[0, -width:] - low) / size
            values[row, -len(kept) :] = torch.from_numpy(kept.astype(np.float32))
            valid[row, -len(kept) :] = True
        return Batch({"values": values, "valid": valid})

    def forward(self, batch: Batch) -> Features:
        """pooled [B,H Q]: quantiles step by step."""
        found = self.quantiles(batch.inputs["values"].float(), batch.inputs["valid"])
        return Features(found[:, : self.horizon].flatten(1))

    def pool_cut(self, output: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The states of a layer: their mean over time, and over the passes that a row takes at once."""
        output = output.reshape(len(batch), -1, *output.shape[1:]).mean(dim=1)
        return output.mean(dim=1) if output.ndim == 3 else output

    def example(self) -> Batch:
        """Two waves, one of them shorter than the context."""
        wave = np.sin(np.arange(self.context) / 3)
        return self.preprocess([wave[None], wave[None, : len(wave) // 2]])

    def fresh_network(self) -> nn.Module:
        """See `Source.fresh_network`."""
        return self.built(self.sizes)

    def settings(self) -> Json:
        """Sizes of the network and the horizon."""
        return {**self.sizes, "ahead": self.horizon}

    def save(self, folder: Path) -> None:
        """See `Source.save`."""
        weights.write(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """See `Source.load`."""
        card, sizes, tensors = weights.read(folder)
        horizon = int(sizes.pop("ahead"))
        with torch.random.fork_rng(devices=[]):
            network = weights.fill(cls.built(sizes, drawn=False), tensors, card.name)
        return cls(network, card, sizes, horizon)


def rolled(ahead: Ahead, values: torch.Tensor, valid: torch.Tensor, horizon: int, context: int) -> torch.Tensor:
    """Quantiles [B,>=H,Q] block by block. ahead: values and valid [B,W] to quantiles [B,h,Q] of the next h steps and
    the line [B,h] from which it goes on as if it had been seen.
    """
    found: list[torch.Tensor] = []
    while sum(each.shape[1] for each in found) < horizon:
        quantiles, line = ahead(values, valid)
        found.append(quantiles)
        values = torch.cat([values, line], dim=1)[:, -context:]
        valid = torch.cat([valid, torch.ones_like(line, dtype=torch.bool)], dim=1)[:, -context:]
    return torch.cat(found, dim=1)


def patched(longest: int, patch: int, context: int) -> int:
    """Whole patches that so many steps fill, in steps."""
    return min(-(-longest // patch) * patch, context)


def places(known: Sequence[float], place: str) -> list[int]:
    """Where the nine quantiles of a forecast stand among those of a model. Raises SourceError HS-SOURCE-007."""
    at = {round(float(level), 6): number for number, level in enumerate(known)}
    if lost := [level for level in QUANTILES if level not in at]:
        raise SourceError(
            "HS-SOURCE-007", f"{place} does not forecast the quantile {lost[0]}; it has {list(known)}.",
            "Choose a model with the quantiles 0.1, 0.2, ... 0.9.",
        )  # fmt: skip
    return [at[level] for level in QUANTILES]


def card_of(place: str, network: nn.Module, known: Json) -> Card:
    """The card of a network. known: name, architecture, origin, licence, description."""
    return Card(
        **known, modality="series", width=0, parameters=sum(p.numel() for p in network.parameters()),
        digest=weights.digest(weights.state(network)),
    )  # fmt: skip
