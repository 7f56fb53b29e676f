"""Seasonal residuals: what is left of a step after the level around it and the usual value of its place in the period.

    level     the median over one period around the step
    season    the median, over all periods, of what is left at the same place in the period
    score     the largest absolute residual of the channels

The classical decomposition with medians in place of means (Cleveland et al. 1990, STL, describes the idea); nothing is
remembered, every series speaks for itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np

from headstart.methods.detection import Detector, DetectorFitted

Array: TypeAlias = np.ndarray


@dataclass(frozen=True)
class SeasonalResiduals(Detector):
    """Residuals of level and season."""

    name: ClassVar[str] = "seasonal_residuals"
    paper: ClassVar[str] = "Cleveland et al. 1990, STL: a seasonal-trend decomposition"

    def score(self, fitted: DetectorFitted, series: Array, period: int, digest: str) -> Array:
        """See `Detector.score`."""
        return np.asarray(np.abs(residuals(series, period)).max(axis=0))


def residuals(series: Array, period: int) -> Array:
    """What level and season leave of series [C,T]; [C,T]."""
    from scipy.ndimage import median_filter

    rest = series - median_filter(series, size=(1, 2 * (period // 2) + 1), mode="nearest")
    places = np.arange(series.shape[1]) % period
    for place in range(min(period, series.shape[1])):
        here = places == place
        rest[:, here] -= np.median(rest[:, here], axis=1, keepdims=True)
    return np.asarray(rest)
