"""How well scores of the steps of a series tell its anomalies, without a threshold and without adjusting any point.

    precision(t) = sum_i l_i [s_i >= t] / sum_i [s_i >= t]
    recall(t)    = min(1, sum_i l_i [s_i >= t] / P) * (share of the anomalies that are touched)
    PR(b)        = area under precision over recall,   VUS-PR = mean of PR(b) over b = 0 .. B

Labels l are 1 in an anomaly and fall off over b / 2 steps before and after it as sqrt(1 - distance / b), so that a
detection a little early or late counts for something; P is the mean of sum l with and without these slopes. A whole
anomaly does not count as found because one of its steps was: that adjustment makes random scores look good (Kim et al.
2022, arXiv:2109.05257).

Paparrizos et al. 2022, Volume Under the Surface, PVLDB 15(11), doi:10.14778/3551793.3551830. Equal to aeon 1.6.0
(tests/reference/test_range_metrics.py).
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray

THRESHOLDS = 250


def events(labels: Array) -> list[tuple[int, int]]:
    """(first, after the last) of every run of labels [T] over 0."""
    edges = np.diff(np.concatenate([[0], (np.asarray(labels) > 0).astype(np.int64), [0]]))
    return list(zip(np.flatnonzero(edges == 1).tolist(), np.flatnonzero(edges == -1).tolist()))


def sloped(labels: Array, buffer: int) -> Array:
    """Labels [T] of 0 and 1 with slopes over ``buffer`` / 2 steps at both ends of each anomaly."""
    soft = np.asarray(labels, np.float64).copy()
    if buffer <= 1:
        return soft
    reach = buffer // 2
    for first, after in events(labels):
        late = np.arange(after - 1, min(after - 1 + reach, len(soft)))
        soft[late] += np.sqrt(1 - (late - (after - 1)) / buffer)
        early = np.arange(max(first - reach, 0), first)
        soft[early] += np.sqrt(1 - (first - early) / buffer)
    return np.clip(soft, 0, 1)


def range_pr(labels: Array, scores: Array, buffer: int) -> float:
    """PR(buffer) of labels [T] of 0 and 1, with at least one 1, and scores [T]."""
    return _area(np.asarray(labels), *_ordered(scores), buffer)


def vus_pr(labels: Array, scores: Array, most: int) -> float:
    """The mean of `range_pr` over buffers 0 .. ``most``; 0 where all scores are the same."""
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    if scores.max() == scores.min():
        return 0.0
    ordered = _ordered(scores)
    return float(np.mean([_area(labels, *ordered, buffer) for buffer in range(most + 1)]))


def _ordered(scores: Array) -> tuple[Array, Array, Array, Array]:
    """The scores, their order from high to low, thresholds, and how many scores reach each of them."""
    scores = np.asarray(scores, np.float64)
    order = np.argsort(-scores, kind="stable")
    thresholds = scores[order][np.linspace(0, len(scores) - 1, THRESHOLDS, dtype=np.int64)]
    counts = len(scores) - np.searchsorted(scores[order][::-1], thresholds, side="left")
    return scores, order, thresholds, counts


def _area(labels: Array, scores: Array, order: Array, thresholds: Array, counts: Array, buffer: int) -> float:
    soft = sloped(labels, buffer)
    reached = np.cumsum(soft[order])[counts - 1]  # of each threshold, the labels at or above it
    positive = (labels.sum() + soft.sum()) / 2
    best = np.array([scores[first:after].max() for first, after in events(soft)])
    touched = (best[None] >= thresholds[:, None]).mean(axis=1)
    recall = np.concatenate([[0.0], np.minimum(reached / positive, 1) * touched])
    precision = np.concatenate([[1.0], reached / counts])
    return float((np.diff(recall) * (precision[1:] + precision[:-1]) / 2).sum())
