"""A weight column: rows count in every training loss as often as it says, and in no metric."""

from __future__ import annotations

import datasets
import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge

from headstart.datasets.base import Column, Dataset
from headstart.errors import DataError
from headstart.methods.base import Problem
from headstart.methods.baseline import Baseline
from headstart.methods.network import Rows
from headstart.nn.boosting import fit_boosting
from headstart.nn.linear import fit_linear
from headstart.sources.identity import Identity
from headstart.tasks.classification import Classification
from headstart.tasks.multilabel import Multilabel
from headstart.tasks.regression import Regression
from headstart.tasks.token_labels import TokenLabels

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(120, 5))
TIMES = DRAW.integers(0, 4, 120)
WEIGHTS = TIMES / TIMES.mean()
NOISE = DRAW.normal(size=120)
REPEATED = np.repeat(np.arange(120), TIMES)


def head(task, rows, y, weights=None, X=X):
    fit = fit_linear(task, X[rows], y[rows], strengths=[1.0], weights=weights)
    return fit.weight, fit.bias


@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_heads_are_those_of_scikit_learn(classes):
    y = np.digitize(X[:, 0] + NOISE, [-0.5, 0.8][: classes - 1])
    everything = np.arange(120)
    fit = fit_linear(Classification(list(range(classes))), X, y, strengths=[1.0], weights=WEIGHTS)
    scale = np.sqrt(X.var(axis=0).sum())  # the strength is relative to features of mean square norm 1
    peer = LogisticRegression(C=1.0, tol=1e-8, max_iter=5000).fit(X / scale, y, sample_weight=WEIGHTS)
    logits = X @ fit.weight.T + fit.bias
    ours = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(ours, peer.predict_proba(X / scale), atol=2e-3)
    plain = head(Classification(list(range(classes))), everything, y)[0]
    assert np.abs(plain - fit.weight).max() > 0.01


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_ridge_is_that_of_scikit_learn(form):
    y = (X[:, :1] + NOISE[:, None]).round(3)
    fit = fit_linear(Regression(0.0, 1.0), form(X), y, strengths=[0.5], weights=WEIGHTS)
    scale = np.sqrt(X.var(axis=0).sum())
    peer = Ridge(alpha=2.0).fit(X / scale, y, sample_weight=WEIGHTS)
    np.testing.assert_allclose(fit.weight, np.atleast_2d(peer.coef_) / scale, atol=1e-4)
    np.testing.assert_allclose(fit.bias, np.ravel(peer.intercept_), atol=1e-4)


def test_a_label_of_many_is_weighted_too():
    y = (X[:, :2] + NOISE[:, None] > 0).astype(float)
    weighted, plain = (head(Multilabel(["a", "b"]), np.arange(120), y, w)[0] for w in (WEIGHTS, None))
    one = head(Classification([0, 1]), np.arange(120), y[:, 0].astype(int), WEIGHTS)[0]
    np.testing.assert_allclose(weighted[0], one[1] - one[0], atol=1e-3)
    assert np.abs(weighted - plain).max() > 0.01


def test_words_take_the_weight_of_their_row():
    y = (X[:, 0] + NOISE > 0).astype(int)
    task, owner = TokenLabels(["O", "B-x"]), np.repeat(np.arange(40), 3)
    by_row = np.where(np.arange(40) % 2, 2.0, 0.0)
    fit = fit_linear(task, X, y, owner=owner, strengths=[1.0], weights=by_row)
    kept = np.flatnonzero(np.repeat(by_row, 3))
    scale, own = np.sqrt(X.var(axis=0).sum()), np.sqrt(X[kept].var(axis=0).sum())
    alone = fit_linear(task, X[kept], y[kept], owner=np.repeat(np.arange(20), 3), strengths=[2.0 * (own / scale) ** 2])
    np.testing.assert_allclose(fit.weight, alone.weight, atol=2e-3)


