"""EASE against its paper, and with a prior against the condition that defines it."""

import numpy as np
import pytest
from scipy import sparse

from headstart.nn.ease import carried, ease, stand_ins, told_by_content


def history(users, items, seed=0):
    return sparse.csr_array((np.random.default_rng(seed).random((users, items)) < 0.2).astype(np.float32))


@pytest.mark.parametrize("users", [15, 90])  # by [N,N] and by [I,I]
def test_without_a_prior_it_is_steck_2019(users):
    X = history(users, 40)
    G = (X.T @ X).toarray().astype(np.float64)
    P = np.linalg.inv(G + 5.0 * np.eye(40))
    B = P / -np.diag(P)  # algorithm 1 of the paper
    B[np.diag_indices(40)] = 0
    np.testing.assert_allclose(ease(X, 5.0), B, atol=1e-4)


@pytest.mark.parametrize("users", [15, 90])
def test_with_a_prior_the_gradient_is_zero_off_the_diagonal(users):
    X = history(users, 40)
    B = 0.1 * np.random.default_rng(1).normal(size=(40, 40))
    B[np.diag_indices(40)] = 0
    W = ease(X, 3.0, B).astype(np.float64)
    G = (X.T @ X).toarray()
    slope = G @ W - G + 3.0 * (W - B)  # half the gradient of |X - XW|^2 + s |W - B|^2
    slope[np.diag_indices(40)] = 0
    assert np.abs(slope).max() < 1e-3 and np.abs(np.diag(W)).max() == 0


def test_the_pull_grows_with_the_strength():
    X = history(30, 40)
    B = np.full((40, 40), 0.2)
    B[np.diag_indices(40)] = 0
    away = [np.abs(ease(X, strength, B) - B).max() for strength in (1.0, 100.0, 1e5)]
    assert away[0] > away[1] > away[2] and away[2] < 1e-2
    np.testing.assert_allclose(ease(X, np.inf, B), B, atol=1e-6)
    assert not ease(X, np.inf).any()


def test_columns_told_by_content_leave_their_own_out():
    rng = np.random.default_rng(0)
    V, W = rng.normal(size=(12, 5)), rng.normal(size=(7, 12))
    inside, outside = told_by_content(W[:, :11], V[:11], V[11:], 0.5)
    assert outside.shape == (7, 1)
    kernel = V[:11] @ V[:11].T
    shift = 0.5 * np.trace(kernel) / 11
    for item in (0, 7):
        rest = np.delete(np.arange(11), item)
        weights = np.linalg.solve(kernel[np.ix_(rest, rest)] + shift * np.eye(10), kernel[rest, item])
        np.testing.assert_allclose(inside[:, item], W[:, rest] @ weights, atol=1e-3)
    weights = np.linalg.solve(kernel + shift * np.eye(11), V[:11] @ V[11])
    np.testing.assert_allclose(outside[:, 0], W[:, :11] @ weights, atol=1e-3)


def test_stand_ins_are_a_kernel_ridge_regression_and_carry_weights():
    rng = np.random.default_rng(0)
    own, others, W = rng.normal(size=(9, 4)), rng.normal(size=(6, 4)), rng.normal(size=(9, 9))
    W[np.diag_indices(9)] = 0
    A = stand_ins(own, others, 0.5)
    kernel = own @ own.T
    by_hand = np.linalg.solve(kernel + 0.5 * np.trace(kernel) / 9 * np.eye(9), own @ others.T)
    np.testing.assert_allclose(A, by_hand, rtol=1e-3, atol=1e-4)
    B = carried(W, A)
    plain = by_hand.T @ W @ by_hand
    plain[np.diag_indices(6)] = 0
    np.testing.assert_allclose(B / B[0, 1], plain / plain[0, 1], rtol=1e-2, atol=1e-3)
    assert np.square(B).sum() / 6 == pytest.approx(np.square(W).sum() / 9, rel=1e-3) and not np.diag(B).any()
    np.testing.assert_allclose(carried(W, np.eye(9)), W, atol=1e-5)
