"""Untrained: the control of `nearest`, the same network with fresh weights: only what it had learned is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from headstart.methods.base import Need, Problem, hyper
from headstart.methods.detection import Detector, DetectorFitted
from headstart.methods.nearest import distances, settle
from headstart.nn.subsequences import window_of

Array: TypeAlias = np.ndarray


@dataclass(frozen=True)
class Untrained(Detector):
    """Distance to the nearest other windows in the features of the same network with fresh weights."""

    name: ClassVar[str] = "untrained"
    role: ClassVar[Any] = "control"
    needs: ClassVar[tuple[Need, ...]] = ("network",)
    paper: ClassVar[str] = "Saxe et al. 2011, On random weights and unsupervised feature learning"

    neighbours: int = hyper(3, "windows that a window is compared with", low=1, high=100)

    def remember(
        self, fitted: DetectorFitted, series: Sequence[Array], periods: Sequence[int], problem: Problem
    ) -> None:
        """The features of windows of every series, and whose they are."""
        assert problem.source is not None
        settle(fitted, problem.source.untrained(problem.seed), series, periods, problem)

    def score(self, fitted: DetectorFitted, series: Array, period: int, digest: str) -> Array:
        """See `Detector.score`."""
        return distances(fitted, series, window_of(period), digest, self.neighbours)
