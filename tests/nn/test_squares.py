"""Least squares on class indicators: rows left out without a fit for each fold; its mean with the logistic head."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.nn.linear import SEARCH_ITEMS, assign_folds, fit_linear
from headstart.nn.solvers import ridge, rotate
from headstart.nn.squares import LeftOut
from headstart.tasks.classification import Classification
from headstart.tasks.regression import Regression


def _classes(rows: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three Gaussians of one covariance that overlap, X [n,D] and y [n]."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, rows)
    means = rng.normal(size=(3, width)) * 1.3 / np.sqrt(width)
    return (means[y] + rng.normal(size=(rows, width)) / np.sqrt(width)).astype(np.float64), y


@pytest.mark.parametrize("shape", [(90, 12), (40, 70)])
@pytest.mark.parametrize("weighted", [False, True])
def test_left_out_is_what_a_fit_without_the_fold_says(shape: tuple[int, int], weighted: bool) -> None:
    X, y = _classes(*shape)
    rng = np.random.default_rng(1)
    weight = rng.uniform(0.2, 3, len(y)) if weighted else None
    fold, Y = rng.integers(0, 4, len(y)), np.eye(3)[y]
    basis = rotate(X) if weight is None else rotate(X).__class__(**{**vars(rotate(X)), "weight": weight})
    squares = LeftOut(basis, Y, fold)
    found = squares.outputs(7.0)
    for k in range(4):
        kept, left = fold != k, fold == k
        part = rotate(X[kept])
        if weight is not None:
            part = part.__class__(**{**vars(part), "weight": weight[kept]})
        W, b = ridge(part, Y[kept], 7.0)
        np.testing.assert_allclose(found[left], X[left] @ W.T + b, atol=1e-6)
    W, b = squares.head(7.0)
    V, c = ridge(basis, Y, 7.0)
    np.testing.assert_allclose(X @ W.T + b, X @ V.T + c, atol=1e-6)


def test_the_mean_of_both_heads_is_one_linear_head() -> None:
    X, y = _classes(300, 40)
    task = Classification(["a", "b", "c"])
    fit = fit_linear(task, X, y, seed=0)
    assert fit.squares is not None
    alone = fit_linear(task, X, y, seed=0, strengths=[fit.strength])
    assert alone.squares is None  # a strength that was given is the logistic head's, and it stands alone
    assert fit.cv_score >= alone.cv_score
    other = fit.weight * 2 - alone.weight  # what is left is ridge regression on indicators, up to a factor
    scale = np.sqrt(X.var(axis=0).sum())
    W, _ = ridge(X / scale, np.eye(3)[y] - 1 / 3, fit.squares)
    assert np.corrcoef(other.ravel(), W.ravel())[0, 1] > 0.999
    assert fit.cv_outputs.shape == (300, 3)


def test_the_mean_has_less_loss_on_new_rows() -> None:
    """Gaussians of one covariance, 1 000 new rows, 8 draws: the mean of both heads against the logistic one."""
    task, gains = Classification(["a", "b", "c"]), []
    for seed in range(8):
        X, y = _classes(1120, 60, seed)
        fit = fit_linear(task, X[:120], y[:120], seed=0)
        alone = fit_linear(task, X[:120], y[:120], seed=0, strengths=[fit.strength])
        losses = [task.metrics(X[120:] @ f.weight.T + f.bias, y[120:])["log_loss"] for f in (alone, fit)]
        gains.append(losses[0] - losses[1])
    assert np.mean(gains) > 0


def test_only_classes_of_rows_that_were_searched_have_it() -> None:
    X, y = _classes(SEARCH_ITEMS + 50, 3)
    assert fit_linear(Classification(["a", "b", "c"]), X, y, seed=0).squares is None
    numbers = X[:100, :1] + 0.1 * y[:100, None]
    assert fit_linear(Regression(0.0, 1.0), X[:100], numbers, seed=0).squares is None


def test_rows_of_a_group_are_left_out_together() -> None:
    """Every row twice: were its twin not left out with it, the outputs out of fold would give the class away."""
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(60, 200)), 2, axis=0)
    y = np.repeat(rng.integers(0, 3, 60), 2)
    groups = np.repeat(np.arange(60), 2)
    fold = assign_folds(y, groups, 5, np.random.default_rng(0))
    found = LeftOut(rotate(X), np.eye(3)[y], fold).outputs(100.0)
    assert (found.argmax(axis=1) == y).mean() < 0.6
    torn = LeftOut(rotate(X), np.eye(3)[y], np.arange(120) % 2).outputs(100.0)
    assert (torn.argmax(axis=1) == y).mean() > 0.9
