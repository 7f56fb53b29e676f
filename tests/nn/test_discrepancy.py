"""Distances of two samples: what they are where nothing differs, and against other libraries."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.nn.discrepancy import a_distance, mmd, mmd_test, nearest, sliced_wasserstein, tell_apart
from headstart.nn.kernels import gaussian, landmarks, median_gamma, squared_distances


def samples(shift, n=300, m=250, width=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, width)), rng.normal(size=(m, width)) + shift


def test_what_does_not_differ_is_at_no_distance():
    X, Z = samples(0.0)
    assert abs(mmd(X, Z)) < 0.01 and mmd_test(X, Z).p > 0.05
    assert a_distance(X, Z) < 0.35 and sliced_wasserstein(X, Z) < 0.25


def test_what_differs_is_apart():
    X, Z = samples(2.0)
    assert mmd_test(X, Z).p < 0.01 and mmd(X, Z) > 0.2
    assert a_distance(X, Z) > 1.8 and sliced_wasserstein(X, Z) > sliced_wasserstein(*samples(0.5)) > 0.2


def test_p_values_are_even_where_nothing_differs():
    found = [mmd_test(*samples(0.0, 60, 50, 2, seed), permutations=60, seed=seed).p for seed in range(60)]
    assert 0.35 < np.mean(found) < 0.65 and np.mean(np.array(found) < 0.1) < 0.25


def test_the_unbiased_estimate_is_that_of_its_definition():
    X, Z = samples(0.7, 12, 9, 3)
    gamma = median_gamma(np.concatenate([X, Z]))
    k = lambda a, b: np.exp(-gamma * ((a - b) ** 2).sum())  # noqa: E731
    inside = np.mean([k(X[i], X[j]) for i in range(12) for j in range(12) if i != j])
    across = np.mean([k(Z[i], Z[j]) for i in range(9) for j in range(9) if i != j])
    between = np.mean([k(x, z) for x in X for z in Z])
    assert mmd(X, Z) == pytest.approx(inside + across - 2 * between)
    assert mmd(X, Z, weights=np.ones(12)) == pytest.approx(mmd(X, Z))
    assert mmd_test(X, Z).value == pytest.approx(mmd(X, Z))


def test_weights_can_make_samples_alike():
    X, Z = samples(1.0, 800, 500, 1)
    w = np.exp(X[:, 0] - 0.5)
    assert mmd(X, Z, weights=w) < mmd(X, Z) / 5
    assert a_distance(X, Z, weights=w) < 0.3 < a_distance(X, Z)


def test_sliced_wasserstein_of_one_column_is_the_wasserstein_distance():
    ot = pytest.importorskip("ot")
    X, Z = samples(1.5, 400, 400, 1)
    scale = np.concatenate([X, Z]).std()
    theirs = np.sqrt(ot.wasserstein_1d(X[:, 0], Z[:, 0], p=2)) / scale
    assert sliced_wasserstein(X, Z) == pytest.approx(float(theirs), rel=0.02)


def test_scores_tell_the_second_sample():
    X, Z = samples(1.5)
    score = tell_apart(X, Z)
    assert (score[: len(X)] < 0).mean() > 0.9 < (score[len(X) :] > 0).mean()


def test_kernels_and_neighbours():
    X, Z = samples(0.5, 20, 15)
    true = ((X[:, None] - Z[None]) ** 2).sum(axis=2)
    assert np.allclose(squared_distances(X, Z), true)
    assert np.allclose(gaussian(X, Z, 0.3), np.exp(-0.3 * true))
    assert np.array_equal(nearest(X, Z), true.argmin(axis=1))
    assert landmarks(X, 5).shape == (5, 4) and landmarks(X, 50) is X
    assert median_gamma(np.zeros((4, 2))) == 1.0
