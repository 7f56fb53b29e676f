"""Nearest: a stretch of a series is strange where no other stretch looks like it to a pretrained encoder.

Every window goes through the frozen source; its score is the mean distance to its ``neighbours`` nearest ones among the
windows of the same series that do not overlap it, and those of the other series of the fit. The score of a step is the
mean over the windows that hold it. Features are thinned to 512 random directions, which keeps distances to a few
percent (Johnson & Lindenstrauss 1984).

k nearest neighbours of windows: Ramaswamy, Rastogi & Shim 2000, Efficient algorithms for mining outliers; in features
of a pretrained network: Bergman, Cohen & Hoshen 2020, arXiv:2002.10445.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from headstart.methods.base import Need, Problem, hyper
from headstart.methods.detection import Detector, DetectorFitted, as_rows
from headstart.nn.subsequences import cut, starts_of, to_steps, window_of

Array: TypeAlias = np.ndarray

DIRECTIONS = 512
MOST_WINDOWS = 2000
"""Windows of a series, at most."""

REMEMBERED = 4000
"""Windows of all series of the fit that new ones are compared with, at most."""


@dataclass(frozen=True)
class Nearest(Detector):
    """Distance to the nearest other windows in the features of a pretrained source."""

    name: ClassVar[str] = "nearest"
    role: ClassVar[Any] = "transfer"
    needs: ClassVar[tuple[Need, ...]] = ("source",)
    paper: ClassVar[str] = "Bergman, Cohen & Hoshen 2020, arXiv:2002.10445"

    neighbours: int = hyper(3, "windows that a window is compared with", low=1, high=100)

    def remember(
        self, fitted: DetectorFitted, series: Sequence[Array], periods: Sequence[int], problem: Problem
    ) -> None:
        """The features of windows of every series, and whose they are."""
        assert problem.source is not None
        usual = window_of(int(np.median(periods)))
        fitted.take(problem.source.settled(as_rows([np.zeros((len(series[0]), usual))])), problem)
        share = max(1, REMEMBERED // len(series))
        kept, owners, every = [], [], {}
        for digest, each, period in zip(problem.train.fingerprints(), series, periods):
            window = window_of(period)
            found = every[digest] = embedded(fitted, cut(each, window, starts_of(each.shape[1], window, MOST_WINDOWS)))
            some = np.unique(np.linspace(0, len(found) - 1, min(share, len(found))).astype(int))
            kept.append(found[some])
            owners.append(np.full(len(some), list(fitted.periods).index(digest)))
        fitted.kept["features"] = every
        fitted.memory = {"windows": np.concatenate(kept), "owners": np.concatenate(owners)}

    def score(self, fitted: DetectorFitted, series: Array, period: int, digest: str) -> Array:
        """The mean distance of the windows that hold a step to their nearest others."""
        window = window_of(period)
        starts = starts_of(series.shape[1], window, MOST_WINDOWS)
        own = fitted.kept.get("features", {}).pop(digest, None)
        own = embedded(fitted, cut(series, window, starts)) if own is None else own
        known = list(fitted.periods)
        others = fitted.memory["windows"]
        if digest in known:
            others = others[fitted.memory["owners"] != known.index(digest)]
        apart = np.abs(starts[:, None] - starts[None]) >= window  # [S,S]: those that do not overlap
        near = np.where(apart, between(own, own), np.inf)
        if len(others):
            near = np.concatenate([near, between(own, others)], axis=1)
        count = min(self.neighbours, near.shape[1])
        best = np.partition(near, count - 1, axis=1)[:, :count]
        best = np.where(np.isfinite(best), best, np.nan)
        lone = np.isnan(best).all(axis=1)
        found = np.zeros(len(best))
        found[~lone] = np.nanmean(best[~lone], axis=1)
        return to_steps(found, starts, window, series.shape[1])


def between(one: Array, other: Array) -> Array:
    """Euclidean distances [S,R] of rows [S,D] and [R,D]."""
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None] - 2 * one @ other.T
    return np.asarray(np.sqrt(np.maximum(squares, 0)))


def embedded(fitted: DetectorFitted, windows: Array) -> Array:
    """Windows [S,C,W] in `DIRECTIONS` random directions of their features; float32 [S,D]."""
    features = fitted.features(list(windows))
    if features.shape[1] <= DIRECTIONS:
        return np.asarray(features, np.float32)
    generator = np.random.default_rng(features.shape[1])
    directions = generator.standard_normal((features.shape[1], DIRECTIONS), np.float32) / np.sqrt(DIRECTIONS)
    return np.asarray(features @ directions, np.float32)
