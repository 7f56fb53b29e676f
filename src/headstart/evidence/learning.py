"""Measuring the learning curves: few sizes first, then more where the head start is still uncertain.

Sizes halve from all labels down. Both models are fitted with few labels and with a quarter of them, on nested subsets
of several seeds. Then, one size after the other:

1. where a curve may begin at the level already, fewer labels than its smallest size;
2. else, in the widest gap between sizes in which a curve may reach the level, the size nearest to where it does;
3. else, as long as that shrinks the interval, two more seeds on both sides of the place where the less certain curve
   reaches it.

**No test target is looked at.** What is uncertain is judged on the labelled rows alone: every fit is scored on the
rows that its subset left out and, out of fold, on its own, so that all points of both curves are scored on the same
labelled rows and the bootstrap of `curves.resample` says where each curve reaches the level. Test rows are predicted
along the way; their targets are opened after the last fit. (In cross-validation a row that one fold tests is a
training row of the others, as it is for all other choices.)

The allowance is counted in rows fitted, so that the same data give the same curves: `ROWS` times the labels, for both
curves. A clock guards it: past `SHARE` of the seconds that the fit took (`LEAST` at least), or past the deadline,
nothing is added to the first sizes. Where a model cannot be scored on the labelled rows cheaply (one that trains by
gradient), sizes are fixed.

Measured, see ``benchmarks/curve_cost.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from headstart.evidence import curves
from headstart.evidence.learners import Learner, LinearLearner, Pool, Small, take
from headstart.tasks.base import Targets, Task
from headstart.types import HeadStart, Outputs

Array: TypeAlias = np.ndarray
Way: TypeAlias = tuple[Array, Array]
"""Labelled rows and test rows, as positions in a pool."""

SEEDS, MORE_SEEDS, MOST_SEEDS = 3, 2, 9
ROWS = 6.0  # rows fitted for both curves, over the labels there are
LEAST_ROWS = 6_000.0
SHARE, LEAST = 0.3, 5.0
RESAMPLES = 300
SHRINK = 0.95  # an addition that leaves more of the interval than this did not shrink it


@dataclass
class Track:
    """One curve in the making.

    full: outputs on the test rows of each way with all labels. inside: out-of-fold outputs of the full fit, or None.
    sizes: fixed ones, or None where they are chosen. tests[size][s]: outputs on the test rows of way s (modulo ways)
    with seed s. checks[size][s]: statistics of the same fit on the labelled rows that it did not learn from.
    """

    name: str
    learner: Learner
    full: Sequence[Outputs]
    inside: Outputs | None
    sizes: Sequence[int] | None = None
    tests: dict[int, list[Outputs]] = field(default_factory=dict)
    checks: dict[int, list[Array]] = field(default_factory=dict)


class Curves:
    """Both learning curves of a contest, measured by `run` and read by `head_start`.

    seconds: what the fit took, of which the curves may take `SHARE` from ``begun`` on (now by default).
    """

    matched: None = None  # what `headstart.evidence.matching` says instead of a head start

    def __init__(
        self, task: Task, pool: Pool, ways: Sequence[Way], tracks: tuple[Track, Track], *,
        seed: int = 0, seconds: float = 0.0, deadline: float | None = None, begun: float | None = None,
        report: Callable[[str, int, int], None] = lambda stage, done, total: None,
    ) -> None:  # fmt: skip
        self.task, self.pool, self.ways, self.tracks = task, pool, list(ways), tracks
        self.seed, self.report = seed, report
        self.strata = task.strata(pool.labelled.targets())
        self.least = min(len(train) for train, _ in ways)
        smallest = max(16, 2 * max(1, len(task.classes)))
        self.grid = curves.sizes(self.least, smallest, most=24)
        guard = (time.monotonic() if begun is None else begun) + max(LEAST, SHARE * seconds)
        self.guard = guard if deadline is None else min(guard, deadline)
        self.allowed = max(LEAST_ROWS, ROWS * self.least)
        self.spent = 0.0
        self.checked = True  # whether fits are scored on labelled rows, which only the choice of sizes reads
        self.fits = 0

    # --- measuring ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Fit what is needed."""
        grid, adaptive = self.grid, all(self._scorable(track) for track in self.tracks)
        self.checked = adaptive
        first = sorted({grid[max(0, len(grid) - 6)], grid[max(0, len(grid) - 3)]} - {grid[-1]})
        for track in self.tracks:
            for size in first if adaptive else (track.sizes if track.sizes is not None else grid[-6:-1]):
                self._add(track, size, self._seeds(track))
        if adaptive and first and time.monotonic() < self.guard:
            self._refine()
        self.report("learning curves", self.fits, self.fits)

    def _refine(self) -> None:
        for track in self.tracks:
            track.checks[self.least] = self._full_check(track)
        width, stalled, reseeded = np.inf, 0, False
        while time.monotonic() < self.guard and stalled < 2:
            points = [
                curves.Points(track.name, sorted(track.checks), [track.checks[size] for size in sorted(track.checks)])
                for track in self.tracks
            ]
            drawn = curves.resample(points[0], points[1], self.task.combine, seed=self.seed, resamples=RESAMPLES)
            if drawn is None:
                return
            now = float(np.ptp(np.quantile(np.log(drawn.multiplier), (0.025, 0.975))))
            stalled = stalled + 1 if reseeded and now >= SHRINK * width else 0
            width = now
            additions = next_sizes(self.grid, [sorted(track.checks) for track in self.tracks], drawn)
            if not additions:
                return
            for number, size in additions:
                track = self.tracks[number]
                more = MORE_SEEDS if size in track.tests else self._seeds(track)
                if self.spent + more * size > self.allowed or len(track.tests.get(size, ())) + more > MOST_SEEDS:
                    return
                reseeded = size in track.tests
                self._add(track, size, more)

    def _add(self, track: Track, size: int, seeds: int) -> None:
        """Fit ``seeds`` more subsets of a size; predict the test rows and, where that is light, the labelled ones."""
        tests = track.tests.setdefault(size, [])
        for _ in range(seeds):
            seed = len(tests)
            train, test = self.ways[seed % len(self.ways)]
            rows = train[self._subset(train, size, seed)]
            checked = self.checked and track.learner.light
            rest = np.setdiff1d(train, rows) if checked else train[:0]
            small = track.learner.fit(rows, np.concatenate([rest, test]), seed)
            tests.append(small.outputs[len(rest) :])
            if checked:
                track.checks.setdefault(size, []).append(self._check(rows, rest, small))
            self.spent += size
            self.fits += 1
            self.report("learning curves", self.fits, 0)

    def _subset(self, train: Array, size: int, seed: int) -> Array:
        strata = np.zeros(len(train), int) if self.strata is None else self.strata[train]
        return curves.subsets(strata, size, 1_000 * self.seed + seed)

    def _seeds(self, track: Track) -> int:
        return max(SEEDS, len(self.ways))

    # --- scoring on labelled rows ------------------------------------------------------------------------------

    def _scorable(self, track: Track) -> bool:
        """Whether points of this curve, the one with all labels included, can be scored on the labelled rows."""
        return track.sizes is None and (track.inside is not None or isinstance(track.learner, LinearLearner))

    def _full_check(self, track: Track) -> list[Array]:
        if track.inside is not None and len(self.ways) == 1:
            return [self._check(self.ways[0][0], np.zeros(0, int), Small(track.inside, []))]
        none = np.zeros(0, int)
        return [self._check(train, none, track.learner.fit(train, none, 0)) for train, _ in self.ways]

    def _check(self, rows: Array, rest: Array, small: Small) -> Array:
        """Statistics [labelled rows,S] of a fit on rows that it did not learn from; zeros where there are none."""
        parts = [(rest, take(small.outputs, np.arange(len(rest))))]
        if small.inside is not None:
            parts.append((rows, small.inside))
        found = [(at, self.task.statistics(out, take(self.pool.targets, at))) for at, out in parts if len(at)]
        whole = np.zeros((len(self.pool.labelled), found[0][1].shape[1]))
        for at, statistics in found:
            whole[at] = statistics
        return whole

    # --- reading -----------------------------------------------------------------------------------------------

    def head_start(self, targets: Sequence[Targets], places: Sequence[Array], rows: int, groups: Any) -> HeadStart:
        """The head start on the test rows. targets: of the test rows of each way. places: where they stand among all
        ``rows`` test rows. groups: ids of those that are drawn together.
        """
        points = []
        for track in self.tracks:
            outputs = {**track.tests, self.least: list(track.full)}
            sizes = sorted(size for size, found in outputs.items() if found)
            statistics = [
                [self._spread(out, targets, places, number, rows) for number, out in enumerate(outputs[size])]
                for size in sizes
            ]
            points.append(curves.Points(track.name, sizes, statistics))
        return curves.head_start(points[0], points[1], self.task.combine, groups=groups, seed=self.seed)

    def _spread(
        self, outputs: Outputs, targets: Sequence[Targets], places: Sequence[Array], seed: int, rows: int
    ) -> Array:
        way = seed % len(self.ways)
        statistics = self.task.statistics(outputs, targets[way])
        whole = np.zeros((rows, statistics.shape[1]))
        whole[places[way]] = statistics
        return whole


