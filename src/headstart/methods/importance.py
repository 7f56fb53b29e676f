"""Importance weighting: labelled rows count as often as their like occurs in the target domain.

w(x) = p_t(x) / p_s(x), which is found without either density:

    discriminator  w = (1 - P(source|x)) / P(source|x), by a classifier of domains, out of fold  (Bickel et al. 2009)
    kmm            min over 0 <= w <= B of |mean w_i phi(x_i) - mean phi(t_j)|²                   (Huang et al. 2007)
    kliep          w(x) = sum_l a_l k(x, c_l),  max over a of mean log w(t),  mean w(x) = 1     (Sugiyama et al. 2008)

Shimodaira 2000 is the reason why it works where the shift is covariate: p(y|x) is the same in both domains. Weights are
cut at ``largest`` times their mean; with few rows of great weight left, there is little to learn from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headstart.methods.adaptation import Adaptation, Aligned, Domains
from headstart.methods.base import hyper
from headstart.nn.discrepancy import nearest, tell_apart
from headstart.nn.kernels import gaussian, landmarks, median_gamma
from headstart.tasks.base import Array


@dataclass(frozen=True)
class Importance(Adaptation):
    """Labelled rows count as often as their like occurs in the target domain."""

    name: ClassVar[str] = "importance"
    paper: ClassVar[str] = "Shimodaira 2000; Huang et al. 2007; Sugiyama et al. 2008; Bickel et al. 2009"

    estimator: str = hyper("discriminator", "of the weights", choices=("discriminator", "kmm", "kliep"))
    largest: float = hyper(20.0, "largest weight, in units of the mean", low=1.0, high=1e6)

    def align(self, domains: Domains) -> Aligned:
        """The labelled rows with their weights."""
        estimate = {"discriminator": by_discriminator, "kmm": by_kernel_mean, "kliep": by_likelihood}[self.estimator]
        w = estimate(domains.X, domains.target, domains.seed)
        w = np.minimum(w, self.largest * max(float(w.mean()), 1e-300))
        w = w / max(float(w.mean()), 1e-300)
        return Aligned(domains.X, weights=w, history={"effective rows": effective(w)})


def effective(w: Array) -> float:
    """How many rows of equal weight tell as much: (sum w)² / sum w²; Kish 1965."""
    return float(w.sum() ** 2 / max(float((w**2).sum()), 1e-300))


def by_discriminator(X: Array, target: Array, seed: int = 0) -> Array:
    """Weights [n] of X [n,D] from the out-of-fold odds of a classifier of the domains."""
    return np.asarray(np.exp(np.clip(tell_apart(X, target, seed=seed)[: len(X)], -20, 20)))


def by_kernel_mean(X: Array, target: Array, seed: int = 0, *, bound: float = 1000.0, most: int = 2000) -> Array:
    """Kernel mean matching: weights [n] of X [n,D]. Of more than ``most`` rows, the others take that of the nearest."""
    chosen = np.sort(np.random.default_rng(seed).permutation(len(X))[:most])
    rows, goals = X[chosen], landmarks(target, most, seed + 1)
    gamma = median_gamma(np.concatenate([rows, goals]), seed)
    w = matched(gaussian(rows, rows, gamma), gaussian(rows, goals, gamma).mean(axis=1), bound)
    return w if len(rows) == len(X) else w[nearest(X, rows)]


def matched(K: Array, aim: Array, bound: float, rounds: int = 2000) -> Array:
    """argmin over 0 <= w <= bound of w' K w / (2 n) - w' aim, by accelerated projected gradients: [n]."""
    n = len(K)
    step = 1 / max(float(np.linalg.norm(K, 2)) / n, 1e-12)
    w = ahead = np.ones(n)
    momentum = 1.0
    for _ in range(rounds):
        new = np.clip(ahead - step * (K @ ahead / n - aim), 0, bound)
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / following * (new - w)
        if np.abs(new - w).max() < 1e-6:
            return np.asarray(new)
        w, momentum = new, following
    return np.asarray(w)


def by_likelihood(X: Array, target: Array, seed: int = 0, *, points: int = 100, rounds: int = 500) -> Array:
    """KLIEP: weights [n] of X [n,D]; the width of the kernel by the likelihood of target rows left out."""
    centres = landmarks(np.asarray(target, np.float64), points, seed)
    base = median_gamma(np.concatenate([X, target]), seed)
    fold = np.random.default_rng(seed).permutation(len(target)) % 3
    best: tuple[float, float] | None = None
    for width in (0.1, 0.3, 1.0, 3.0, 10.0):
        A, b = gaussian(target, centres, width * base), gaussian(X, centres, width * base).mean(axis=0)
        score = 0.0
        for part in range(3):
            alpha = likeliest(A[fold != part], b, rounds)
            score += float(np.log(np.maximum(A[fold == part] @ alpha, 1e-12)).sum())
        if best is None or score > best[0]:
            best = score, width * base
    assert best is not None
    gamma = best[1]
    within = gaussian(X, centres, gamma)
    return np.asarray(within @ likeliest(gaussian(target, centres, gamma), within.mean(axis=0), rounds))


def likeliest(A: Array, b: Array, rounds: int) -> Array:
    """argmax over a >= 0 with b'a = 1 of sum log A a: [p]. A: [m,p]. b: [p].

    By expectation maximisation: a_l is b_l^-1 times the share of the rows that kernel l explains.
    """
    b = np.maximum(b, 1e-300)
    alpha = np.full(len(b), 1 / (len(b))) / b
    for _ in range(rounds):
        inside = np.maximum(A @ alpha, 1e-300)
        new = alpha * (A / inside[:, None]).mean(axis=0) / b
        new /= float(b @ new)
        if np.abs(new - alpha).max() <= 1e-6 * np.abs(alpha).max():
            return np.asarray(new)
        alpha = new
    return np.asarray(alpha)
