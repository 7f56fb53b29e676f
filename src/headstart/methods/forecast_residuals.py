"""Forecast residuals: a step is strange where it lies far from what a pretrained forecaster expected of it.

From every ``ahead``-th step on, the source forecasts the next ``ahead`` values of a channel from all before them, as
quantiles. Where y is the value, m the median and q the 10 % or the 90 % quantile on the side of y,

    score = |y - m| / max(|q - m|, the usual |q - m| of the channel)

so 1 is the edge of a band of usual width, and a stretch of which the source is too sure does not outweigh all others.
The first steps, which have no history, are forecast from behind, with time reversed. The largest score of the channels
counts. On the development group of `benchmarks/anomalies.py` this was level with the residual alone and with the
pinball loss; 6 steps ahead were better than 12, 24 and 48, and averages over windows worse.

Malhotra et al. 2015, Long short term memory networks for anomaly detection in time series, ESANN.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

from headstart.datasets.base import Dataset
from headstart.datasets.windows import CONTEXT, ranged
from headstart.errors import MethodError
from headstart.methods.base import Need, Problem, hyper
from headstart.methods.detection import Detector, DetectorFitted
from headstart.nn.forecast import Forecast
from headstart.nn.forecaster import QUANTILES
from headstart.tasks.base import Task

if TYPE_CHECKING:
    from headstart.sources.base import Source

Array: TypeAlias = np.ndarray

FIRST = 16
"""Steps of the shortest history."""

NARROW = 1e-6
"""Half of a band at least, in interquartile ranges."""


@dataclass(frozen=True)
class ForecastResiduals(Detector):
    """Distance to what a pretrained forecaster expected, in half widths of its quantile band."""

    name: ClassVar[str] = "forecast_residuals"
    role: ClassVar[Any] = "transfer"
    needs: ClassVar[tuple[Need, ...]] = ("source",)
    paper: ClassVar[str] = "Malhotra et al. 2015, ESANN"

    ahead: int = hyper(6, "steps that are forecast at once", low=1, high=24)

    def admit(self, task: Task, source: Source | None, dataset: Dataset, given: Collection[Need] = ()) -> None:
        """See `Method.admit`; the source must forecast."""
        super().admit(task, source, dataset, given)
        if source is not None and Forecast.lacks(source):
            raise MethodError(
                "HS-METHOD-003", f"{self.name} needs a source that forecasts; {source.card.name} does not.",
                "Use fracast, or one that `headstart pretrain --objective forecast` made; or --method nearest.",
            )  # fmt: skip

    def remember(
        self, fitted: DetectorFitted, series: Sequence[Array], periods: Sequence[int], problem: Problem
    ) -> None:
        """The network alone: every series is forecast from itself."""
        assert problem.source is not None
        fitted.take(problem.source, problem)

    def score(self, fitted: DetectorFitted, series: Array, period: int, digest: str) -> Array:
        """See `Detector.score`."""
        return np.asarray(np.max([self._channel(fitted, channel) for channel in series], axis=0))

    def _channel(self, fitted: DetectorFitted, values: Array) -> Array:
        """The scores [T] of one channel [T]."""
        later = self._expected(fitted, values, FIRST)  # [T-16,3]: 10 % quantile, median, 90 % quantile
        first = self._expected(fitted, values[::-1], len(values) - FIRST)[::-1]
        low, middle, high = np.concatenate([first, later]).T
        beyond = np.where(values > middle, high - middle, middle - low)
        usual = float(np.median(np.maximum(high - middle, middle - low)))
        return np.asarray(np.abs(values - middle) / np.maximum(beyond, max(usual, NARROW)))

    def _expected(self, fitted: DetectorFitted, values: Array, start: int) -> Array:
        """Three quantiles [T-start,3] of every value from ``start`` on, by what was before it."""
        assert fitted.source is not None
        ahead = min(self.ahead, fitted.source.card.width // len(QUANTILES))
        histories = [values[max(0, origin - CONTEXT) : origin] for origin in range(start, len(values), ahead)]
        found = fitted.features([history[None] for history in histories]).reshape(len(histories), -1, len(QUANTILES))
        bounds = np.array([ranged(history) for history in histories])
        quantiles = bounds[:, :1, None] + bounds[:, 1:, None] * np.sort(found[:, :ahead], axis=2)
        chosen = quantiles[:, :, [0, QUANTILES.index(0.5), -1]]
        return np.asarray(chosen.reshape(-1, 3)[: len(values) - start], np.float64)
