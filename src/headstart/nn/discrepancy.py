"""How far apart two samples lie: maximum mean discrepancy, proxy A-distance, sliced Wasserstein distance.

    MMD²(X, Z) = mean k(x, x') + mean k(z, z') - 2 mean k(x, z)            Gretton et al. 2012, JMLR 13, equations 2, 5
    A = 2 (1 - 2 e)     e: error of a classifier that tells the samples apart    Ben-David et al. 2007, NeurIPS 19
    SW² = mean over directions of the squared distance of sorted projections     Bonneel et al. 2015, JMIV 51

Samples that do not differ give about 0 in each; A is 2 where every row can be told.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, TypeAlias

import numpy as np
from threadpoolctl import threadpool_limits

from headstart.nn.kernels import gaussian, landmarks, median_gamma, squared_distances
from headstart.nn.linear import assign_folds
from headstart.nn.solvers import multinomial, rotate

Array: TypeAlias = np.ndarray

MOST = 1000  # rows of each sample that the kernel statistics read
POINTS = 200  # landmarks of the classifier of domains


class TwoSample(NamedTuple):
    """A statistic and its permutation p-value."""

    value: float
    p: float


def mmd(X: Array, Z: Array, gamma: float | None = None, weights: Array | None = None) -> float:
    """The unbiased MMD² of X [n,D] and Z [m,D]; about 0 where they have one distribution, and then it may be below 0.

    gamma: of the Gaussian kernel; by default that of the median distance in both. weights: [n] of the rows of X.
    """
    gamma = median_gamma(np.concatenate([X, Z])) if gamma is None else gamma
    w = np.full(len(X), 1 / len(X)) if weights is None else weights / weights.sum()
    within = gaussian(X, X, gamma)
    np.fill_diagonal(within, 0)
    mass = max(1 - float(w @ w), 1e-12)  # of pairs of different rows
    across = gaussian(Z, Z, gamma)
    np.fill_diagonal(across, 0)
    count = max(len(Z) - 1, 1) * len(Z)
    return float(w @ within @ w / mass + across.sum() / count - 2 * (w @ gaussian(X, Z, gamma)).mean())


def mmd_test(X: Array, Z: Array, *, permutations: int = 200, seed: int = 0) -> TwoSample:
    """The MMD² of at most 1 000 rows of each sample, and how often as much arises where the rows are shuffled."""
    X, Z = landmarks(X, MOST, seed), landmarks(Z, MOST, seed + 1)
    both, n = np.concatenate([X, Z]), len(X)
    K = gaussian(both, both, median_gamma(both, seed))
    np.fill_diagonal(K, 0)
    rng, m = np.random.default_rng(seed), len(Z)
    found = []
    for number in range(permutations + 1):
        sign = np.concatenate([np.ones(n), np.zeros(m)])
        sign = sign if number == 0 else rng.permutation(sign)
        first, second = sign / n, (1 - sign) / m
        # the diagonal is 0: pairs of different rows, of which there are n (n - 1)
        inside = first @ K @ first * n / max(n - 1, 1) + second @ K @ second * m / max(m - 1, 1)
        found.append(float(inside - 2 * first @ K @ second))
    return TwoSample(found[0], float(np.mean(np.asarray(found) >= found[0])))


def a_distance(X: Array, Z: Array, *, weights: Array | None = None, folds: int = 5, seed: int = 0) -> float:
    """The proxy A-distance of X [n,D] and Z [m,D], 0 to 2: from the balanced error of `tell_apart`, out of fold.

    weights: [n], what each row of X counts.
    """
    score = tell_apart(X, Z, weights=weights, folds=folds, seed=seed)
    w = np.ones(len(X)) if weights is None else weights
    missed = (w * (score[: len(X)] >= 0)).sum() / w.sum()
    error = (missed + (score[len(X) :] < 0).mean()) / 2
    return float(np.clip(2 * (1 - 2 * error), 0, 2))


def tell_apart(X: Array, Z: Array, *, weights: Array | None = None, folds: int = 5, seed: int = 0) -> Array:
    """Out-of-fold log-odds [n+m] that a row is of the second sample, both samples counting as much.

    A logistic regression on the features and on their Gaussian kernel with landmarks of both samples, its strength
    chosen by cross-validation.
    """
    both, label, w = _samples(X, Z, weights)
    with threadpool_limits(1):
        F = domain_features(both, seed)
        fold = assign_folds(label, None, folds, np.random.default_rng(seed))
        best: tuple[float, Array] | None = None
        for strength in (0.01, 0.1, 1.0, 10.0):
            score = _out_of_fold(F, label, w, fold, strength)
            loss = float((w * np.logaddexp(0, np.where(label == 1, -score, score))).sum())
            if best is None or loss < best[0]:
                best = loss, score
    assert best is not None
    return best[1]


def trees_tell(X: Array, Z: Array, *, weights: Array | None = None, folds: int = 3, seed: int = 0) -> Array:
    """As `tell_apart`, by boosted trees: they see at once that a column of zeros and ones was smeared."""
    import lightgbm
    import torch

    both, label, w = _samples(X, Z, weights)
    spread = both.std(axis=0)
    spread[spread <= 1e-6 * max(float(spread.max()), 1e-300)] = np.inf  # rounding errors of a constant column
    both = np.round((both - both.mean(axis=0)) / spread, 4)
    fold, score = assign_folds(label, None, folds, np.random.default_rng(seed)), np.zeros(len(both))
    settings = {
        "objective": "binary", "num_leaves": 8, "learning_rate": 0.1, "min_data_in_leaf": 10, "lambda_l2": 1.0,
        "feature_fraction": 0.5, "verbosity": -1, "seed": seed, "deterministic": True, "force_row_wise": True,
        "num_threads": torch.get_num_threads(),
    }  # fmt: skip
    for part in np.unique(fold):
        kept, left = fold != part, fold == part
        data = lightgbm.Dataset(both[kept], label=label[kept], weight=w[kept], params={"verbosity": -1})
        score[left] = np.asarray(lightgbm.train(settings, data, 60).predict(both[left], raw_score=True))
    return score


def _samples(X: Array, Z: Array, weights: Array | None) -> tuple[Array, Array, Array]:
    """The rows of both [n+m,D], which sample each is of, and what it counts: both samples as much, 1 on average."""
    both = np.concatenate([X, Z]).astype(np.float64)
    w = np.ones(len(X)) if weights is None else np.asarray(weights, np.float64)
    w = np.concatenate([w / max(w.sum(), 1e-300), np.full(len(Z), 1 / len(Z))]) * len(both) / 2
    return both, np.repeat([0, 1], [len(X), len(Z)]), w


def domain_features(both: Array, seed: int = 0) -> Array:
    """What the classifier of domains reads: standardised columns, and a kernel with landmarks, of mean norm 1 each."""
    Z = (both - both.mean(axis=0)) / np.maximum(both.std(axis=0), 1e-9)
    K = gaussian(Z, landmarks(Z, POINTS, seed), median_gamma(Z, seed))
    K -= K.mean(axis=0)
    blocks = [Z, K]
    return np.hstack([block / max(float(np.sqrt((block**2).sum(axis=1).mean())), 1e-12) for block in blocks])


def _out_of_fold(F: Array, label: Array, weights: Array, fold: Array, strength: float) -> Array:
    """Log-odds [n] by logistic regression on the other folds."""
    score = np.zeros(len(F))
    for part in np.unique(fold):
        kept, left = fold != part, fold == part
        weight, bias = multinomial(replace(rotate(F[kept]), weight=weights[kept]), label[kept], 2, strength)
        logits = F[left] @ weight.T + bias
        score[left] = logits[:, 1] - logits[:, 0]
    return score


def sliced_wasserstein(X: Array, Z: Array, *, directions: int = 100, seed: int = 0) -> float:
    """The root of the mean squared distance of the sorted projections of X [n,D] and Z [m,D] on random directions.

    In units of the root mean square norm of the centred rows of both.
    """
    rng = np.random.default_rng(seed)
    both = np.concatenate([X, Z]).astype(np.float64)
    scale = float(np.sqrt(((both - both.mean(axis=0)) ** 2).sum(axis=1).mean())) or 1.0
    axes = rng.normal(size=(both.shape[1], directions))
    axes /= np.linalg.norm(axes, axis=0)
    levels = (np.arange(200) + 0.5) / 200
    first, second = (np.quantile(np.asarray(sample, np.float64) @ axes, levels, axis=0) for sample in (X, Z))
    return float(np.sqrt(((first - second) ** 2).mean())) * float(np.sqrt(both.shape[1])) / scale


def nearest(X: Array, Z: Array) -> Array:
    """The row of Z [m,D] nearest to each row of X: int [n]."""
    return np.concatenate([squared_distances(part, Z).argmin(axis=1) for part in np.array_split(X, len(X) // 1000 + 1)])
