"""Sounds of any kind to windows of samples at one rate.

Any format, rate and number of channels is mixed down and resampled (soxr, high quality). A sound of up to `window`
seconds is one window; a longer one is cut into windows, of which at most `most`, evenly spread, are read. Training
samples get noise at a random level; the draws come from torch's global generator, before anything is decoded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from headstart.datasets import sounds
from headstart.errors import missing_package
from headstart.sources import mel
from headstart.types import Json, Sample


@dataclass(frozen=True)
class Augment:
    """Training augmentation.

    noise: chance of noise; snr: its distance below the sound, lowest and highest, in dB. bands, frames: the widest
    stripe of a spectrogram that is masked, in bands and as a share of the frames; two of each (SpecAugment, Park et al.
    2019, arXiv:1904.08779).
    """

    noise: float = 0.5
    snr: tuple[float, float] = (5.0, 30.0)
    bands: int = 10
    frames: float = 0.1


@dataclass
class AudioReader:
    """Decodes, mixes down, resamples, cuts. rate: samples a second. window: seconds. most: windows of one sound."""

    rate: int = 16000
    window: float = 30.0
    most: int = 10
    augment: Augment = Augment()

    kind = "audio"

    def __call__(self, samples: Sequence[Sample], train: bool = False) -> list[list[np.ndarray]]:
        """For each sample its windows, float32 [n] each, n up to ``window`` times ``rate``.

        Raises what `headstart.datasets.sounds.read` raises.
        """
        draws = torch.rand(len(samples), 3).tolist() if train else [None] * len(samples)
        return [self._windows(sample, draw) for sample, draw in zip(samples, draws)]

    def _windows(self, sample: Sample, draw: Sequence[float] | None) -> list[np.ndarray]:
        windows = self._cut(sample)
        if draw is None or draw[0] >= self.augment.noise:
            return windows
        low, high = self.augment.snr
        generator = np.random.default_rng(int(draw[2] * 2**32))
        return [_noisy(window, low + (high - low) * draw[1], generator) for window in windows]

    def _cut(self, sample: Sample) -> list[np.ndarray]:
        size, length = round(self.window * self.rate), sounds.seconds(sample)
        if length <= self.window * self.most:
            wave = self.wave(sample)
            return [wave[at : at + size] for at in range(0, len(wave), size)][: self.most]
        count = math.ceil(length / self.window - 1e-6)  # of a long file nothing else is decoded
        starts = self.window * np.linspace(0, count - 1, self.most).round()
        return [self.wave(sample, start, min(start + self.window, length))[:size] for start in starts.tolist()]

    def wave(self, sample: Sample, first: float | None = None, last: float | None = None) -> np.ndarray:
        """A sound, or these seconds of it, as float32 [n] at ``rate``, n at least one."""
        values, rate = sounds.read(sample, first, last)
        values = np.nan_to_num(values)
        if rate != self.rate:
            values = _resampler().resample(values, rate, self.rate)
        return values if len(values) else np.zeros(1, np.float32)

    def cost(self, sample: Sample) -> int:
        """The tenths of seconds that are read of a sample."""
        return max(1, round(10 * min(sounds.seconds(sample), self.window * self.most)))

    def settings(self) -> Json:
        """The reader as JSON."""
        return {"kind": self.kind, **asdict(self)}

    @classmethod
    def load(cls, settings: Json) -> AudioReader:
        """The reader that `settings` describes."""
        values = {key: value for key, value in settings.items() if key != "kind"}
        augment: Json = {key: tuple(v) if isinstance(v, list) else v for key, v in values.pop("augment").items()}
        return cls(**values, augment=Augment(**augment))


def over_time(hidden: torch.Tensor, frames: torch.Tensor, longest: int) -> torch.Tensor:
    """[B*W,T,D] to mean and standard deviation over the frames of each row that hold sound, [B,2D], in fp32.

    frames: [B,W], how much of each window holds sound, where ``longest`` is a whole window.
    """
    rows, time = frames.shape[0], hidden.shape[1]
    held = (frames.reshape(-1, 1) * time + longest - 1) // longest  # [B*W,1] at the layer's own frame rate
    mask = torch.arange(time, device=hidden.device) < held  # [B*W,T]
    weight = mask.float().reshape(rows, -1, 1)  # [B,W*T,1]
    values = hidden.float().reshape(rows, -1, hidden.shape[2])
    total = weight.sum(1).clamp(min=1.0)
    mean = (values * weight).sum(1) / total
    spread = ((values - mean.unsqueeze(1)).square() * weight).sum(1) / total
    return torch.cat([mean, spread.clamp(min=1e-8).sqrt()], dim=1)


def side_by_side(rows: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows [W_i,T,C] of each row as [B,W,T,C], and which of the W are there, [B,W]."""
    windows = torch.zeros(len(rows), max(map(len, rows)), *rows[0].shape[1:])
    there = torch.zeros(windows.shape[:2], dtype=torch.bool)
    for row, own in enumerate(rows):
        windows[row, : len(own)] = own
        there[row, : len(own)] = True
    return windows, there


def over_windows(values: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """[B*W,D] to the mean [B,D] over the windows that are there [B,W], in fp32."""
    weight = there.float().unsqueeze(2)  # [B,W,1]
    total = (values.float().unflatten(0, weight.shape[:2]) * weight).sum(1)  # type: ignore[no-untyped-call]
    return torch.as_tensor(total / weight.sum(1))


def masked(spectrogram: torch.Tensor, frames: int, draw: Sequence[float], augment: Augment) -> torch.Tensor:
    """[B,T], two stripes of bands and two of its first ``frames`` frames at its mean. draw: 8 numbers in 0..1."""
    found, level = spectrogram.clone(), spectrogram[:, :frames].mean()
    for wide, at in (draw[0:2], draw[2:4]):
        width = int(wide * (augment.bands + 1))
        start = int(at * (len(spectrogram) - width))
        found[start : start + width, :frames] = level
    for wide, at in (draw[4:6], draw[6:8]):
        width = int(wide * augment.frames * frames)
        start = int(at * (frames - width))
        found[:, start : start + width] = level
    return found


def picture(sample: Sample, size: tuple[int, int] = (96, 48)) -> Image.Image:
    """The log-mel spectrogram of a sound's first window as a grey picture, low pitches below. size: width, height."""
    wave = AudioReader()([sample])[0][0]
    wave = np.pad(wave, (0, max(0, mel.LENGTH - len(wave))))
    levels = mel.whisper(torch.from_numpy(wave)[None], size[1])[0].flip(0).numpy()
    low, high = float(levels.min()), float(levels.max())
    grey = (255 * (levels - low) / max(high - low, 1e-6)).astype(np.uint8)
    return Image.fromarray(grey).resize(size, Image.Resampling.BOX)


def _noisy(wave: np.ndarray, snr: float, generator: np.random.Generator) -> np.ndarray:
    """White noise added, ``snr`` dB below the sound's own power."""
    power = float(np.mean(np.square(wave, dtype=np.float64)))
    noise = generator.standard_normal(len(wave), dtype=np.float32) * math.sqrt(power * 10 ** (-snr / 10))
    return np.asarray(wave + noise, np.float32)


def _resampler() -> Any:
    """The module soxr. Raises EnvironmentProblem HS-ENV-001 with the pip line where it is missing."""
    try:
        import soxr
    except ImportError as error:
        raise missing_package("soxr", "audio") from error
    return soxr