def test_the_chosen_strength_works_with_weights_and_metrics_count_every_row_once():
    y = (X[:, 0] > 0).astype(int)
    y[TIMES == 0] = 1 - y[TIMES == 0]  # wrong labels that count nothing
    fit = fit_linear(Classification([0, 1]), X, y, weights=WEIGHTS)
    right = (X @ (fit.weight[1] - fit.weight[0]) > 0) == (X[:, 0] > 0)
    assert right.mean() > 0.93
    assert fit.cv_score == pytest.approx((fit.cv_outputs.argmax(1) == y).mean()) and fit.cv_score < 0.85


def test_boosted_trees_leave_out_rows_of_no_weight():
    y = (X[:, 0] > 0).astype(int)
    y[TIMES == 0] = 1 - y[TIMES == 0]
    trees, _ = fit_boosting(Classification([0, 1]), X, y, weights=WEIGHTS, folds=3)
    plain, _ = fit_boosting(Classification([0, 1]), X, y, folds=3)
    truth = X[:, 0] > 0
    assert ((trees.outputs(X)[:, 1] > 0) == truth).mean() > ((plain.outputs(X)[:, 1] > 0) == truth).mean() + 0.05


@pytest.mark.parametrize(
    ("task", "output", "target"),
    [
        (Classification([0, 1, 2]), torch.randn(3, 3), torch.tensor([0, 2, 1])),
        (Multilabel(["a", "b"]), torch.randn(3, 2), torch.tensor([[0.0, 1], [1, 1], [0, 0]])),
        (Regression(0.0, 1.0), torch.randn(3, 1), torch.randn(3, 1)),
        (TokenLabels(["O", "B-x"]), torch.randn(3, 4, 2), torch.tensor([[0, 1, 1, 0]] * 3)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_losses_count_rows_by_weight(task, output, target):
    alone = torch.stack([task.loss(output[i : i + 1], target[i : i + 1])["loss"] for i in range(3)])
    assert task.loss(output, target)["loss"].item() == pytest.approx(alone.mean().item(), rel=1e-5)
    weight = torch.tensor([2.0, 0.0, 1.0])
    expected = (alone * weight).mean().item()
    assert task.loss(output, target, weight)["loss"].item() == pytest.approx(expected, rel=1e-5)


def table(weight, kind="number"):
    y = (X[:, 0] > 0).astype(int)
    content = {"x": X[:, 0], "z": X[:, 1], "y": np.where(TIMES == 0, 1 - y, y), "w": weight}
    columns = [Column("x", "input", "number"), Column("z", "input", "number")]
    columns += [Column("y", "target", "category"), Column("w", "weight", kind)]
    return Dataset(datasets.Dataset.from_dict(content), columns, origin="rows.csv")


def test_the_weight_column_reaches_the_methods():
    rows = table(TIMES.tolist())
    assert rows.weights() == pytest.approx(WEIGHTS) and rows.without("weight").weights() is None
    task = Classification([0, 1])
    truth = (X[:, 0] > 0).astype(int)

    def score(data):
        return task.score(Baseline(folds=3).fit(Problem(data, None, task, None, None)).outputs(data), truth)

    assert score(rows) > score(rows.without("weight")) + 0.05
    batch, _ = Rows(rows, task, Identity([("x", 1), ("z", 1)])).batch(np.array([0, 5]), True)
    assert batch.weight.tolist() == pytest.approx(WEIGHTS[[0, 5]].tolist())
    assert batch.to("cpu").weight is not None


@pytest.mark.parametrize(
    ("value", "said"), [(-1.0, "-1.0"), (None, "None"), (float("nan"), "nan"), (float("inf"), "inf")]
)
def test_a_bad_weight_is_named(value, said):
    weights = [1.0] * 120
    weights[7] = value
    with pytest.raises(DataError, match=rf'rows\.csv: column "w", row 8 holds {said}; expected') as caught:
        table(weights).weights()
    assert caught.value.code == "HS-DATA-020"


def test_weights_of_text_or_all_zero_are_refused():
    with pytest.raises(DataError, match="HS-DATA-020"):
        table(["much"] * 120, "text").weights()
    with pytest.raises(DataError, match="all weights are 0"):
        table([0.0] * 120).weights()
