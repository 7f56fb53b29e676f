"""Matrix profile: a window is strange where even its nearest other one, each at mean 0 and deviation 1, is far.

    d(i, j)² = 2 w (1 - correlation of the windows at i and j)
    profile(i) = min over j with |i - j| >= w / 2 of d(i, j)

Dot products of neighbouring pairs follow from each other, so all pairs cost O(T²) (STOMP). Channels are averaged; the
score of a step is the mean of the windows that hold it. Every series is compared with itself alone.

Yeh et al. 2016, Matrix Profile I; Zhu et al. 2016, Matrix Profile II (STOMP), doi:10.1109/ICDM.2016.0085.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np

from headstart.methods.detection import Detector, DetectorFitted
from headstart.nn.subsequences import to_steps, window_of

Array: TypeAlias = np.ndarray

STILL = 1e-9
"""Deviation under which a window does not move."""


@dataclass(frozen=True)
class MatrixProfile(Detector):
    """Distance of each window to its nearest other one, shape alone."""

    name: ClassVar[str] = "matrix_profile"
    paper: ClassVar[str] = "Zhu et al. 2016, doi:10.1109/ICDM.2016.0085"

    def score(self, fitted: DetectorFitted, series: Array, period: int, digest: str) -> Array:
        """See `Detector.score`."""
        window = window_of(period)
        found = np.mean([profile(channel, window) for channel in series], axis=0)
        return to_steps(found, np.arange(len(found)), window, series.shape[1])


def profile(values: Array, window: int) -> Array:
    """The matrix profile [T-w+1] of values [T]. A window that stands still is 0 from another such one, else sqrt(w)."""
    views = np.lib.stride_tricks.sliding_window_view(values, window)
    mean, size = views.mean(axis=1), views.std(axis=1)
    still = size < STILL
    safe = np.where(still, 1.0, size)
    count, apart = len(views), max(1, window // 2)
    first = np.array(views @ values[:window])  # dot products of window 0 with all
    dots, best = first.copy(), np.full(count, np.inf)
    for row in range(count):
        if row:
            dots[1:] = dots[:-1] - values[: count - 1] * values[row - 1] + values[window:] * values[row + window - 1]
            dots[0] = first[row]
        far = row + apart
        if far >= count:
            break
        correlation = (dots[far:] - window * mean[row] * mean[far:]) / (window * safe[row] * safe[far:])
        found = 2 * window * (1 - np.clip(correlation, -1, 1))
        if still[row]:
            found = np.where(still[far:], 0.0, float(window))
        else:
            found[still[far:]] = window
        best[row] = min(best[row], found.min())
        np.minimum(best[far:], found, out=best[far:])
    return np.asarray(np.sqrt(np.where(np.isfinite(best), best, 0.0)))
