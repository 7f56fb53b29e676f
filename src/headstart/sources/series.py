"""series: a small convolutional encoder of time series, to be pretrained on series related to the user's own.

Fresh, it has learned nothing; ``headstart pretrain FOLDER`` trains it on a pool of series and saves it as a source.
Each channel is stretched to 256, 512 or 1024 points (by the usual length of the rows), brought to mean 0 and
deviation 1, and read together with its differences by four stages of convolutions. Features are what every stage saw:
the mean, the maximum and the share of large values over time, and of the last stage its means over four parts of the
series, each block at unit length (the last at half of it), so that patterns of any scale count; and the level and size
of the channel, which its preparation took away. Channels stand side by side. Stretching every series to one length
follows Mantis (Feofanov et al. 2025, arXiv:2502.15637).

Two further outputs are for series that are aligned in time: ``shape``, the prepared series in 32 points, and ``level``,
the series as it came in 16. They mislead where series are not aligned, so the probe leaves them out where they
cross-validate worse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from headstart.errors import DataError
from headstart.sources import weights
from headstart.sources.base import Card, Source
from headstart.types import Batch, Features, Json, Sample

if TYPE_CHECKING:
    from headstart.datasets.base import Dataset

LENGTHS = ((300, 256), (700, 512), (float("inf"), 1024))
"""The usual length up to which series are read at so many points."""

LENGTH = LENGTHS[0][1]
STEM = (48, 15)
STAGES = ((64, 7, 1), (96, 5, 2), (128, 3, 2))
"""Width, kernel and stride of the residual stages."""

PARTS = 4
LARGE = 0.3
PLACE = 0.5
"""Length of the block that tells the parts of a series apart: few sets of series are aligned in time."""

LEVEL = 2
"""Features of a channel besides those of the network: its level and its size."""

SHAPE_POINTS, LEVEL_POINTS = 32, 16

STILL = 1e-6
"""Deviation under which a series does not move."""


class Series(Source):
    """A convolutional encoder. channels: of the series that it reads; each goes through the same network. length:
    points at which they are read.
    """

    provider = "series"
    besides = ("shape", "level")

    def __init__(
        self, network: nn.Module | None = None, card: Card | None = None, channels: int = 1, length: int = LENGTH
    ) -> None:
        network = network if network is not None else _first()
        found = weights.digest(weights.state(network))
        card = card or Card(
            name="series", modality="series", architecture="four convolutional stages",
            width=width(channels), parameters=sum(p.numel() for p in network.parameters()), origin="none",
            licence="none needed", digest=found,
            description="time series; no knowledge before headstart pretrain",
        )  # fmt: skip
        super().__init__(replace(card, width=width(channels)), network)
        self.channels, self.length = channels, length
        self.pretrained = found != _fresh_digest()

    def settled(self, dataset: Dataset, align: Mapping[str, str] | None = None) -> Series:
        """With as many channels as the rows have, at the points that suit their usual length."""
        self.refuse_names(align)
        channels, usual = len(dataset.inputs), steps(dataset)
        length = next(points for most, points in LENGTHS if usual <= most)
        if (channels, length) == (self.channels, self.length):
            return self
        return Series(self.network, self.card, channels, length)

    def preprocess(self, samples: Sequence[Sample], train: bool = False) -> Batch:
        """Series [C,T_i] to ``series`` [B,C,T], T the length of the source, and ``level`` [B,C,2+16].

        Raises DataError HS-DATA-020 for another number of channels.
        """
        rows = [np.atleast_2d(np.asarray(sample, np.float32)) for sample in samples]
        for row in rows:
            if len(row) != self.channels:
                raise DataError(
                    "HS-DATA-020", f"a series has {len(row)} channels; expected {self.channels}.", "Give the same ones."
                )
        stretched = torch.stack([stretch(torch.from_numpy(row), self.length) for row in rows])
        series = standard(stretched)
        mean = np.stack([row.mean(axis=1) for row in rows])  # [B,C]
        size = np.stack([row.std(axis=1) for row in rows])
        whole = torch.from_numpy(np.stack([mean, size], axis=2).astype(np.float32))
        level = torch.arcsinh(torch.cat([whole, parts(stretched, LEVEL_POINTS)], dim=2))
        return Batch({"series": view(series, 0.8) if train else series, "level": level})

    def forward(self, batch: Batch) -> Features:
        """pooled [B,D]."""
        series, level = batch.inputs["series"], batch.inputs["level"][:, :, :LEVEL]
        pooled = self.network(series.flatten(0, 1)[:, None].to(next(self.network.parameters()).dtype))
        every = [pooled.unflatten(0, (-1, self.channels)).flatten(1), level.flatten(1).to(pooled.dtype)]
        return Features(torch.cat(every, dim=1))

    def features(self, batch: Batch, cuts: Sequence[str] = ()) -> Features:
        """See `Source.features`; ``shape`` [B,32 C] and ``level`` [B,16 C] are no layers."""
        found = super().features(batch, [cut for cut in cuts if cut not in self.besides])
        shape = functional.normalize(parts(batch.inputs["series"], SHAPE_POINTS), dim=2)
        own = {"shape": shape.flatten(1), "level": batch.inputs["level"][:, :, LEVEL:].flatten(1)}
        found.cuts = {cut: own[cut] if cut in own else found.cuts[cut] for cut in cuts}
        return found

    def pool_cut(self, output: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The output [B C,D_l,T_l] of a stage: its means over time, channels side by side."""
        return output.mean(dim=-1).reshape(len(batch), -1)

    def example(self) -> Batch:
        """Two rows of waves."""
        wave = torch.sin(torch.linspace(0, 60, 2 * self.channels * self.length)).view(2, self.channels, self.length)
        return Batch({"series": wave, "level": torch.ones(2, self.channels, LEVEL + LEVEL_POINTS)})

    def fresh_network(self) -> nn.Module:
        """See `Source.fresh_network`."""
        return Encoder()

    def settings(self) -> Json:
        """The channels, and how they are prepared."""
        return {"channels": self.channels, "length": self.length, "points": [SHAPE_POINTS, LEVEL_POINTS]}

    def cost(self, sample: Sample) -> int:
        """The same for all: every series is stretched to one length."""
        return 1

    def save(self, folder: Path) -> None:
        """See `Source.save`."""
        weights.write(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Series:
        """See `Source.load`."""
        card, settings, tensors = weights.read(folder)
        with torch.random.fork_rng(devices=[]):
            network = Encoder()
        return cls(weights.fill(network, tensors, card.name), card, int(settings["channels"]), int(settings["length"]))


class Stage(nn.Module):
    """Two convolutions with batch normalisation, and a way around them."""

    def __init__(self, before: int, after: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(before, after, kernel, stride, kernel // 2, bias=False)
        self.first_norm = nn.BatchNorm1d(after)
        self.second = nn.Conv1d(after, after, kernel, 1, kernel // 2, bias=False)
        self.second_norm = nn.BatchNorm1d(after)
        self.around = nn.Conv1d(before, after, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,before,T] -> [B,after,T / stride]."""
        inner = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(self.second_norm(self.second(inner)) + self.around(x))


class Encoder(nn.Module):
    """One channel [B,1,T] to features [B,D]."""

    def __init__(self) -> None:
        super().__init__()
        wide, kernel = STEM
        self.stem = nn.Sequential(
            nn.Conv1d(2, wide, kernel, 2, kernel // 2, bias=False), nn.BatchNorm1d(wide), nn.ReLU()
        )
        stages = []
        for after, kernel, stride in STAGES:
            stages.append(Stage(wide, after, kernel, stride))
            wide = after
        self.stages = nn.Sequential(*stages)

    def seen(self, x: torch.Tensor) -> list[torch.Tensor]:
        """What each stage makes of [B,1,T]: [B,D_l,T_l]."""
        step = functional.pad(x[..., 1:] - x[..., :-1], (1, 0))
        found = [self.stem(torch.cat([x, standard(step)], dim=1))]
        for stage in self.stages:
            found.append(stage(found[-1]))
        return found

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The blocks of all stages side by side, each at unit length."""
        found = self.seen(x)
        blocks = []
        for stage in found:
            blocks += [stage.mean(dim=-1), stage.amax(dim=-1), (stage > LARGE).to(stage.dtype).mean(dim=-1)]
        places = parts(found[-1], PARTS).flatten(1)
        units = [functional.normalize(block, dim=1) for block in blocks]
        return torch.cat([*units, PLACE * functional.normalize(places, dim=1)], dim=1)


def width(channels: int) -> int:
    """Features of a series with so many channels."""
    every = [STEM[0], *(after for after, _, _ in STAGES)]
    return channels * (3 * sum(every) + PARTS * every[-1] + LEVEL)


def steps(dataset: Dataset) -> float:
    """The usual length of these series: the median."""
    import pyarrow.compute as pc

    lengths = pc.list_value_length(dataset.table.with_format("arrow")[:][dataset.inputs[0].name])
    return float(np.median(lengths.to_numpy())) if len(lengths) else 0.0


def parts(series: torch.Tensor, count: int) -> torch.Tensor:
    """The means [...,count] of equal parts of series [...,T]; count divides T."""
    return series.reshape(*series.shape[:-1], count, -1).mean(dim=-1)


def stretch(series: torch.Tensor, length: int = LENGTH) -> torch.Tensor:
    """A series [C,T] at ``length`` even points of the same span, on straight lines; [C,length]."""
    if series.shape[1] == 1:
        return series.expand(-1, length)
    return functional.interpolate(series[None], size=length, mode="linear", align_corners=True)[0]


def standard(series: torch.Tensor) -> torch.Tensor:
    """Series [...,T] at mean 0 and deviation 1; 0 where nothing moves."""
    centred = series - series.mean(dim=-1, keepdim=True)
    size = centred.square().mean(dim=-1, keepdim=True).sqrt()
    return torch.where(size > STILL, centred / size.clamp(min=STILL), torch.zeros_like(centred))


def view(series: torch.Tensor, least: float) -> torch.Tensor:
    """Standardised series [B,C,T], of each another stretch, ``least`` of its length or more, with some noise."""
    rows, _, length = series.shape
    share = least + (1 - least) * torch.rand(rows, 1)
    start = (1 - share) * torch.rand(rows, 1)
    points = (start + share * torch.linspace(0, 1, length)) * (length - 1)  # [B,T]
    left = points.floor().long().clamp(max=length - 2)
    part = (points - left)[:, None]
    at = left[:, None].expand_as(series)
    cut = series.gather(2, at) * (1 - part) + series.gather(2, at + 1) * part
    return standard(cut + 0.1 * torch.rand(rows, 1, 1) * torch.randn(series.shape))


def _first() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Encoder()


@cache
def _fresh_digest() -> str:
    return weights.digest(weights.state(_first()))
