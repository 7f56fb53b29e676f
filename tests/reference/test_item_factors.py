"""Alternating least squares against ``implicit``, and with a prior against the condition that defines it."""

import warnings

import numpy as np
import pytest
from scipy import sparse

from headstart.nn.item_factors import ItemFactors, drawn, rows_given


def interactions(users=80, items=50, seed=0):
    return sparse.csr_array((np.random.default_rng(seed).random((users, items)) < 0.2).astype(np.float32))


@pytest.mark.parametrize("alpha", [1.0, 5.0])
def test_without_a_prior_it_is_als_of_implicit(alpha):
    from implicit.cpu.als import AlternatingLeastSquares

    X, sweeps, ridge = interactions(), 4, 2.0
    start = np.random.default_rng(1).normal(0, 0.3, (50, 6)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = AlternatingLeastSquares(6, ridge, alpha, use_cg=False, iterations=sweeps, num_threads=1)
        peer.item_factors = start.copy()
        peer.fit(sparse.csr_matrix(X), show_progress=False)
    ours = drawn(X, np.zeros_like(start), np.full(50, ridge), alpha, ridge, sweeps, start=start)
    np.testing.assert_allclose(ours, peer.item_factors, atol=2e-4)
    new = interactions(9, seed=2)
    folded = peer.recalculate_user(np.arange(9), sparse.csr_matrix(new))
    np.testing.assert_allclose(rows_given(peer.item_factors, new, alpha, ridge), folded, atol=2e-5)
    np.testing.assert_allclose(
        ItemFactors(peer.item_factors, alpha, ridge).told(new), folded @ peer.item_factors.T, atol=1e-4
    )


@pytest.mark.parametrize("alpha", [1.0, 5.0])
def test_with_a_prior_the_gradient_is_zero(alpha):
    rng = np.random.default_rng(0)
    X, other = interactions(30, 50), rng.normal(0, 0.5, (50, 6)).astype(np.float32)
    ridge, towards = rng.uniform(0.5, 50, 30), rng.normal(size=(30, 6)).astype(np.float32)
    found = rows_given(other, X, alpha, ridge, towards).astype(np.float64)
    dense = X.toarray()
    weight = np.where(dense > 0, alpha, 1.0)
    slope = (weight * (found @ other.T - dense)) @ other + ridge[:, None] * (found - towards)
    assert np.abs(slope).max() < 1e-3


def test_rows_come_in_parts_and_an_empty_row_is_the_prior(monkeypatch):
    X, other = interactions(30, 50), np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    whole = rows_given(other, X, 3.0, 1.0)
    monkeypatch.setattr("headstart.nn.item_factors.ENTRIES", 15)
    np.testing.assert_allclose(rows_given(other, X, 3.0, 1.0), whole, atol=1e-5)
    assert not rows_given(other, sparse.csr_array((2, 50), dtype=np.float32), 3.0, 1.0).any()


def test_the_pull_grows_with_the_strength_and_only_where_it_is_known():
    X = interactions()
    prior = np.random.default_rng(0).normal(0, 0.3, (50, 6)).astype(np.float32)
    away = [np.abs(drawn(X, prior, np.full(50, s), 2.0, 1.0, 2) - prior).max() for s in (0.1, 10.0, 1e5, np.inf)]
    assert away[0] > away[1] > away[2] > away[3] == 0 and away[2] < 1e-2
    prior[:5] = 0
    half = drawn(X, prior, np.where(np.arange(50) < 5, 1.0, np.inf), 2.0, 1.0, 2)
    np.testing.assert_array_equal(half[5:], prior[5:])
    assert np.abs(half[:5]).min(axis=1).max() > 0
