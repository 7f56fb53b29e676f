"""What music sounds like: a convolutional network that was trained to tag it.

musicnn (Pons & Serra 2019, arXiv:1909.06654) reads 96 log-mel bands of 3 seconds. Wide filters over pitch listen for
timbre, long ones over time for rhythm; three residual layers follow, and of all their channels the maximum and the mean
over time go through two matrices to 50 tags. Features are those maxima and means, as they enter the first matrix [2C],
and its output [U], side by side, the mean over the windows of a sound. A sound shorter than 3 seconds is repeated, as
in training; a longer one is cut into windows of 3 seconds, evenly spread so that all of it is read.

Weights: the wheel's TensorFlow checkpoint (`tf_checkpoint.py`), of the MagnaTagATune or the Million Song Dataset.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from headstart.errors import SourceError
from headstart.sources import mel, tf_checkpoint
from headstart.sources.audio import over_windows, side_by_side
from headstart.sources.audio_network import AudioNetwork
from headstart.types import Batch, Features, Json, Sample

LENGTH, HOP = 512, 256
"""Samples of a spectrum at 16 kHz, and from one to the next."""

FRAMES = 187
"""Of a window: 3 seconds."""

LOUDER = 10_000.0
"""The logarithm is that of 1 + so many times the power."""

EPSILON = 1e-3
"""What TensorFlow adds to a variance."""


class Musicnn(AudioNetwork):
    """The network up to the layer before the tags. settings: those of `Network`."""

    provider = "musicnn"
    depths = False  # all layers are in the features already

    @staticmethod
    def built(settings: Json, drawn: bool = True) -> nn.Module:
        """See `AudioNetwork.built`."""
        return Network(**settings)

    def preprocess(self, samples: Sequence[Sample], train: bool = False) -> Batch:
        """Sounds to ``spectrogram`` [B,W,T,F] and ``there`` [B,W], those of W windows that the row has."""
        found = [self._windows(np.concatenate(windows)) for windows in self.reader(samples, train)]
        spectrogram, there = side_by_side(found)
        return Batch({"spectrogram": spectrogram, "there": there})

    def _windows(self, wave: np.ndarray) -> torch.Tensor:
        """[W,T,F] of one sound at 16 kHz."""
        padded = torch.from_numpy(np.pad(wave, (0, max(0, LENGTH - len(wave)))))
        power = mel.power(padded, self._settings["bands"], length=LENGTH, hop=HOP, last=True).T  # [T,F]
        levels = (LOUDER * power + 1).log10()
        if len(levels) < FRAMES:
            levels = levels.repeat(math.ceil(FRAMES / len(levels)), 1)[:FRAMES]
        count = math.ceil(len(levels) / FRAMES)
        starts = np.linspace(0, len(levels) - FRAMES, count).round().astype(int)
        return torch.stack([levels[start : start + FRAMES] for start in starts])

    def forward(self, batch: Batch) -> Features:
        """pooled [B,2C+U]."""
        return Features(over_windows(self.network(batch.inputs["spectrogram"].flatten(0, 1)), batch.inputs["there"]))

    def pool_cut(self, output: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Of channels over time [B*W,C,T] the maxima and the means; the mean over the windows."""
        return over_windows(over_time(output) if output.ndim == 3 else output, batch.inputs["there"])

    def cost(self, sample: Sample) -> int:
        """The windows of a sample."""
        return max(1, math.ceil(self.reader.cost(sample) * self.reader.rate / (10 * FRAMES * HOP)))


# --- the network -----------------------------------------------------------------------------------------------------


