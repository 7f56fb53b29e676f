"""Isolation forest on windows: a window is strange where few random cuts set it apart from the others.

Windows of the series of the fit, stretched to 32 points a channel, grow the forest; the score of a step is the mean of
the windows that hold it. What is saved are the windows: the forest is grown again from them and the seed.

Liu, Ting & Zhou 2008, Isolation Forest, doi:10.1109/ICDM.2008.17; scikit-learn's implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from headstart.methods.base import Problem, hyper
from headstart.methods.detection import Detector, DetectorFitted
from headstart.nn.minirocket import stretched
from headstart.nn.subsequences import cut, starts_of, to_steps, window_of

Array: TypeAlias = np.ndarray

POINTS, MOST_WINDOWS, GROWN_FROM = 32, 2000, 4000


@dataclass(frozen=True)
class IsolationForest(Detector):
    """Isolation forest on windows of the series."""

    name: ClassVar[str] = "isolation_forest"
    paper: ClassVar[str] = "Liu, Ting & Zhou 2008, doi:10.1109/ICDM.2008.17"

    trees: int = hyper(200, "trees of the forest", low=1, high=10_000)

    def remember(
        self, fitted: DetectorFitted, series: Sequence[Array], periods: Sequence[int], problem: Problem
    ) -> None:
        """Windows to grow the forest from."""
        every = [points(each, window_of(period))[0] for each, period in zip(series, periods)]
        found = np.concatenate(every)
        some = np.unique(np.linspace(0, len(found) - 1, min(GROWN_FROM, len(found))).astype(int))
        fitted.memory = {"windows": found[some]}

    def score(self, fitted: DetectorFitted, series: Array, period: int, digest: str) -> Array:
        """See `Detector.score`."""
        if "forest" not in fitted.kept:
            from sklearn import ensemble

            forest: Any = ensemble.IsolationForest(n_estimators=self.trees, random_state=fitted.seed)
            fitted.kept["forest"] = forest.fit(fitted.memory["windows"])
        window = window_of(period)
        found, starts = points(series, window)
        return to_steps(-fitted.kept["forest"].score_samples(found), starts, window, series.shape[1])


def points(series: Array, window: int) -> tuple[Array, Array]:
    """The windows of a series [C,T] as rows [S,32 C], and where they begin."""
    starts = starts_of(series.shape[1], window, MOST_WINDOWS)
    return np.stack([stretched(each, POINTS).ravel() for each in cut(series, window, starts)]), starts
