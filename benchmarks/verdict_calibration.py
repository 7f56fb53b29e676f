"""How often the verdict calls two equally good models different. Run: python benchmarks/verdict_calibration.py

Each line is 1 000 simulated pairs without a true difference. Bar: neutral in at least 93 %. The first table draws the
rows' outcomes of two models (correlated errors) and compares the interval that Headstart uses with the bare percentile
interval; the second fits real learners: the same learner on two independent, equally informative views of the data.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np

from headstart.evidence.folds import repeated_folds
from headstart.evidence.verdict import Combine, corrected_kfold, paired_bootstrap, resampled_sums

Array = np.ndarray
Pair = tuple[Array, Array]


def accuracy(sums: Array) -> Array:
    """Sums of (correct, rows)."""
    return np.asarray(sums[..., 0] / sums[..., 1])


def f1(sums: Array) -> Array:
    """Sums of (true positive, predicted, true)."""
    return np.asarray(2 * sums[..., 0] / np.maximum(sums[..., 1] + sums[..., 2], 1e-12))


def r2(sums: Array) -> Array:
    """Sums of (y, y², squared error, rows)."""
    return np.asarray(1 - sums[..., 2] / np.maximum(sums[..., 1] - sums[..., 0] ** 2 / sums[..., 3], 1e-12))


def accuracy_pair(rng: np.random.Generator, rows: int, level: float, correlation: float) -> Pair:
    """Two models of the same true accuracy whose errors fall together as much as ``correlation`` says."""
    from scipy.stats import norm

    both = rng.normal(size=rows)
    right = []
    for _ in range(2):
        score = np.sqrt(correlation) * both + np.sqrt(1 - correlation) * rng.normal(size=rows)
        right.append(np.column_stack([score < norm.ppf(level), np.ones(rows)]).astype(float))
    return right[0], right[1]


def f1_pair(rng: np.random.Generator, rows: int, level: float, correlation: float) -> Pair:
    """Two taggers: 0 to 6 entities a sentence, each found with probability ``level`` that varies by sentence."""
    true = rng.poisson(1.5, size=rows)
    shared = rng.normal(size=rows) * np.sqrt(correlation)
    found = []
    for _ in range(2):
        logit = np.log(level / (1 - level)) + shared + np.sqrt(1 - correlation) * rng.normal(size=rows)
        hits = rng.binomial(true, 1 / (1 + np.exp(-logit)))
        found.append(np.column_stack([hits, hits + rng.poisson(0.3, size=rows), true]).astype(float))
    return found[0], found[1]


def r2_pair(rng: np.random.Generator, rows: int, level: float, correlation: float) -> Pair:
    """Two regressors of the same R² with heavy-tailed (t, 4 degrees of freedom), correlated errors."""
    y = rng.normal(size=rows)
    shared = rng.standard_t(4, size=rows)
    found = []
    for _ in range(2):
        error = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * rng.standard_t(4, size=rows)
        found.append(np.column_stack([y, y**2, (1 - level) / 2 * error**2, np.ones(rows)]))
    return found[0], found[1]


KINDS: dict[str, tuple[Callable[..., Pair], Combine]] = {
    "accuracy": (accuracy_pair, accuracy),
    "F1": (f1_pair, f1),
    "R²": (r2_pair, r2),
}


def bootstrap_trials(
    kind: str, trials: int, rows: int, level: float, correlation: float, seed: int, resamples: int = 10_000
) -> Iterator[tuple[bool, bool]]:
    """(neutral by Headstart's interval, neutral by the bare percentile interval) of each null pair."""
    draw, combine = KINDS[kind]
    rng = np.random.default_rng(seed)
    for trial in range(trials):
        a, b = draw(rng, rows, level, correlation)
        ours = paired_bootstrap(a, b, combine, seed=trial, resamples=resamples)
        sums = resampled_sums(np.hstack([a, b]), resamples, np.random.default_rng(trial))
        low, high = np.quantile(combine(sums[:, : a.shape[1]]) - combine(sums[:, a.shape[1] :]), [0.025, 0.975])
        yield ours.low <= 0 <= ours.high, bool(low <= 0 <= high)


def nearest_mean(X: Array, y: Array, Z: Array) -> Array:
    """Classes of the nearest class means."""
    means = np.stack([X[y == c].mean(axis=0) for c in range(int(y.max()) + 1)])
    return np.asarray(((Z[:, None, :] - means) ** 2).sum(axis=2).argmin(axis=1))


def ridge(X: Array, y: Array, Z: Array) -> Array:
    """Classes by ridge regression on one-hot targets."""
    targets = np.eye(int(y.max()) + 1)[y]
    center = X.mean(axis=0)
    W = np.linalg.solve((X - center).T @ (X - center) + 5 * np.eye(X.shape[1]), (X - center).T @ (targets - 0.5))
    return np.asarray(((Z - center) @ W + targets.mean(axis=0)).argmax(axis=1))


LEARNERS = {"nearest mean": nearest_mean, "ridge": ridge}


def kfold_trials(learner: str, trials: int, rows: int, signal: float, seed: int, classes: int = 3) -> Iterator[bool]:
    """Neutral or not, for the learner on two views [N,20]: the same class means, noise of their own."""
    fit = LEARNERS[learner]
    rng = np.random.default_rng(seed)
    for trial in range(trials):
        y = rng.permutation(np.arange(rows) % classes)
        means = signal * rng.normal(size=(classes, 20))
        views = [means[y] + rng.normal(size=(rows, 20)) for _ in range(2)]
        folds = repeated_folds(rows, y, seed=trial)
        differences = []
        for train, test in folds:
            right = [(fit(X[train], y[train], X[test]) == y[test]).mean() for X in views]
            differences.append(right[0] - right[1])
        interval = corrected_kfold(differences, rows / 5, rows * 4 / 5)
        yield interval.low <= 0 <= interval.high


def _cells() -> Iterator[tuple[str, int, float, float]]:
    """Kind, rows, level and correlation of each line of the first table."""
    for rows in (100, 400, 1_000, 4_000):
        for level in (0.6, 0.9, 0.98):
            for correlation in (0.3, 0.9):
                yield "accuracy", rows, level, correlation
    for kind in ("F1", "R²"):
        for rows in (100, 400, 1_000):
            for correlation in (0.3, 0.9):
                yield kind, rows, 0.8, correlation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1_000)
    parser.add_argument("--resamples", type=int, default=2_000)
    args = parser.parse_args()
    print(f"{args.trials:,} null pairs a line; share of neutral verdicts\n")
    print(
        f"{'paired bootstrap':<18}{'rows':>6}{'level':>7}{'corr.':>7}{'Headstart':>11}{'percentile':>12}{'seconds':>9}"
    )
    for kind, rows, level, correlation in _cells():
        start = time.perf_counter()
        trials = bootstrap_trials(kind, args.trials, rows, level, correlation, 1, args.resamples)
        ours, bare = np.mean(list(trials), axis=0)
        seconds = time.perf_counter() - start
        line = f"{kind:<18}{rows:>6}{level:>7}{correlation:>7}{ours:>11.1%}{bare:>12.1%}{seconds:>9.1f}"
        print(line, flush=True)
    print(f"\n{'corrected k-fold':<18}{'rows':>6}{'signal':>8}{'Headstart':>11}{'seconds':>9}")
    for learner in LEARNERS:
        for rows in (40, 100, 300, 1_000):
            for signal in (0.15, 0.4):
                start = time.perf_counter()
                neutral = np.mean(list(kfold_trials(learner, args.trials, rows, signal, 1)))
                seconds = time.perf_counter() - start
                print(f"{learner:<18}{rows:>6}{signal:>8}{neutral:>11.1%}{seconds:>9.1f}", flush=True)


if __name__ == "__main__":
    main()