class Network(nn.Module):
    """timbre, rhythm: channels of each of the two and three first blocks. middle: of the residual ones."""

    def __init__(self, bands: int, timbre: int, rhythm: int, middle: int, dense: int) -> None:
        super().__init__()
        self.normal = nn.BatchNorm2d(1, eps=EPSILON)
        self.timbral = nn.ModuleList([Block(timbre, (7, int(part * bands))) for part in (0.4, 0.7)])
        self.temporal = nn.ModuleList([Block(rhythm, (length, 1)) for length in (128, 64, 32)])
        first = 2 * timbre + 3 * rhythm
        self.middle = nn.ModuleList([Block(middle, (7, width)) for width in (first, middle, middle)])
        pooled = 2 * (first + 3 * middle)
        self.before, self.dense = nn.BatchNorm1d(pooled, eps=EPSILON), nn.Linear(pooled, dense)
        self.after = nn.BatchNorm1d(dense, eps=EPSILON)

    def forward(self, spectrogram: torch.Tensor) -> torch.Tensor:
        """[B,T,F] to maxima and means, normalised, and what stands before the tags, [B,2C+U]."""
        x = self.normal(spectrogram.unsqueeze(1))  # [B,1,T,F]
        front = torch.cat([block(x) for block in (*self.timbral, *self.temporal)], dim=1)  # [B,C,T]
        found = [front]
        for place, block in enumerate(self.middle):
            y = block(found[-1].transpose(1, 2).unsqueeze(1))
            found.append(y if place == 0 else found[-1] + y)
        pools = self.before(over_time(torch.cat(found, dim=1)))
        return torch.cat([pools, self.after(functional.relu(self.dense(pools)))], dim=1)


class Block(nn.Module):
    """A convolution over time (padded) and the bands or channels (not), a rectifier, a norm, the maximum over those."""

    def __init__(self, width: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, width, kernel)
        self.norm = nn.BatchNorm2d(width, eps=EPSILON)
        self.padding = (kernel[0] - 1) // 2, kernel[0] // 2  # of an even one the odd frame stands behind

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,1,T,F] to [B,C,T]."""
        y = self.norm(functional.relu(self.conv(functional.pad(x, (0, 0, *self.padding)))))
        return y.amax(dim=3)  # type: ignore[no-any-return]


def over_time(channels: torch.Tensor) -> torch.Tensor:
    """[B,C,T] to maximum and mean of each channel in turn, [B,2C], as the checkpoint has them."""
    return torch.stack([channels.amax(dim=2), channels.mean(dim=2)], dim=2).flatten(1)


# --- from weights ----------------------------------------------------------------------------------------------------


def from_checkpoint(index: Path, card: Json) -> Musicnn:
    """The source in a checkpoint, by its index. Raises SourceError HS-SOURCE-004, HS-SOURCE-008."""
    found = tf_checkpoint.read(index, index.with_name(index.name.replace(".index", ".data-00000-of-00001")))
    tensors: dict[str, torch.Tensor] = {}
    blocks = [f"{part}.{at}" for part, count in (("timbral", 2), ("temporal", 3), ("middle", 3)) for at in range(count)]
    norms = ["normal", *(f"{block}.norm" for block in blocks), "before", "after"]
    try:
        for at, block in enumerate(blocks):
            theirs = "conv2d" + f"_{at}" * (at > 0)
            tensors[f"{block}.conv.weight"] = _tensor(found[f"{theirs}/kernel"].transpose(3, 2, 0, 1))
            tensors[f"{block}.conv.bias"] = _tensor(found[f"{theirs}/bias"])
        for at, norm in enumerate(norms):
            theirs = "batch_normalization" + f"_{at}" * (at > 0)
            for ours, name in _NORM.items():
                tensors[f"{norm}.{ours}"] = _tensor(found[f"{theirs}/{name}"])
            tensors[f"{norm}.num_batches_tracked"] = torch.zeros((), dtype=torch.long)
        tensors |= {"dense.weight": _tensor(found["dense/kernel"].T), "dense.bias": _tensor(found["dense/bias"])}
        timbre, middle = (len(found[f"{name}/bias"]) for name in ("conv2d", "conv2d_5"))
        sizes = {"bands": 96, "timbre": timbre, "rhythm": len(found["conv2d_2/bias"]), "middle": middle}
    except (KeyError, ValueError) as error:
        raise SourceError("HS-SOURCE-008", f"{index} holds no musicnn ({error}).", "Fetch the source again.") from error
    return Musicnn.assemble({**sizes, "dense": len(tensors["dense.bias"])}, tensors, card)


_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(values, np.float32))
