"""What a score is worth: how far it would move with other rows, and where it stands without any relation.

*Spread.* The score of random halves of the rows, drawn without replacement: their deviations from their mean are those
of the score on all rows (delete-half jackknife; Shao & Wu 1989, Ann. Statist. 17, for d = N/2 the scale factor is 1).
A bootstrap with replacement would not do: its doubled rows look like neighbours and like certainty to scores that
compare rows with one another or fit them closely.

*Chance.* The score with the targets shuffled among the rows. The features keep all that they are, so the score keeps
whatever it owes to their number and scale alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray

Score: TypeAlias = Callable[..., float]
"""(features [n,D], targets [n] or [n,C]) -> score; higher is better. With groups [n] as a third argument where there
are groups."""

RESAMPLES, SHUFFLES = 100, 20
COMPONENTS = 256


@dataclass(frozen=True)
class Calibrated:
    """A score with what surrounds it. halves: deviations of the half samples [R]. shuffled: scores by chance [S]."""

    score: float
    halves: Array
    shuffled: Array

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval."""
        low, high = np.quantile(self.halves, (0.025, 0.975))
        return self.score + min(float(low), 0.0), self.score + max(float(high), 0.0)

    @property
    def chance(self) -> float:
        """The mean score by chance."""
        return float(self.shuffled.mean())

    @property
    def chance_high(self) -> float:
        """What chance reaches in one of 20 draws: the 95th percentile, at least the mean plus 1.64 deviations."""
        deviation = float(self.shuffled.std(ddof=1))
        return max(float(np.quantile(self.shuffled, 0.95)), self.chance + 1.645 * deviation)


def calibrate(
    score: Score,
    features: Array,
    targets: Array,
    strata: Array,
    *,
    owner: Array | None = None,
    groups: Array | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    shuffles: int = SHUFFLES,
) -> Calibrated:
    """The score of features [N,D] with its spread and its chance level.

    strata: integers [N]; each half holds half of every stratum. owner: [N] ascending, the row that an item (a word)
    belongs to; whole rows are drawn then. groups: integers [N], which the score is given. The halves depend on strata,
    owner and seed alone: equal for all sources.
    """
    rng = np.random.default_rng(seed)
    masks = halves(strata, resamples, rng) if owner is None else _owned(owner, resamples, rng)
    more = () if groups is None else (groups,)
    parts = np.array([score(features[mask], targets[mask], *(part[mask] for part in more)) for mask in masks])
    shuffled = np.array([score(features, targets[rng.permutation(len(targets))], *more) for _ in range(shuffles)])
    return Calibrated(score(features, targets, *more), parts - parts.mean(), shuffled)


def halves(strata: Array, count: int, rng: np.random.Generator) -> Array:
    """``count`` masks [R,N], each of half the rows; of an odd stratum's rows the one more or less is drawn too.

    A stratum of one row stands in every half, so that no class is lost.
    """
    codes = np.unique(strata, return_inverse=True)[1]
    masks = np.zeros((count, len(codes)), bool)
    for code in range(codes.max() + 1):
        rows = np.flatnonzero(codes == code)
        for mask in masks:
            size = max(1, (len(rows) + int(rng.integers(2))) // 2)
            mask[rng.permutation(rows)[:size]] = True
    return masks


def _owned(owner: Array, count: int, rng: np.random.Generator) -> Array:
    rows = np.unique(owner, return_inverse=True)[1]
    return halves(np.zeros(rows.max() + 1, int), count, rng)[:, rows]


def leading(features: Array, components: int = COMPONENTS) -> Array:
    """The rows in their leading principal axes, [N,min(components,N,D)]: distances stay, but for the small rest."""
    if min(features.shape) <= components:
        return features
    centred = features - features.mean(axis=0, dtype=np.float64)
    rows, width = centred.shape
    if rows < width:
        values, vectors = np.linalg.eigh(centred @ centred.T)
        return np.asarray(vectors[:, : -components - 1 : -1] * np.sqrt(np.maximum(values[: -components - 1 : -1], 0)))
    axes = np.linalg.eigh(centred.T @ centred)[1][:, : -components - 1 : -1]
    return np.asarray(centred @ axes)


def ties(results: Sequence[Calibrated]) -> list[bool]:
    """Whether each cannot be told from the best: the 95 % interval of the paired difference holds 0."""
    best = max(results, key=lambda result: result.score)
    found = []
    for result in results:
        gap = best.score - result.score
        low = gap + float(np.quantile(best.halves - result.halves, 0.025))
        found.append(result is best or low <= 0)
    return found
