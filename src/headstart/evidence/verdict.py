"""The verdict: is the transfer better than the best control, by an interval that was calibrated.

Two procedures. With a test part of its own (400 rows or more, or one that the user fixed) a *paired bootstrap* draws
test rows with replacement and takes the difference of the two scores on the same rows each time. With fewer rows,
repeated K-fold gives J differences whose variance is corrected for the overlap of the training sets:

    var(mean) = s² (1/J + n_test / n_train),  t with J - 1 degrees of freedom        (Nadeau & Bengio 2003, section 4)

Every score here is combine(sum of per-row statistics [N,S]) (see `headstart.tasks.base`), so one matrix product,
counts [R,N] times statistics [N,S], bootstraps accuracy, F1 and R² alike. The percentile interval is *expanded*
(Hesterberg 2015, "What Teachers Should Know About the Bootstrap", section 5.3): two good models disagree on few rows,
and a bare percentile interval built on 4 of them calls one null pair in eight different. Its level is widened
from z to Student's t, with the effective number of rows that carry the difference,
n_eff = (sum u²)² / sum u⁴ over the jackknife influences u. `benchmarks/verdict_calibration.py` prints what it gains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from headstart.types import Interval, Verdict

Array: TypeAlias = np.ndarray
Combine: TypeAlias = Callable[[Array], Array]
"""Summed statistics [...,S] to scores [...], higher is better."""

LEVEL = 0.95
LEAST_UNITS = 6
BOOTSTRAP = "paired bootstrap"
KFOLD = "corrected repeated k-fold"
_CHUNK = 4_000_000  # counts held at once: about 48 MB


def paired_bootstrap(
    stats_a: Array,
    stats_b: Array,
    combine: Combine,
    *,
    groups: Sequence[Any] | Array | None = None,
    seed: int = 0,
    resamples: int = 10_000,
) -> Interval:
    """The interval of score(a) - score(b) on the same rows.

    stats_a, stats_b: [N,S], row i of both about the same test row. groups: N group ids; whole groups are then drawn
    (cluster bootstrap). Identical statistics give [0, 0]. Under `LEAST_UNITS` rows or groups the interval reaches 0:
    all of 5 on one side is what chance does in one case of 16. Raises ValueError where shapes differ or N is 0.
    """
    a, b = np.asarray(stats_a, dtype=np.float64), np.asarray(stats_b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"paired statistics must both be [N,S]; got {a.shape} and {b.shape}")
    width = a.shape[1]
    if np.array_equal(a, b):
        return Interval(0.0, 0.0, 0.0)
    found = _interval(
        np.hstack([a, b]), lambda s: combine(s[..., :width]) - combine(s[..., width:]), groups, seed, resamples
    )
    if (len(a) if groups is None else len(np.unique(np.asarray(groups).astype(str)))) >= LEAST_UNITS:
        return found
    return Interval(found.value, min(found.low, 0.0), max(found.high, 0.0))


def bootstrap(
    stats: Array,
    combine: Combine,
    *,
    groups: Sequence[Any] | Array | None = None,
    seed: int = 0,
    resamples: int = 10_000,
) -> Interval:
    """The interval of one score. stats: [N,S]. A score without any variation in its rows (all correct) has width 0."""
    values = np.asarray(stats, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"statistics must be [N,S]; got {values.shape}")
    return _interval(values, combine, groups, seed, resamples)


def corrected_kfold(differences: Sequence[float] | Array, test_rows: float, train_rows: float) -> Interval:
    """The interval of the mean of J fold differences (Nadeau & Bengio 2003).

    differences: [J], one for each fold of each repeat. test_rows, train_rows: rows of one fold (means where they vary).
    Raises ValueError with fewer than two folds.
    """
    from scipy.stats import t

    values = np.asarray(differences, dtype=np.float64)
    folds = len(values)
    if folds < 2 or train_rows <= 0:
        raise ValueError(f"corrected k-fold needs two folds and training rows; got {folds} and {train_rows}")
    mean = float(values.mean())
    error = float(np.sqrt(values.var(ddof=1) * (1 / folds + test_rows / train_rows)))
    reach = float(t.ppf((1 + LEVEL) / 2, folds - 1)) * error
    return Interval(mean, mean - reach, mean + reach)


def decide(interval: Interval, control: str, procedure: str, rows: int) -> Verdict:
    """Positive where the whole interval lies above 0, negative where it lies below, else neutral (0 itself counts)."""
    label: Literal["positive", "neutral", "negative"] = "neutral"
    if interval.low > 0:
        label = "positive"
    elif interval.high < 0:
        label = "negative"
    return Verdict(label, interval, control, procedure, rows)


def verdict_sentence(verdict: Verdict, metric: str) -> str:
    """One line, such as ``VERDICT: positive transfer, +4.1 points [+2.6, +5.6] at 95 % (accuracy, against baseline)``.

    Points are hundredths of the metric. Decimals grow until a bound that is not 0 does not read as 0.
    """
    difference = verdict.difference
    nearest = min(abs(difference.low), abs(difference.high))
    decimals = 1
    while verdict.label != "neutral" and decimals < 6 and round(100 * nearest, decimals) == 0:
        decimals += 1
    value, low, high = (_points(x, decimals) for x in (difference.value, difference.low, difference.high))
    where = f"({metric}, against {verdict.control})"
    return f"VERDICT: {verdict.label} transfer, {value} points [{low}, {high}] at 95 % {where}"


def resampled_sums(stats: Array, resamples: int, rng: np.random.Generator) -> Array:
    """Sums of statistics over rows drawn with replacement. stats: [N,S]; returns [R,S].

    Few distinct rows (accuracy has at most four for a pair) are drawn as one multinomial over the distinct rows, which
    is the same distribution; else counts [chunk,N] come from drawn indices, in chunks that bound the memory.
    """
    rows, width = stats.shape
    if width <= 8:
        distinct, weights = np.unique(stats, axis=0, return_counts=True)
        if 10 * len(distinct) < rows:
            return np.asarray(rng.multinomial(rows, weights / rows, size=resamples) @ distinct)
    sums = np.empty((resamples, width))
    step = max(1, _CHUNK // rows)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = rng.integers(0, rows, size=(size, rows), dtype=np.int32)
        drawn += (np.arange(size, dtype=np.int32) * rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows)
        sums[start : start + size] = counts.astype(np.float64) @ stats
    return sums


def group_sums(stats: Array, groups: Sequence[Any] | Array) -> Array:
    """Statistics summed within groups: [N,S] and N ids to [G,S]."""
    if len(groups) != len(stats):
        raise ValueError(f"{len(groups)} group ids for {len(stats)} rows")
    codes = np.unique(np.asarray(groups).astype(str), return_inverse=True)[1].ravel()
    sums = np.zeros((int(codes.max()) + 1, stats.shape[1]))
    np.add.at(sums, codes, stats)
    return sums


def _interval(
    stats: Array, combine: Combine, groups: Sequence[Any] | Array | None, seed: int, resamples: int
) -> Interval:
    """The expanded percentile interval of combine(sum of stats)."""
    if len(stats) == 0:
        raise ValueError("an interval needs at least one row")
    if groups is not None:
        stats = group_sums(stats, groups)
    total = stats.sum(axis=0)
    value = float(combine(total))
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.asarray(combine(resampled_sums(stats, resamples, np.random.default_rng(seed))))
        without_one = np.asarray(combine(total - stats))
    scores = scores[np.isfinite(scores)]
    if len(scores) == 0:
        return Interval(value, value, value)
    tail = _tail(without_one[np.isfinite(without_one)])
    # "lower" and "higher" take a drawn score, never a point between 0 and the next one: a bound at 0 stays 0
    low = float(np.quantile(scores, tail, method="lower"))
    high = float(np.quantile(scores, 1 - tail, method="higher"))
    return Interval(value, min(low, value), max(high, value))


def _tail(without_one: Array) -> float:
    """The share of resamples to cut at each end, from leave-one-out scores [N]; 0 where under two rows carry them."""
    from scipy.stats import norm, t

    influence = without_one - without_one.mean() if len(without_one) else without_one
    scale = float(np.abs(influence).max(initial=0.0))
    if scale == 0:
        return (1 - LEVEL) / 2
    squares = (influence / scale) ** 2
    effective = float(squares.sum() ** 2 / (squares**2).sum())
    if effective <= 2:
        return 0.0
    widened = t.ppf((1 - LEVEL) / 2, effective - 1) * np.sqrt(effective / (effective - 1))
    return float(norm.cdf(widened))


def _points(value: float, decimals: int) -> str:
    """Hundredths with a sign; a rounded zero carries none."""
    rounded = round(100 * value, decimals)
    return f"{rounded:+.{decimals}f}" if rounded else f"{0:.{decimals}f}"
