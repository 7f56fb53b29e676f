"""glyph: a small convolutional network for small pictures of single signs, digits or letters. It has learned nothing.

Networks of photographs see little in a picture of 8 x 8 pixels. This one sees every sign in the same way, whatever
paper, pen, size and place it had: ink is what differs from the border, its box is cut out, brought to `DETAIL` points
a side (so that pictures of higher resolution show no more than others), then stretched to the input of the network. In
training the view is turned, slanted, bent, thinned and thickened. There is no knowledge in it: it is for methods that
train a network, such as those that adapt to another domain, whose knowledge comes from the labelled rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from headstart.sources import weights
from headstart.sources.base import Card, Source
from headstart.sources.image import decode
from headstart.types import Batch, Features, Json, Sample

SIDE, MARGIN, DETAIL = 16, 2, 8
INK = 0.2
"""Part of the strongest ink from which a point belongs to the sign."""

WIDTH = 128

KEPT = 50_000
"""Views that are remembered, 1.6 kB each."""


class Glyph(Source):
    """A network of five layers on the ink's box; fresh weights until something trains it."""

    provider = "glyph"

    def __init__(self, network: nn.Module | None = None, card: Card | None = None) -> None:
        network = network if network is not None else _first()
        found = weights.digest(weights.state(network))
        card = card or Card(
            name="glyph", modality="image", architecture="five convolutional layers", width=WIDTH,
            parameters=sum(p.numel() for p in network.parameters()), origin="none", licence="none needed",
            digest=found, description="small pictures of single signs; no knowledge, for methods that train it",
        )  # fmt: skip
        super().__init__(card, network)
        self.pretrained = found != _fresh_digest()

    def preprocess(self, samples: Sequence[Sample], train: bool = False) -> Batch:
        """Pictures to ``ink`` [B,1,20,20], 0 to 1. Raises DataError HS-DATA-013 for one that cannot be decoded."""
        pixels = torch.from_numpy(np.stack([_remembered(sample) for sample in samples]))[:, None]
        return Batch({"ink": bent(pixels) if train else pixels})

    def forward(self, batch: Batch) -> Features:
        """pooled [B,D]."""
        pixels = batch.inputs["ink"].to(next(self.network.parameters()).dtype)
        return Features(self.network(pixels))

    def example(self) -> Batch:
        """Two pictures of waves."""
        side = SIDE + 2 * MARGIN
        return Batch({"ink": torch.sin(torch.linspace(0, 60, 2 * side * side)).abs().view(2, 1, side, side)})

    def fresh_network(self) -> nn.Module:
        """See `Source.fresh_network`."""
        return built()

    def settings(self) -> Json:
        """The view."""
        return {"side": SIDE, "margin": MARGIN, "detail": DETAIL, "ink": INK}

    def save(self, folder: Path) -> None:
        """See `Source.save`."""
        weights.write(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Glyph:
        """See `Source.load`."""
        card, _, tensors = weights.read(folder)
        with torch.random.fork_rng(devices=[]):
            network = built()
        return cls(weights.fill(network, tensors, card.name), card)


def built() -> nn.Module:
    """The network with freshly drawn weights."""
    blocks: list[nn.Module] = []
    for before, after in ((1, 32), (32, 32), (32, 64), (64, 64)):
        block: list[nn.Module] = [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        blocks.append(nn.Sequential(*block, *([nn.MaxPool2d(2)] if len(blocks) % 2 else [])))
    side = (SIDE + 2 * MARGIN) // 4
    last = [nn.Flatten(), nn.Linear(64 * side * side, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Dropout(0.3)]
    return nn.Sequential(*blocks, nn.Sequential(*last))


def _first() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return built()


@cache
def _fresh_digest() -> str:
    return weights.digest(weights.state(_first()))


def _remembered(sample: Sample) -> np.ndarray:
    """`canonical`, once for a file or its content: a training reads every picture many times."""
    if isinstance(sample, dict):
        sample = sample.get("bytes") or sample.get("path") or sample
    if isinstance(sample, bytes):
        return _view(sample)
    if isinstance(sample, str | Path) and Path(sample).is_file():
        return _view(str(sample), Path(sample).stat().st_mtime_ns)
    return canonical(sample)


@lru_cache(maxsize=KEPT)
def _view(sample: str | bytes, changed: int = 0) -> np.ndarray:
    view = canonical(sample)
    view.setflags(write=False)
    return view


def canonical(sample: Sample) -> np.ndarray:
    """The ink's box of a picture, float32 [20,20] in 0..1; zeros where there is no ink."""
    grey = np.asarray(decode(sample).convert("L"), np.float32)
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    ink = np.abs(grey - np.median(border))
    view = np.zeros((SIDE + 2 * MARGIN,) * 2, np.float32)
    if ink.max() < 1e-6:
        return view
    there = ink > INK * ink.max()
    rows, columns = np.flatnonzero(there.any(axis=1)), np.flatnonzero(there.any(axis=0))
    box = Image.fromarray(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], mode="F")
    if max(box.size) > DETAIL:
        box = box.resize((DETAIL, DETAIL), Image.Resampling.BOX)
    sign = np.asarray(box.resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float32)
    view[MARGIN:-MARGIN, MARGIN:-MARGIN] = sign / max(float(sign.max()), 1e-6)
    return view


def bent(pixels: torch.Tensor) -> torch.Tensor:
    """[B,1,H,W], each turned, slanted, stretched, moved, bent, darkened and thinned or thickened at random."""
    n = len(pixels)

    def between(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(n, *shape)

    turn, slant = between(-0.25, 0.25), between(-0.4, 0.4)
    cos, sin = torch.cos(turn), torch.sin(turn)
    map_ = torch.zeros(n, 2, 3)
    map_[:, 0, 0], map_[:, 0, 1] = cos * between(0.85, 1.15), slant - sin
    map_[:, 1, 0], map_[:, 1, 1] = sin, cos * between(0.85, 1.15)
    map_[:, :, 2] = between(-0.125, 0.125, 2)
    bend = functional.interpolate(
        between(-0.125, 0.125, 2, 4, 4), size=pixels.shape[2:], mode="bicubic", align_corners=False
    )
    grid = functional.affine_grid(map_, list(pixels.shape), align_corners=False) + bend.permute(0, 2, 3, 1)
    pixels = functional.grid_sample(pixels, grid, align_corners=False).clamp(0, 1)
    pixels = pixels ** torch.exp(between(-0.8, 0.8, 1, 1, 1))
    which, much = between(0, 1, 1, 1, 1), between(0, 1, 1, 1, 1)
    thick, thin = functional.max_pool2d(pixels, 3, 1, 1), -functional.max_pool2d(-pixels, 3, 1, 1)
    pixels = torch.where(which < 0.25, torch.lerp(pixels, thick, much), pixels)
    pixels = torch.where(which > 0.85, torch.lerp(pixels, thin, much), pixels)
    return pixels + 0.05 * torch.randn(pixels.shape)
