"""Leaves of boosted trees as features."""

import numpy as np
import pytest

from headstart.nn.boosting import fit_boosting
from headstart.nn.leaves import leaves, places, tables
from headstart.tasks.classification import Classification
from headstart.tasks.multilabel import Multilabel
from headstart.tasks.regression import Regression


@pytest.fixture(name="X")
def made():
    X = np.random.default_rng(0).normal(size=(120, 3))
    X[::9, 1] = np.nan
    return X


@pytest.mark.parametrize("form", ["margin", "classes", "value", "labels"])
def test_the_values_of_the_leaves_add_up_to_the_outputs(X, form):
    high = (X[:, 0] > 0).astype(int)
    task, y = {
        "margin": (Classification([0, 1]), high),
        "classes": (Classification([0, 1, 2]), high + (X[:, 2] > 0.5)),
        "value": (Regression(0, 1), X[:, :1] ** 2),
        "labels": (Multilabel(["a", "always"]), np.column_stack([high, np.ones(120)]).astype(np.float32)),
    }[form]
    trees, _ = fit_boosting(task, X, y)
    starts, values, offset = tables(trees)
    found = leaves(trees, X, starts)
    assert trees.form == form and found.shape == (120, len(starts)) and found.max() < len(values)
    assert np.allclose(values[found].sum(axis=1) + offset, trees.outputs(X))


def test_leaves_with_the_same_rows_are_near_each_other():
    found = np.array([[0, 2]] * 10 + [[1, 3]] * 10 + [[0, 3]])
    near = places(found, 4, 2)
    assert near.shape == (4, 2)
    assert np.linalg.norm(near[0] - near[2]) < 0.5 * np.linalg.norm(near[0] - near[1])
    assert places(found[:1], 4, 2).shape == (4, 0) and places(np.zeros((5, 0), int), 0, 2).shape == (0, 0)
