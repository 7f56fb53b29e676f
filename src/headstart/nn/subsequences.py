"""Windows of a series, all its subsequences of one length: how long they should be, and from their scores to its steps.

The length is half a period of the series, the lag of the first high peak of its autocorrelation. A whole period is more
usual (Liu & Paparrizos 2024, TSB-AD, NeurIPS datasets and benchmarks); half of one was better for `nearest`,
`matrix_profile` and `isolation_forest` alike on fifteen planted series (VUS-PR 0.503, 0.407, 0.210 against 0.475,
0.382, 0.201), of the development group of `benchmarks/anomalies.py`.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray

SHORTEST, USUAL, LONGEST = 8, 64, 512
"""Steps of a period: at least, where a series has none, at most."""

CLEAR = 0.3
"""Autocorrelation from which a peak tells a period."""


def robust(series: Array) -> Array:
    """A series [C,T] with every channel less its median, over its interquartile range; float64."""
    values = np.asarray(series, np.float64)
    middle = np.median(values, axis=1, keepdims=True)
    low, high = np.quantile(values, [0.25, 0.75], axis=1)
    size = (high - low)[:, None]
    size = np.where(size > 1e-9, size, values.std(axis=1, keepdims=True))
    return np.asarray((values - middle) / np.where(size > 1e-9, size, 1.0))


def autocorrelation(series: Array, most: int) -> Array:
    """The mean over channels of the autocorrelation of series [C,T], less straight lines, at lags 0 .. ``most``."""
    count = series.shape[1]
    place = np.arange(count) - (count - 1) / 2
    values = series - series.mean(axis=1, keepdims=True)
    values = values - (values @ place)[:, None] / max(float(place @ place), 1e-12) * place
    size = 1 << (2 * count - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(values, size, axis=1)) ** 2
    raw = np.fft.irfft(spectrum, size, axis=1)[:, : most + 1]
    power = np.maximum(raw[:, :1], 1e-12)
    return np.asarray((raw / power * (count / (count - np.arange(most + 1)))).mean(axis=0))


def window_of(period: int) -> int:
    """Steps of a window."""
    return int(max(SHORTEST, period // 2))


def period_of(series: Array) -> int:
    """Steps of a period of series [C,T], or `USUAL`; at most an eighth of the series."""
    count = series.shape[1]
    most = max(SHORTEST, min(LONGEST, count // 8))
    found = autocorrelation(series, min(most + 1, count - 1))
    inner = np.arange(4, len(found) - 1)
    peaks = inner[(found[inner] > found[inner - 1]) & (found[inner] >= found[inner + 1]) & (found[inner] > CLEAR)]
    if not len(peaks):
        return int(min(most, USUAL))
    best = found[peaks].max()
    period = int(next(lag for lag in peaks if found[lag] > 0.9 * best))
    return int(np.clip(period, SHORTEST, most))


def starts_of(count: int, window: int, most: int) -> Array:
    """Where windows begin: evenly, the last one at the end; eight in the length of one, but ``most`` at most."""
    last = max(count - window, 0)
    step = max(1, min(window // 8, last) or 1, -(-last // max(most - 1, 1)))
    return np.unique(np.append(np.arange(0, last + 1, step), last))


def cut(series: Array, window: int, starts: Array) -> Array:
    """The windows [S,C,W] of a series [C,T]."""
    views = np.lib.stride_tricks.sliding_window_view(series, min(window, series.shape[1]), axis=1)  # [C,T-W+1,W]
    return np.ascontiguousarray(views[:, starts].transpose(1, 0, 2))


def to_steps(scores: Array, starts: Array, window: int, count: int) -> Array:
    """For each of ``count`` steps the mean of the scores [S] of the windows that hold it."""
    total = np.zeros(count + 1)
    number = np.zeros(count + 1)
    np.add.at(total, starts, scores)
    np.add.at(number, starts, 1)
    ends = np.minimum(starts + window, count)
    np.add.at(total, ends, -scores)
    np.add.at(number, ends, -1)
    return np.asarray(np.cumsum(total)[:count] / np.maximum(np.cumsum(number)[:count], 1))
