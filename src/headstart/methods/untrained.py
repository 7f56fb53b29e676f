"""Untrained: the control of a transfer that detects, the same network with fresh weights: only what it had learned is
missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, TypeAlias

import numpy as np

from headstart import catalog
from headstart.methods.base import Need, Problem, hyper
from headstart.methods.detection import Detector, DetectorFitted

Array: TypeAlias = np.ndarray


@dataclass(frozen=True)
class Untrained(Detector):
    """The same network with fresh weights."""

    name: ClassVar[str] = "untrained"
    role: ClassVar[Any] = "control"
    needs: ClassVar[tuple[Need, ...]] = ("network",)
    paper: ClassVar[str] = "Saxe et al. 2011, On random weights and unsupervised feature learning"

    of: str = hyper("nearest", "the transfer that is repeated", choices=("nearest", "forecast_residuals"))
    neighbours: int = hyper(3, "windows that a window is compared with", low=1, high=100)
    ahead: int = hyper(6, "steps that are forecast at once", low=1, high=24)

    @property
    def repeated(self) -> Detector:
        """The transfer, with the same settings."""
        found = catalog.find("methods", self.of)
        known = {field.name for field in fields(found)}
        made: Detector = found(**{name: value for name, value in asdict(self).items() if name in known})
        return made

    def remember(
        self, fitted: DetectorFitted, series: Sequence[Array], periods: Sequence[int], problem: Problem
    ) -> None:
        """What the transfer remembers."""
        assert problem.source is not None
        fresh = problem.replace(source=problem.source.untrained(problem.seed))
        self.repeated.remember(fitted, series, periods, fresh)

    def score(self, fitted: DetectorFitted, series: Array, period: int, digest: str) -> Array:
        """See `Detector.score`."""
        return self.repeated.score(fitted, series, period, digest)
