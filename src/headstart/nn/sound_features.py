"""What a sound is like on average, as it was described before there were pretrained networks; the baseline reads it.

Of 64 log-mel bands the mean and the standard deviation over time; of 20 mel-frequency cepstral coefficients (MFCC,
Davis & Mermelstein 1980) those and the deviation of their change from frame to frame; the logarithm of the length.
Every column is standardised by the training rows. Order in time is lost: a word and its reverse look alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch

from headstart.datasets.base import Dataset
from headstart.nn.featurizers import Array, Featurizer
from headstart.sources import mel
from headstart.sources.audio import AudioReader
from headstart.types import Json, Sample

BANDS, COEFFICIENTS = 64, 20
WIDTH = 2 * BANDS + 3 * COEFFICIENTS + 1
FLOOR = 1e-8
"""Power below which a band counts as silent."""


class SoundFeatures(Featurizer):
    """Statistics of log-mel bands and MFCC. mean, scale: [D] of the training rows."""

    kind = "audio"

    def __init__(self, mean: Array, scale: Array) -> None:
        self.mean, self.scale = (np.asarray(part, dtype=np.float32) for part in (mean, scale))
        if self.mean.shape != (WIDTH,) or self.scale.shape != (WIDTH,):
            raise ValueError("misshapen mean or scale")

    @classmethod
    def fit(cls, train: Dataset) -> SoundFeatures:
        """Mean and spread of each column over the training rows."""
        return cls.fit_transform(train)[0]

    @classmethod
    def fit_transform(cls, train: Dataset) -> tuple[SoundFeatures, Any]:
        """`fit` and the features of the same rows, at the price of one."""
        raw = _statistics(train.samples())
        spread = raw.std(axis=0)
        features = cls(raw.mean(axis=0), np.where(spread > 1e-6, spread, 1.0))
        return features, features._standardised(raw)

    def transform(self, dataset: Dataset) -> Any:
        """Dense float32 [N,D]. Raises DataError HS-DATA-013 for a sound that cannot be decoded."""
        return self._standardised(_statistics(dataset.samples()))

    def _standardised(self, raw: Array) -> Array:
        return np.asarray((raw - self.mean) / self.scale, dtype=np.float32)

    @property
    def width(self) -> int:
        """D, the columns that `transform` gives."""
        return WIDTH

    def state(self) -> tuple[Json, dict[str, Array]]:
        """Mean and scale."""
        return {}, {"mean": self.mean, "scale": self.scale}

    @classmethod
    def restore(cls, data: Json, arrays: dict[str, Array]) -> SoundFeatures:
        """The featurizer that gave this `state`."""
        return cls(arrays["mean"], arrays["scale"])


def _statistics(samples: Sequence[Sample]) -> Array:
    """[N,D] before standardising."""
    reader = AudioReader()
    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(lambda sample: describe(np.concatenate(reader([sample])[0])), samples, chunksize=16))
    return np.stack(rows) if rows else np.zeros((0, WIDTH), np.float32)


def describe(wave: Array) -> Array:
    """The statistics [D] of one sound [n] at 16 kHz."""
    padded = np.pad(wave, (0, max(0, 2 * mel.LENGTH - len(wave))))
    levels = mel.power(torch.from_numpy(padded), BANDS).clamp(min=FLOOR).log()  # [B,T]
    cepstrum = _cosines() @ levels
    change = cepstrum.diff(dim=1)
    parts = [levels.mean(1), levels.std(1), cepstrum.mean(1), cepstrum.std(1), change.std(1)]
    return np.append(torch.cat(parts).numpy(), np.float32(np.log(len(wave)))).astype(np.float32)


@cache
def _cosines() -> torch.Tensor:
    """The first rows [K,B] of the orthonormal discrete cosine transform, type II."""
    angles = np.pi / BANDS * (np.arange(BANDS) + 0.5) * np.arange(COEFFICIENTS)[:, None]
    rows = np.sqrt(2 / BANDS) * np.cos(angles)
    rows[0] /= np.sqrt(2)
    return torch.from_numpy(rows.astype(np.float32))
