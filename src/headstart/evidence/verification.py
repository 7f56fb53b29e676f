"""Is it the same one? Error rates of a score that is high where two things belong together.

A trial is a pair with a score and the truth, whether both sides are the same (a target trial). At a threshold t

    miss(t) = share of target trials with a score under t,   alarm(t) = share of the others with a score of t or more

The equal error rate is where both are equal; the detection cost weighs them by what an error costs and by how rare
targets are (NIST Speaker Recognition Evaluation 2008), normalised by the better of always saying no and always saying
yes. Plain arrays in, numbers out.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray


def error_rates(scores: Array, same: Array) -> tuple[Array, Array, Array]:
    """Thresholds [T], ascending, and the shares of misses [T] and of false alarms [T] at each.

    scores: [n], higher means more alike. same: bool [n]. The thresholds are all different scores, and infinity, from
    which on nothing is accepted. Raises ValueError where there are no trials of one kind.
    """
    scores, same = np.asarray(scores, np.float64), np.asarray(same, bool)
    if not same.any() or same.all():
        raise ValueError("error rates need trials of both kinds")
    if not np.isfinite(scores).all():
        raise ValueError("a score is not finite")
    thresholds = np.append(np.unique(scores), np.inf)
    targets, others = np.sort(scores[same]), np.sort(scores[~same])
    miss = np.searchsorted(targets, thresholds, side="left") / len(targets)
    alarm = 1 - np.searchsorted(others, thresholds, side="left") / len(others)
    return thresholds, miss, alarm


def equal_error_rate(scores: Array, same: Array) -> tuple[float, float]:
    """The rate at which misses are as many as false alarms, and the threshold nearest to it.

    Between two thresholds the rates are read off the straight line between them.
    """
    thresholds, miss, alarm = error_rates(scores, same)
    gap = miss - alarm  # from -1 or more, ascending, to 1
    after = int(np.argmax(gap >= 0))
    if after == 0:
        return float((miss[0] + alarm[0]) / 2), float(thresholds[0])
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    rate = miss[after - 1] + share * (miss[after] - miss[after - 1])
    nearest = after if gap[after] <= -gap[after - 1] and np.isfinite(thresholds[after]) else after - 1
    return float(rate), float(thresholds[nearest])


def minimum_cost(
    scores: Array, same: Array, prior: float = 0.01, miss: float = 1.0, alarm: float = 1.0
) -> tuple[float, float]:
    """The least normalised detection cost over all thresholds (minDCF), and the threshold where it is.

    prior: how often a trial is a target trial in use. miss, alarm: the price of each error.
    """
    thresholds, missed, alarmed = error_rates(scores, same)
    costs = _cost(missed, alarmed, prior, miss, alarm)
    best = int(np.argmin(costs))
    return float(costs[best]), float(thresholds[best])


def cost_at(
    threshold: float, scores: Array, same: Array, prior: float = 0.01, miss: float = 1.0, alarm: float = 1.0
) -> float:
    """The normalised detection cost of a threshold that was chosen before (actDCF)."""
    missed, alarmed = rates_at(threshold, scores, same)
    return float(_cost(np.asarray(missed), np.asarray(alarmed), prior, miss, alarm))


def rates_at(threshold: float, scores: Array, same: Array) -> tuple[float, float]:
    """The shares of misses and of false alarms at a threshold."""
    scores, same = np.asarray(scores), np.asarray(same, bool)
    if not same.any() or same.all():
        raise ValueError("error rates need trials of both kinds")
    return float((scores[same] < threshold).mean()), float((scores[~same] >= threshold).mean())


def _cost(missed: Array, alarmed: Array, prior: float, miss: float, alarm: float) -> Array:
    always = min(miss * prior, alarm * (1 - prior))
    return np.asarray((miss * prior * missed + alarm * (1 - prior) * alarmed) / always)


def likeness(enrolled: Array, questioned: Array) -> Array:
    """Cosine similarity [n] of each row of ``questioned`` [n,D] to the mean direction of ``enrolled`` [k,D]."""
    model = _directions(enrolled).mean(axis=0)
    return np.asarray(_directions(questioned) @ (model / max(float(np.linalg.norm(model)), 1e-12)))


def trials(features: Array, labels: Array, *, enrolled: int = 3, draws: int = 10, seed: int = 0) -> tuple[Array, Array]:
    """Scores [n] and truth [n] of trials among labelled rows: ``enrolled`` rows of a label against rows that are not
    among them, its own and those of the other labels.

    Which rows are enrolled is drawn ``draws`` times. A label with ``enrolled`` rows or fewer is only asked about.
    """
    generator, labels = np.random.default_rng(seed), np.asarray(labels)
    scores, same = [], []
    for _ in range(draws):
        for label in np.unique(labels):
            own = np.flatnonzero(labels == label)
            if len(own) <= enrolled:
                continue
            chosen = generator.permutation(own)[:enrolled]
            rest = np.setdiff1d(np.arange(len(labels)), chosen)
            scores.append(likeness(features[chosen], features[rest]))
            same.append(labels[rest] == label)
    if not scores:
        return np.zeros(0), np.zeros(0, bool)
    return np.concatenate(scores), np.concatenate(same)


def _directions(rows: Array) -> Array:
    rows = np.asarray(rows, np.float64)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
