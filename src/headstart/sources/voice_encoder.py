"""Who speaks: a network that was trained to tell voices apart, whatever they say.

Three recurrent layers over 40 mel bands of power (no logarithm), of partial utterances of 1.6 seconds that begin every
0.77 seconds (Wan et al. 2018, Generalized end-to-end loss, arXiv:1710.10467; weights of Resemblyzer). What stands at a
partial's last frame goes through a matrix and a rectifier to length one; the features are the mean over the partials,
of length one again [D]. A quiet recording is made louder first, as in training. Long silences, which Resemblyzer cuts
out with another package, stay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from headstart.sources import mel, weights
from headstart.sources.audio import over_windows, side_by_side
from headstart.sources.audio_network import AudioNetwork
from headstart.types import Batch, Features, Json, Sample

PARTIAL, EVERY = 160, 77  # frames of 10 ms
COVERED = 0.75
"""Part of a last partial that must hold sound, unless it is the only one."""

LEVEL = 10 ** (-30 / 20)
"""Root mean square below which a recording is made louder: -30 dB of full scale."""


class VoiceEncoder(AudioNetwork):
    """The recurrent encoder. settings: ``bands``, ``width``, ``depth``."""

    provider = "voice_encoder"

    @staticmethod
    def built(settings: Json, drawn: bool = True) -> nn.Module:
        """See `AudioNetwork.built`."""
        return Recurrent(**settings)

    def preprocess(self, samples: Sequence[Sample], train: bool = False) -> Batch:
        """Sounds to ``partials`` [B,W,T,C] and ``there`` [B,W], those of W that the row has."""
        found = [self._partials(np.concatenate(windows)) for windows in self.reader(samples, train)]
        partials, there = side_by_side(found)
        return Batch({"partials": partials, "there": there})

    def _partials(self, wave: np.ndarray) -> torch.Tensor:
        """[W,T,C] of one sound at 16 kHz."""
        level = float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))
        if 0 < level < LEVEL:
            wave = wave * np.float32(LEVEL / level)
        starts = partial_starts(len(wave))
        end = (starts[-1] + PARTIAL) * mel.HOP
        padded = np.pad(wave, (0, max(0, end - len(wave))))
        levels = mel.power(torch.from_numpy(padded), self._settings["bands"]).T  # [T,C]
        return torch.stack([levels[start : start + PARTIAL] for start in starts])

    def forward(self, batch: Batch) -> Features:
        """pooled [B,D] of length one."""
        mean = over_windows(self.network(batch.inputs["partials"].flatten(0, 1)), batch.inputs["there"])
        return Features(functional.normalize(mean, dim=1))

    def pool_cut(self, output: torch.Tensor, batch: Batch) -> torch.Tensor:
        """A recurrent layer at the last frame of each partial, the mean over the partials."""
        return over_windows(output[:, -1] if output.ndim == 3 else output, batch.inputs["there"])

    def cost(self, sample: Sample) -> int:
        """The partials of a sample, about."""
        return max(1, math.ceil(self.reader.cost(sample) / (10 * EVERY / 100)))


class Recurrent(nn.Module):
    """``depth`` recurrent layers of one width, then a matrix and a rectifier."""

    def __init__(self, bands: int, width: int, depth: int) -> None:
        super().__init__()
        self.lstm = nn.ModuleList([nn.LSTM(width if at else bands, width, batch_first=True) for at in range(depth)])
        self.linear = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B,T,C] to [B,D] of length one."""
        for layer in self.lstm:
            x, _ = layer(x)
        return functional.normalize(functional.relu(self.linear(x[:, -1])), dim=1)


def partial_starts(samples: int) -> list[int]:
    """The first frame of each partial of a sound of so many samples at 16 kHz."""
    frames = math.ceil((samples + 1) / mel.HOP)
    starts = list(range(0, max(1, frames - PARTIAL + EVERY + 1), EVERY))
    covered = (samples - starts[-1] * mel.HOP) / (PARTIAL * mel.HOP)
    return starts[:-1] if covered < COVERED and len(starts) > 1 else starts


def from_checkpoint(path: Path, card: Json) -> VoiceEncoder:
    """The source in Resemblyzer's ``pretrained.pt``. Raises SourceError HS-SOURCE-004, HS-SOURCE-008."""
    found = weights.read_pickled(path, inside="model_state")
    tensors = {}
    for name, tensor in found.items():
        part, _, kind = name.partition(".")
        if part == "lstm":  # layer k of one module there, the only layer of module k here
            stem, _, layer = kind.rpartition("_l")
            tensors[f"lstm.{layer}.{stem}_l0"] = tensor
        elif part == "linear":
            tensors[name] = tensor
    return VoiceEncoder.assemble({"bands": 40, "width": 256, "depth": 3}, tensors, card)
