"""The head start: how many labels the source was worth, read off two learning curves.

Transfer and control are scored on the same test rows after training on nested subsets of geometric sizes, with
several seeds. Each curve is made non-decreasing (isotonic regression on the seeds' means) and read linearly in
log(labels). With level = the best score that both curves reach,

    multiplier = labels the control needs for the level / labels the transfer needs for it.

Nothing is extrapolated: where the transfer is at the level with the fewest labels that were tried, the multiplier is
"more than" what was seen. The interval resamples test rows (the same ones for all points) and seeds, and fits and
reads the curves anew each time. Resampling k seeds understates their variance by (k - 1) / k, so the deviation that
they cause is scaled by sqrt(k / (k - 1)). A size with one seed (all labels: there is only one way to draw them) is
given the spread of the two largest sizes with more; taken as certain, it cost the interval a seventh of its coverage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np

from headstart.evidence.verdict import LEVEL, Combine, group_sums, resampled_sums
from headstart.types import Curve, HeadStart

Array: TypeAlias = np.ndarray

_SLACK = 1e-12


@dataclass(frozen=True)
class Points:
    """What a curve was measured from. statistics[i][s]: [N,S] on the test rows with sizes[i] labels and seed s.

    All points share the N test rows; a row that a seed did not test (folds) holds zeros.
    """

    name: str
    sizes: Sequence[int]
    statistics: Sequence[Sequence[Array]]


def sizes(n: int, smallest: int = 16, most: int = 6) -> list[int]:
    """Up to ``most`` sizes, halving from n down to no less than ``smallest`` (two labels a class, or 16), ascending."""
    halvings = int(math.log2(n / smallest)) if n > smallest else 0
    found = [round(n / 2**k) for k in range(min(halvings, most - 1), -1, -1)]
    return [smallest, n] if halvings == 0 and n > smallest else found


def subsets(strata: Sequence[int] | Array, size: int, seed: int) -> Array:
    """``size`` row indices (sorted), about stratified, with a row of each class where size allows.

    With the same strata and seed a larger size holds every row of a smaller one. For an unstratified draw give N
    zeros. Raises ValueError where size exceeds the rows.
    """
    classes = np.unique(np.asarray(strata), return_inverse=True)[1].ravel()
    n = len(classes)
    if size > n:
        raise ValueError(f"{size} of {n} rows were asked for")
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(n)
    ranked = shuffled[np.argsort(classes[shuffled], kind="stable")]
    counts = np.bincount(classes)
    rank = np.arange(n) - np.repeat(counts.cumsum() - counts, counts)  # place within the class
    share = (rank + rng.random(len(counts))[classes[ranked]]) / counts[classes[ranked]]
    share[rank == 0] -= 2  # the first row of every class comes before all others
    return np.sort(ranked[np.argsort(share, kind="stable")][:size])


def curve(name: str, sizes: Sequence[int], scores: Sequence[Sequence[float]]) -> Curve:
    """A learning curve with its isotonic fit, each size weighted by its seeds. scores[i][s]: sizes[i] labels, seed s.

    Raises ValueError unless sizes ascend and every size has a score.
    """
    if len(sizes) != len(scores) or not all(scores) or any(b <= a for a, b in pairwise(sizes)):
        raise ValueError(f"{name}: sizes must ascend and each needs a score; got {list(sizes)}")
    means = np.array([[float(np.mean(row)) for row in scores]])
    weights = np.array([len(row) for row in scores], dtype=float)
    fitted = isotonic(means, weights)[0]
    return Curve(name, [int(n) for n in sizes], [[float(s) for s in row] for row in scores], fitted.tolist())


def isotonic(scores: Array, weights: Array) -> Array:
    """The non-decreasing least-squares fit of each row. scores [R,P], weights [P]; returns [R,P].

    Max-min formula (Robertson, Wright & Dykstra 1988, theorem 1.4.4): fit_i = max over j <= i of min over k >= i of
    the weighted mean of points j..k.
    """
    points = scores.shape[1]
    sums = np.cumsum(np.pad(scores * weights, ((0, 0), (1, 0))), axis=1)
    total = np.cumsum(np.pad(weights, (1, 0)))
    fitted = np.full(scores.shape, -np.inf)
    for j in range(points):
        means = (sums[:, j + 1 :] - sums[:, j : j + 1]) / (total[j + 1 :] - total[j])  # [R,points-j]: j..k
        smallest = np.minimum.accumulate(means[:, ::-1], axis=1)[:, ::-1]
        fitted[:, j:] = np.maximum(fitted[:, j:], smallest)
    return fitted


def labels_needed(sizes: Sequence[int], fitted: Array, level: Array) -> Array:
    """The fewest labels at which each curve reaches its level, linear in log(labels). fitted [R,P], level [R] -> [R].

    A curve that starts at the level needs sizes[0] or fewer and gives sizes[0]. The level must be reached.
    """
    logs = np.log(np.asarray(sizes, dtype=float))
    at = (fitted >= level[:, None] - _SLACK).argmax(axis=1)  # the first point at the level
    before = np.maximum(at - 1, 0)
    rows = np.arange(len(fitted))
    low, high = fitted[rows, before], fitted[rows, at]
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.where(at > 0, np.clip((level - low) / (high - low), 0, 1), 0.0)
    found = np.exp(logs[before] + part * (logs[at] - logs[before]))
    return np.asarray(np.clip(found, sizes[0], sizes[-1]))


def compare(transfer: Curve, control: Curve) -> HeadStart:
    """The head start of two curves, without an interval. Where both begin at the level nothing is seen: 1x."""
    fits = [np.array([c.fitted]) for c in (transfer, control)]
    multiplier, begins, level, needs = _multiply(transfer.sizes, fits[0], control.sizes, fits[1])
    bound: Literal["exact", "more than", "less than"] = "exact"
    if begins[0][0] != begins[1][0]:
        bound = "more than" if begins[0][0] else "less than"
    return HeadStart(
        multiplier=float(multiplier[0]),
        bound=bound,
        interval=None,
        level=float(level[0]),
        transfer_labels=float(needs[0][0]),
        control_labels=float(needs[1][0]),
        transfer=transfer,
        control=control,
    )


def head_start(
    transfer: Points,
    control: Points,
    combine: Combine,
    *,
    groups: Sequence[Any] | Array | None = None,
    seed: int = 0,
    resamples: int = 1_000,
) -> HeadStart:
    """The label multiplier with its 95 % interval, by bootstrap over test rows and seeds.

    groups: N ids of test rows that are drawn together. An end of the interval that rests on resamples which only
    bound the multiplier is marked in ``open``: [6.1, 24] with open (False, True) reads "6.1x to more than 24x".
    """
    result = compare(*(curve(p.name, p.sizes, _scores(p, combine)) for p in (transfer, control)))
    drawn = resample(transfer, control, combine, groups=groups, seed=seed, resamples=resamples)
    if drawn is None:
        return result
    interval, ends = _ends(drawn.multiplier, drawn.begins, result.multiplier)
    return HeadStart(**{**vars(result), "interval": interval, "open": ends})


@dataclass(frozen=True)
class Drawn:
    """Resampled head starts. multiplier: [R]. begins: whether transfer and control begin at the level, bool [R] each.
    needs: the labels at which they reach it, [R] each.
    """

    multiplier: Array
    begins: tuple[Array, Array]
    needs: tuple[Array, Array]


def resample(
    transfer: Points,
    control: Points,
    combine: Combine,
    *,
    groups: Sequence[Any] | Array | None = None,
    seed: int = 0,
    resamples: int = 1_000,
) -> Drawn | None:
    """The bootstrap of `head_start`; None where a curve has one size or no resample has a score."""
    if min(len(transfer.sizes), len(control.sizes)) < 2:
        return None
    rng = np.random.default_rng(seed)
    arrays = [np.asarray(a, dtype=float) for p in (transfer, control) for row in p.statistics for a in row]
    stats = np.hstack(arrays)
    if groups is not None:
        stats = group_sums(stats, groups)
    sums = resampled_sums(stats, resamples, rng).reshape(resamples, len(arrays), -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.asarray(combine(sums))  # [R,points]
    scores = scores[np.isfinite(scores).all(axis=1)]
    if len(scores) == 0:
        return None
    fits, start = [], 0
    for points in (transfer, control):
        seeds = [len(row) for row in points.statistics]
        fits.append(refit(scores[:, start : start + sum(seeds)], seeds, rng))
        start += sum(seeds)
    multiplier, begins, _, needs = _multiply(transfer.sizes, fits[0], control.sizes, fits[1])
    return Drawn(multiplier, begins, needs)


HAVING = {"pooled": "beside the rows that it learned from"}
"""What a control has of the source, in words; the others have nothing."""


def head_start_sentence(result: HeadStart, unit: str = "labels") -> str:
    """``HEAD START: 210 labels with this source did the work of 2 000 without it (9.5x) [6.1x, 14x] at 95 %``.

    ``>`` and ``<`` mark what the sizes that were tried can only bound. unit: what is counted.
    """
    few, many = _labels(result.transfer_labels), _labels(result.control_labels)
    if result.transfer.fitted[0] >= result.level - _SLACK and result.control.fitted[0] >= result.level - _SLACK:
        return f"HEAD START: none to be seen, {few} {unit} reach what more {unit} reach, with this source or without it"
    sign = {"more than": ">", "less than": "<", "exact": ""}[result.bound]
    ends = ""
    if result.interval is not None:
        low = "<" * result.open[0] + _times(result.interval[0])
        high = ">" * result.open[1] + _times(result.interval[1])
        ends = f" [{low}, {high}] at 95 %"
    work = "the work of" if result.bound == "exact" else f"{result.bound} the work of"
    times = f"({sign}{_times(result.multiplier)})"
    others = HAVING.get(result.control.name, "without it")
    return f"HEAD START: {few} {unit} with this source did {work} {many} {others} {times}{ends}"


def _scores(points: Points, combine: Combine) -> list[list[float]]:
    return [[float(combine(np.asarray(a, dtype=float).sum(axis=0))) for a in row] for row in points.statistics]


def refit(scores: Array, seeds: Sequence[int], rng: np.random.Generator) -> Array:
    """Isotonic fits of resampled seeds. scores [R,sum of seeds], seeds of each size; returns [R,P]."""
    columns, start, spreads = [], 0, []
    for k in seeds:
        own = scores[:, start : start + k]  # [R,k]
        mean = own.mean(axis=1)
        if k > 1:
            drawn = np.take_along_axis(own, rng.integers(0, k, size=own.shape), axis=1).mean(axis=1)
            mean = mean + (drawn - mean) * math.sqrt(k / (k - 1))
            spreads.append(float(own.var(axis=1, ddof=1).mean()))
        columns.append(mean)
        start += k
    lone = math.sqrt(np.mean(spreads[-2:])) if spreads else 0.0
    for at in [at for at, k in enumerate(seeds) if k == 1]:
        columns[at] = columns[at] + lone * rng.normal(size=len(scores))
    return isotonic(np.stack(columns, axis=1), np.array(seeds, dtype=float))


def _multiply(
    transfer_sizes: Sequence[int], transfer: Array, control_sizes: Sequence[int], control: Array
) -> tuple[Array, tuple[Array, Array], Array, tuple[Array, Array]]:
    """Multiplier [R], whether transfer and control begin at the level (bool [R] each), level [R], labels they need."""
    level = np.minimum(transfer[:, -1], control[:, -1])
    needs = labels_needed(transfer_sizes, transfer, level), labels_needed(control_sizes, control, level)
    begins = transfer[:, 0] >= level - _SLACK, control[:, 0] >= level - _SLACK
    return needs[1] / needs[0], begins, level, needs


def _ends(
    multiplier: Array, begins: tuple[Array, Array], value: float
) -> tuple[tuple[float, float], tuple[bool, bool]]:
    """The percentile interval, and which of its ends rest on curves that begin at the level and so only bound it."""
    tail = (1 - LEVEL) / 2
    low, high = (float(np.quantile(multiplier, share)) for share in (tail, 1 - tail))
    return (min(low, value), max(high, value)), (bool(begins[1].mean() > tail), bool(begins[0].mean() > tail))


def _labels(count: float) -> str:
    """A whole number with its thousands apart."""
    return f"{round(count):,}".replace(",", " ")


def _times(value: float) -> str:
    return f"{value:.2g}x" if value < 10 else f"{_labels(value)}x"
