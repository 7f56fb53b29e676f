"""Scores of item models, against the definition written out row by row."""

import numpy as np
import pytest
from scipy import sparse

from headstart.nn.item_weights import ItemWeights, matrix
from headstart.tasks.recommendation import Recommendation

ITEMS = 600
PARTS = np.random.default_rng(9).choice(3, ITEMS, p=(0.9, 0.07, 0.03)).tolist()


def histories(rng, count=150):
    rows = [rng.choice(ITEMS, int(size), replace=False) for size in rng.integers(0, 12, count)]
    rows[1], rows[2] = np.array([-1, 5, 5, -1, 3]), np.zeros(0, np.int64)
    rows[3] = np.arange(ITEMS - 7)  # nearly everything is known
    return rows


def weights(rng, kind):
    every = np.arange(ITEMS)
    if kind == "none":
        return ItemWeights(every[:0], every[:0], np.zeros((0, 0), np.float32), rng.random(ITEMS))
    W = np.round(rng.random((ITEMS, ITEMS)), 1).astype(np.float32)  # with ties
    if kind == "sparse":
        W[rng.random(W.shape) < 0.97] = 0
        return ItemWeights(every, every, sparse.csr_array(W), rng.integers(0, 4, ITEMS))
    rows, columns = np.sort(rng.permutation(ITEMS)[:90]), rng.permutation(ITEMS)[:120]
    W = W[np.ix_(rows, columns)]
    if kind == "sparse, some":
        W[rng.random(W.shape) < 0.8] = 0
        W = sparse.csr_array(W)
    return ItemWeights(rows, columns, W, rng.integers(0, 4, ITEMS))


def defined(model, rows, added):
    """Scores as the module says, one row after the other."""
    W = model.weights.toarray() if sparse.issparse(model.weights) else model.weights
    found = np.array(np.broadcast_to(np.asarray(added, np.float32), (len(rows), ITEMS)))
    for scores, row in zip(found, rows):
        known = np.unique(row[row >= 0])
        told = np.zeros(len(model.columns), np.float32)
        for item in known[np.isin(known, model.rows)]:
            told += W[np.searchsorted(model.rows, item)]
        scores[model.columns] += told / np.float32(model.scale)
        scores[known] = -np.inf
    return found


@pytest.mark.parametrize("kind", ["none", "sparse", "sparse, some", "dense"])
def test_scores_and_the_best_items_are_those_of_the_definition(kind):
    rng = np.random.default_rng(3)
    rows = histories(rng)
    X = matrix(rows, ITEMS)
    model = weights(rng, kind).scaled(X)
    assert kind == "none" or model.scale != 1.0
    model = model.mixed(model.popularity / 3, 0.3)
    people = rng.integers(0, 3, (len(rows), ITEMS)).astype(np.float32)
    for task in (Recommendation([str(n) for n in range(ITEMS)]), Recommendation([str(n) for n in range(ITEMS)], PARTS)):
        for added, given in ((np.float32(0.3) * model.popularity, None), (people, lambda part: people[part])):
            wanted = defined(model, rows, added)
            (found,) = model.scores(X, [added])
            np.testing.assert_array_equal(found, wanted)
            np.testing.assert_array_equal(model.outputs(X, task, given), task.best(wanted))


def test_several_popularities_give_scores_each():
    rng = np.random.default_rng(4)
    rows, model = histories(rng, 20), weights(rng, "dense")
    added = [rng.random(ITEMS).astype(np.float32), np.zeros(ITEMS), rng.random((20, ITEMS)).astype(np.float32)]
    for found, more in zip(list(model.scores(matrix(rows, ITEMS), added)), added, strict=True):
        np.testing.assert_array_equal(found, defined(model, rows, more))


def test_an_item_counts_once_and_an_unknown_one_not_at_all():
    X = matrix([np.array([4, 2, 4, -1]), np.zeros(0, np.int64), np.array([-1])], 5)
    assert X.shape == (3, 5) and X.toarray().tolist() == [[0, 0, 1, 0, 1], [0] * 5, [0] * 5]
    assert X.has_sorted_indices and X.dtype == np.float32
    assert matrix([], 5).shape == (0, 5)
