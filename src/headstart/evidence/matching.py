"""What a transfer that reads no label is worth in labels: how many a probe needs to match it.

A head start divides labels by labels; here the divisor is nought. So the probe's learning curve alone is measured, from
one label a class upwards, and read where it reaches the score of the transfer: linearly in log(labels), on an isotonic
fit, as `headstart.evidence.curves` reads. Sizes double until the probe has clearly passed the transfer on labelled rows
that it did not learn from; test targets are not looked at. The interval resamples test rows, the same ones for both,
and seeds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from headstart.evidence import curves
from headstart.evidence.learners import Learner, Pool, take
from headstart.evidence.learning import Way
from headstart.evidence.verdict import group_sums, resampled_sums
from headstart.methods.base import Problem
from headstart.tasks.base import Targets
from headstart.types import HeadStart, Json, Outputs

Array: TypeAlias = np.ndarray

SEEDS = 5
RESAMPLES = 1_000
PASSED = 0.03  # a lead on labelled rows at which no larger size is tried, after two sizes in a row


class Matching:
    """The probe's curve, measured by `run`, read by `head_start` into ``matched``.

    full: outputs of the transfer on the test rows of each way. inside: its outputs on the labelled rows. seconds: the
    clock's guard; the first three sizes are measured whatever it says.
    """

    def __init__(
        self, problem: Problem, pool: Pool, ways: Sequence[Way], full: Sequence[Outputs], inside: Outputs,
        learner: Learner, method: str, seconds: float,
    ) -> None:  # fmt: skip
        self.problem, self.task, self.pool, self.ways = problem, problem.task, pool, list(ways)
        self.full, self.inside, self.learner, self.method = list(full), inside, learner, method
        self.guard = time.monotonic() + seconds
        self.tests: dict[int, list[Outputs]] = {}
        self.matched: Json | None = None

    def run(self) -> None:
        """Fit the probe with more and more labels."""
        strata = self.task.strata(self.pool.labelled.targets())
        least, level, ahead = min(len(train) for train, _ in self.ways), self._score(self.inside), 0
        for place, size in enumerate(doubling(max(2, self.task.width), least)):
            if ahead == 2 or (place >= 3 and time.monotonic() > self.guard):
                return
            scores = []
            for seed in range(SEEDS):
                train, test = self.ways[seed % len(self.ways)]
                known = np.zeros(len(train), int) if strata is None else strata[train]
                rows = train[curves.subsets(known, size, 1_000 * self.problem.seed + seed)]
                rest = np.setdiff1d(train, rows)
                found = self.learner.fit(rows, np.concatenate([rest, test]), seed).outputs
                self.tests.setdefault(size, []).append(found[len(rest) :])
                if len(rest):
                    inside = self.task.score(take(found, np.arange(len(rest))), take(self.pool.targets, rest))
                    scores.append(inside)
                self.problem.report("labels that match", place * SEEDS + seed + 1, 0)
            ahead = ahead + 1 if scores and float(np.mean(scores)) > level + PASSED else 0

    def _score(self, inside: Outputs) -> float:
        return self.task.score(inside, self.pool.targets)

    def head_start(
        self, targets: Sequence[Targets], places: Sequence[Array], rows: int, groups: Any
    ) -> HeadStart | None:
        """No multiplier can be given: None. What can, goes to ``matched``. Arguments as `Curves.head_start`."""
        ways = range(len(self.ways))
        whole = np.sum([self._spread(self.full[way], targets, places, way, rows) for way in ways], axis=0)
        sizes = sorted(self.tests)
        points = [[self._spread(out, targets, places, seed, rows) for seed, out in enumerate(self.tests[size])]
                  for size in sizes]  # fmt: skip
        scores = [[float(self.task.combine(each.sum(axis=0))) for each in row] for row in points]
        curve = curves.curve("probe", sizes, scores)
        level = float(self.task.combine(whole.sum(axis=0)))
        labels, bound = reached(sizes, np.array([curve.fitted]), np.array([level]))
        self.matched = {
            "method": self.method, "by": "probe", "labels": float(labels[0]), "bound": bound[0], "level": level,
            "interval": self._interval(whole, points, sizes, groups), "curve": vars(curve),
        }  # fmt: skip
        return None

    def _interval(self, whole: Array, points: list[list[Array]], sizes: list[int], groups: Any) -> list[float] | None:
        """The labels that match in 95 % of the resamples."""
        rng = np.random.default_rng(self.problem.seed)
        stats = np.hstack([whole, *(each for row in points for each in row)])
        stats = stats if groups is None else group_sums(stats, groups)
        count = 1 + sum(len(row) for row in points)
        sums = resampled_sums(stats, RESAMPLES, rng).reshape(RESAMPLES, count, -1)
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = np.asarray(self.task.combine(sums))
        scores = scores[np.isfinite(scores).all(axis=1)]
        if not len(scores):
            return None
        fitted = curves.refit(scores[:, 1:], [len(row) for row in points], rng)
        labels, _ = reached(sizes, fitted, scores[:, 0])
        return [float(value) for value in np.quantile(labels, (0.025, 0.975))]

    def _spread(self, out: Outputs, targets: Sequence[Targets], places: Sequence[Array], seed: int, rows: int) -> Array:
        way = seed % len(self.ways)
        statistics = self.task.statistics(out, targets[way])
        whole = np.zeros((rows, statistics.shape[1]))
        whole[places[way]] = statistics
        return whole


def doubling(smallest: int, most: int) -> list[int]:
    """``smallest`` and its doubles up to ``most``, ``most`` itself the last; ``[most]`` where it is no larger."""
    found = [min(smallest, most)]
    while 2 * found[-1] <= most:
        found.append(2 * found[-1])
    return found if found[-1] == most else [*found, most]


def reached(sizes: Sequence[int], fitted: Array, level: Array) -> tuple[Array, list[str]]:
    """Where each non-decreasing curve [R,P] reaches its level [R]: labels [R] within the sizes, and what they are:

    ``exact``, ``less than`` (the smallest size lies above the level) or ``more than`` (no size reaches it).
    """
    labels = curves.labels_needed(sizes, fitted, np.minimum(level, fitted[:, -1]))
    above, below = fitted[:, 0] > level, fitted[:, -1] < level
    return labels, ["less than" if a else "more than" if b else "exact" for a, b in zip(above, below, strict=True)]


def sentence(matched: Json) -> str:
    """``zeroshot used no label; a probe needs about 14 to match it [9, 21] at 95 %``."""
    sign = {"exact": "about ", "less than": "fewer than ", "more than": "more than "}[matched["bound"]]
    text = f"{matched['method']} used no label; a probe needs {sign}{matched['labels']:.0f} to match it"
    if matched["interval"] is not None and matched["bound"] == "exact":
        low, high = matched["interval"]
        text += f" [{low:.0f}, {high:.0f}] at 95 %"
    return text