def next_sizes(grid: Sequence[int], used: Sequence[Sequence[int]], drawn: curves.Drawn) -> list[tuple[int, int]]:
    """(curve, size) to fit next, by where the resampled curves reach the level; empty where nothing is left.

    used: the sizes of each curve, ascending, the last with all labels. Returns a size not in ``used``, or those on both
    sides of the level's place for more seeds.
    """
    best: tuple[float, int, int] | None = None
    for number, sizes in enumerate(used):
        needs, begins = drawn.needs[number], drawn.begins[number]
        lower = [size for size in grid if size < sizes[0]]
        if lower and begins.mean() > 0.025:
            size = lower[max(0, len(lower) - 2)]
            best = max(best or (0.0, 0, 0), (float(begins.mean()) * np.log(sizes[0] / size) + 1, number, size))
        for low, high in pairwise(sizes):
            between = [size for size in grid if low < size < high]
            inside = (needs > low) & (needs <= high) & ~begins
            mass = float(inside.mean())
            if between and mass > 0.1:
                size = _nearest(between, float(np.median(needs[inside])))
                best = max(best or (0.0, 0, 0), (mass * float(np.log(high / low)), number, size))
    if best is not None:
        return [best[1:]]
    number = int(np.argmax([np.log(needs).var() for needs in drawn.needs]))
    sizes, needs = used[number], drawn.needs[number]
    at = int(np.clip(np.searchsorted(sizes, np.median(needs)), 1, len(sizes) - 1))
    return [(number, size) for size in sizes[at - 1 : at + 1] if size < sizes[-1]]


def _nearest(sizes: Sequence[int], labels: float) -> int:
    return min(sizes, key=lambda size: abs(np.log(size / labels)))
