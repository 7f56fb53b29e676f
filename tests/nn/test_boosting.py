"""Boosted trees through the Task contract."""

import numpy as np
import pytest

from headstart.nn.boosting import clearly_less, fit_boosting, row_losses
from headstart.tasks.classification import Classification
from headstart.tasks.multilabel import Multilabel
from headstart.tasks.regression import Regression


@pytest.fixture
def data():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(240, 4))
    X[:, 3] = rng.integers(0, 5, 240)
    X[::7, 1] = np.nan
    checker = (X[:, 0] > 0).astype(int) ^ np.isin(X[:, 3], [1, 4]).astype(int)  # no linear model can tell
    return X, checker


@pytest.mark.parametrize("classes", [2, 3])
def test_interactions_and_categories(data, classes):
    X, y = data
    y = y + (classes == 3) * (X[:, 2] > 1)
    task = Classification(list(range(classes)))
    model, outputs = fit_boosting(task, X, y, categorical=[3])
    assert outputs.shape == (240, classes) and task.score(outputs, y) > 0.85
    assert model.outputs(X).shape == (240, classes) and task.score(model.outputs(X), y) > 0.95
    new = X[:3].copy()
    new[:, 3] = [np.nan, 99, 2]
    assert np.isfinite(model.outputs(new)).all()


def test_regression_and_labels(data):
    X, y = data
    model, outputs = fit_boosting(Regression(0, 1), X, (y - 0.5)[:, None], categorical=[3])
    assert outputs.shape == (240, 1) and Regression(0, 1).score(outputs, (y - 0.5)[:, None]) > 0.5
    labels = np.column_stack([y, np.ones(240), 1 - y]).astype(np.float32)
    task = Multilabel(["a", "always", "b"])
    model, outputs = fit_boosting(task, X, labels, categorical=[3])
    assert model.texts[1] == "" and (model.outputs(X)[:, 1] > 5).all() and task.score(outputs, labels) > 0.9


def test_deterministic_and_tiny(data):
    X, y = data
    task = Classification([0, 1])
    one, two = (fit_boosting(task, X[:10], y[:10], seed=2) for _ in range(2))
    assert one[0] == two[0] and np.array_equal(one[1], two[1]) and np.isfinite(one[1]).all()


def test_constant_columns_predict_the_shares():
    y = np.asarray([0] * 30 + [1] * 10)
    model, _ = fit_boosting(Classification([0, 1]), np.zeros((40, 2)), y)
    logits = model.outputs(np.zeros((1, 2)))[0]
    assert logits[1] - logits[0] == pytest.approx(np.log(10 / 30), abs=0.2)


def test_after_the_deadline_no_further_capacity_is_tried(data, monkeypatch):
    import lightgbm

    calls = []
    train = lightgbm.train
    monkeypatch.setattr(lightgbm, "train", lambda settings, *a, **k: calls.append(settings) or train(settings, *a, **k))
    fit_boosting(Classification([0, 1]), *data, deadline=0.0)
    assert {settings["num_leaves"] for settings in calls} == {4}


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_trees_go_on_from_other_outputs(data, classes):
    X, checker = data
    y = checker + (classes == 3) * (X[:, 2] > 1)
    task = Classification(list(range(classes))) if classes else Regression(0, 1)
    targets = y if classes else y[:, None].astype(float)
    wrong = np.zeros((240, task.width))
    model, outputs = fit_boosting(task, X, targets, categorical=[3], base=wrong)
    assert model.rounds > 0 and np.allclose(outputs.shape, (240, task.width))
    assert task.score(wrong + model.outputs(X), targets) > 0.9 and task.score(outputs, targets) > 0.5
    right = 20.0 * np.eye(classes)[y] if classes else targets
    model, outputs = fit_boosting(task, X, targets, categorical=[3], base=right)
    assert model.rounds == 0 and np.array_equal(outputs, right) and not model.outputs(X[:5]).any()
    assert model.outputs(X[:5]).shape == (5, task.width)


def test_rows_that_always_train_are_never_left_out(data):
    X, y = data
    task, foreign = Classification([0, 1]), np.arange(240) >= 40
    _, outputs = fit_boosting(task, X, y, categorical=[3], always=foreign)
    _, own = fit_boosting(task, X[:40], y[:40], categorical=[3])
    assert outputs.shape == (40, 2) and task.score(outputs, y[:40]) > task.score(own, y[:40])
    assert fit_boosting(task, X, y, categorical=[3], always=foreign, leaves=4)[0].leaves == 4


def test_losses_of_rows_and_which_difference_is_clear():
    rng = np.random.default_rng(0)
    y, outputs = rng.integers(0, 3, 200), rng.normal(size=(200, 3))
    task = Classification([0, 1, 2])
    found = row_losses(task, outputs, y)
    assert np.allclose(found, np.log(np.exp(outputs).sum(axis=1)) - outputs[np.arange(200), y], atol=1e-5)
    assert clearly_less(task, outputs + 3 * np.eye(3)[y], outputs, y)
    assert not clearly_less(task, outputs + 0.1 * rng.normal(size=(200, 3)), outputs, y)
    value = rng.normal(size=(20, 1))
    assert np.allclose(row_losses(Regression(0, 1), value + 2, value), 4, atol=1e-5)
