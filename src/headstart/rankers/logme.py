"""LogME: the log of the maximum evidence of a Bayesian linear model from features to targets.

How probable are the targets under y = F w + noise, averaged over all weights w and not only the best, at the prior and
noise that suit them most? A model that needs extreme weights to fit loses, so nothing is trained and nothing overfits.

    w ~ N(0, I/alpha), noise ~ N(0, I/beta):    y ~ N(0, I/beta + FF'/alpha),  y [N], F [N,D]
    score = max over alpha, beta of log p(y) / N, mean over the C columns (one-hot classes, labels, or values)

With FF' = U diag(s²) U', r = rank, z = U'y, rest = |y|² - |z|² and t = alpha/beta, the best beta for a t is N/q(t), so
one number a column is left to find:

    q(t) = rest + sum_i z_i² t/(t + s_i²)
    log p(t) = -N/2 log(2 pi q(t)/N) - N/2 - 1/2 sum_i log(1 + s_i²/t)

It is found on a grid over log t and refined by golden section, all columns at once on one decomposition. The number of
features is in it through r alone, so D > N needs no case of its own; fixed points that iterate alpha and beta in terms
of singular values are often written without the D - r weights that stay at the prior, and then are wrong for D > N.

Where the features fit a target perfectly the evidence has no upper end; the noise is therefore kept at 1e-5 of the
root mean square of the target or above, which is far under what single-precision features can tell.

You, Liu, Wang & Long 2021, LogME: Practical Assessment of Pre-trained Models for Transfer Learning, arXiv:2102.11005.

Measured by benchmarks/logme_speed.py, N = 10 000, D = 1 280, 100 classes, one thread, beside other work: 1.9 s;
evidence maximisation by D x D matrices, as in the paper: 300 s, and the values agree to 1e-14.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headstart.nn.spectrum import Spectrum, spectrum
from headstart.rankers.base import Array, Ranker, Target

LEAST_NOISE = 1e-10
"""The smallest variance of the noise, as a part of the mean square of the target."""

STEP = 0.5
"""Distance of the grid in log t; log p is a sum of sigmoids in log t, whose bends are wider."""

REFINEMENTS = 40


@dataclass(frozen=True)
class LogME(Ranker):
    """Log of the maximum evidence, per row."""

    name: ClassVar[str] = "logme"
    paper: ClassVar[str] = "You et al. 2021, arXiv:2102.11005"
    reads: ClassVar[frozenset[str]] = frozenset({"classes", "labels", "values"})

    def measure(self, features: Array, target: Target) -> float:
        """Mean over columns; a class or label that no row or every row has is left out."""
        return float(log_evidence(spectrum(features), target.columns).mean())


def log_evidence(features: Spectrum, Y: Array) -> Array:
    """max over alpha and beta of log p(y)/N for each column of Y [N,C], none of them zero -> [C]."""
    rows = len(Y)
    values = features.values[:, None]  # [r,1]
    projected = features.project(Y)  # [r,C]
    power, total = projected**2, (Y**2).sum(axis=0)
    rest = (features.residual(Y, projected) ** 2).sum(axis=0)  # [C]
    least = LEAST_NOISE * total

    def profile(q: Array, volume: Array) -> Array:
        """log p / N where the residual is q and the log-determinant is ``volume``."""
        noise = np.maximum(q, least)
        return np.asarray(-0.5 * (np.log(2 * np.pi * noise / rows) + q / noise + volume / rows))

    nothing = profile(total, np.zeros_like(total))  # t to infinity: all weights are zero
    if not len(values):
        return nothing
    grid = np.arange(np.log(LEAST_NOISE * values.min()) - 5, np.log(values.max()) + 18, STEP)  # [G]
    share = np.exp(grid)[:, None] / (np.exp(grid)[:, None] + values.T)  # [G,r]
    volume = -np.log(share).sum(axis=1)  # [G]
    best = grid[profile(rest + share @ power, volume[:, None]).argmax(axis=0)]  # [C]

    def at(log_t: Array) -> Array:
        t = np.exp(log_t)
        shares = t / (t + values)  # [r,C]
        return profile(rest + np.einsum("rc,rc->c", shares, power), -np.log(shares).sum(axis=0))

    return np.asarray(np.maximum(_golden(at, best - STEP, best + STEP), nothing))


def _golden(function: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """The maxima [C] of C functions of one number, each with one peak between low [C] and high [C]."""
    ratio = (np.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(REFINEMENTS):
        lower = at_left > at_right  # the peak is below `right`
        low, high = np.where(lower, low, left), np.where(lower, right, high)
        fresh = np.where(lower, high - ratio * (high - low), low + ratio * (high - low))
        at_fresh = function(fresh)
        left, right = np.where(lower, fresh, right), np.where(lower, left, fresh)
        at_left, at_right = np.where(lower, at_fresh, at_right), np.where(lower, at_left, at_fresh)
    return np.asarray(np.maximum(at_left, at_right))
