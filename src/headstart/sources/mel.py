"""Log-mel spectrograms: how loud each band of pitch is, from moment to moment.

A short-time Fourier transform (windows of ``length`` samples, one every ``hop``) gives the power of each frequency; B
triangular filters, evenly spaced on the mel scale of Slaney's Auditory Toolbox (1998), sum it into bands. As Whisper
takes it (Radford et al. 2022, arXiv:2212.04356): base-10 logarithm, nothing lower than 8 below the loudest, then
(x + 4) / 4.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

LENGTH, HOP = 400, 160  # samples at 16 kHz: 25 ms, every 10 ms


@cache
def filters(bands: int, rate: int, length: int = LENGTH) -> torch.Tensor:
    """[B, length / 2 + 1], each filter of area one over its frequencies in Hz."""
    edges = _hertz(np.linspace(_mel(0.0), _mel(rate / 2), bands + 2))
    frequencies = np.linspace(0, rate / 2, length // 2 + 1)
    slopes = edges[:, None] - frequencies
    rising, falling = -slopes[:-2] / np.diff(edges)[:-1, None], slopes[2:] / np.diff(edges)[1:, None]
    found = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    return torch.from_numpy(found.astype(np.float32))


def power(
    waves: torch.Tensor, bands: int, rate: int = 16000, length: int = LENGTH, hop: int = HOP, last: bool = False
) -> torch.Tensor:
    """[n] or [W,n] samples to the power in each band, [B,T] or [W,B,T]; T = n / ``hop``. n is at least ``length``.

    last: whether the frame centred on the end counts too, as librosa has it.
    """
    spectrum = torch.stft(waves, length, hop, window=_window(length), return_complex=True)
    return filters(bands, rate, length) @ (spectrum if last else spectrum[..., :-1]).abs().square()


def whisper(waves: torch.Tensor, bands: int = 80) -> torch.Tensor:
    """[W,n] samples at 16 kHz to the log-mel spectrograms [W,B,T] that Whisper reads."""
    levels = power(waves, bands).clamp(min=1e-10).log10()
    levels = torch.maximum(levels, levels.amax(dim=(1, 2), keepdim=True) - 8.0)
    return (levels + 4.0) / 4.0


@cache
def _window(length: int) -> torch.Tensor:
    return torch.hann_window(length)


_BREAK, _STEP = 1000.0, np.log(6.4) / 27  # linear below 1 kHz, 27 mels for each factor of 6.4 above


def _mel(hertz: float) -> float:
    return hertz * 3 / 200 if hertz < _BREAK else 15 + float(np.log(hertz / _BREAK)) / _STEP


def _hertz(mels: np.ndarray) -> np.ndarray:
    return np.where(mels < 15, mels * 200 / 3, _BREAK * np.exp(_STEP * (mels - 15)))
