"""The linear head with cross-validated strength."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from headstart.nn import linear, solvers
from headstart.nn.linear import assign_folds, balance, choose, fit_linear, strata_of
from headstart.tasks.classification import Classification
from headstart.tasks.multilabel import Multilabel
from headstart.tasks.regression import Regression
from headstart.tasks.token_labels import TokenLabels


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def test_as_accurate_as_scikit_learns_search():
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    train, test = order[:400], order[400:]
    task = Classification(list(range(10)))
    fit = fit_linear(task, X[train], y[train])
    peer = GridSearchCV(LogisticRegression(max_iter=5000), {"C": [0.001, 0.01, 0.1, 1, 10]}, cv=5)
    peer.fit(X[train] / 16, y[train])
    ours = task.score(X[test] @ fit.weight.T + fit.bias, y[test])
    assert ours >= peer.score(X[test] / 16, y[test]) - 0.005
    assert abs(fit.cv_score - ours) < 0.03
    assert fit.cv_score == task.score(fit.cv_outputs, y[train]) and fit.cv_outputs.shape == (400, 10)
    assert fit.strength in [strength for strength, _, _ in fit.path]


def test_raw_features_may_have_any_scale_and_offset(rng):
    X, task = rng.normal(size=(200, 6)), Classification(["a", "b", "c"])
    y = (X[:, :3] + 0.5 * rng.normal(size=(200, 3))).argmax(axis=1)
    plain, moved = fit_linear(task, X, y), fit_linear(task, X * 1e-4 + 7, y)
    assert plain.strength == moved.strength
    assert (X * 1e-4 + 7) @ moved.weight.T + moved.bias == pytest.approx(X @ plain.weight.T + plain.bias, abs=1e-2)


def test_sparse_and_dense_agree(rng):
    X = sparse.random(90, 300, density=0.1, random_state=1, format="csr")
    y = (np.asarray(X[:, :20].sum(axis=1)).ravel() > 0.9).astype(int)
    task = Classification([0, 1])
    one, other = fit_linear(task, X, y), fit_linear(task, X.toarray(), y)
    assert one.strength == other.strength and one.weight == pytest.approx(other.weight, abs=1e-3)


@pytest.mark.parametrize("wide", [False, True])
def test_noise_gets_a_strong_penalty_and_signal_a_weak_one(rng, wide):
    X = rng.normal(size=(120, 400 if wide else 20))
    task, noise = Regression(0, 1), rng.normal(size=(120, 1))
    assert fit_linear(task, X, noise).strength <= (1.0 if wide else 0.1)
    signal = fit_linear(task, X, X[:, :1] + 0.01 * noise)
    assert signal.strength >= 1 and (wide or signal.cv_score > 0.99)


def test_one_strength_is_taken_as_it_is(rng):
    X, y = rng.normal(size=(50, 4)), rng.integers(0, 2, 50)
    fit = fit_linear(Classification([0, 1]), X, y, strengths=[0.02])
    assert fit.strength == 0.02 and fit.path == () and 0 <= fit.cv_score <= 1


def test_groups_stay_together_and_tell_the_truth(rng):
    """Labels of whole groups with features that name the group: only grouped folds see that nothing transfers."""
    groups = np.repeat(np.arange(40), 5)
    y = np.repeat(rng.integers(0, 2, 40), 5)
    X = np.eye(40)[groups] + 0.01 * rng.normal(size=(200, 40))
    task = Classification([0, 1])
    assert fit_linear(task, X, y).cv_score > 0.95
    assert fit_linear(task, X, y, groups=groups).cv_score < 0.75


def test_token_rows_are_folded_whole(rng):
    task = TokenLabels(["O", "B-X"])
    y = [rng.integers(0, 2, rng.integers(1, 6)) for _ in range(40)]
    flat, owner = np.concatenate(y), np.repeat(np.arange(40), [len(row) for row in y])
    X = np.eye(2)[flat] + 0.1 * rng.normal(size=(len(flat), 2))
    for targets in (y, flat):
        fit = fit_linear(task, X, targets, owner=owner)
        assert [len(row) for row in fit.cv_outputs] == [len(row) for row in y] and fit.cv_score == 1.0
    longer = [np.append(row, 1) for row in y]  # a last entity that the network did not see
    assert fit_linear(task, X, longer, owner=owner).cv_score < 1.0


def test_large_data_are_searched_on_a_part_and_scored_on_all(rng, monkeypatch):
    monkeypatch.setattr(linear, "SEARCH_ITEMS", 100)
    X = rng.normal(size=(600, 5))
    Y = (X[:, :3] + 0.3 * rng.normal(size=(600, 3)) > 0).astype(np.float32)
    fit = fit_linear(Multilabel(["a", "b", "c"]), X, Y)
    assert fit.cv_outputs.shape == (600, 3) and fit.cv_score > 0.85 and fit.weight.shape == (3, 5)


@pytest.mark.parametrize("kind", ["classes", "labels", "value"])
def test_large_sparse_data_are_neither_rotated_nor_made_dense(rng, monkeypatch, kind):
    monkeypatch.setattr(linear, "SEARCH_ITEMS", 100)
    monkeypatch.setattr(solvers, "LARGEST_SPARSE", 150)
    X = sparse.random(300, 400, density=0.05, random_state=0, format="csr")
    signal = np.asarray(X[:, :30].sum(axis=1)) - np.median(np.asarray(X[:, :30].sum(axis=1)))
    task, y = {
        "classes": (Classification(["a", "b"]), (signal[:, 0] > 0).astype(int)),
        "labels": (Multilabel(["a", "b"]), np.hstack([signal > 0, signal < 0.3]).astype(np.float32)),
        "value": (Regression(0, 1), signal),
    }[kind]
    fit = fit_linear(task, X, y)
    assert solvers.rotate(X).axes is None and solvers.rotate(X).dual is None
    assert fit.weight.shape == (task.width, 400) and len(fit.cv_outputs) == 300
    assert fit.cv_score > {"classes": 0.7, "labels": 0.75, "value": 0.4}[kind]
    assert task.score(X @ fit.weight.T + fit.bias, y) > fit.cv_score


def test_same_seed_same_result(rng):
    X, y = rng.normal(size=(60, 8)), rng.integers(0, 3, 60)
    one, two = (fit_linear(Classification([0, 1, 2]), X, y, seed=4) for _ in range(2))
    assert np.array_equal(one.weight, two.weight) and np.array_equal(one.cv_outputs, two.cv_outputs)


def test_degenerate_data():
    task = Classification(["a", "b"])
    constant = fit_linear(task, np.ones((10, 3)), np.asarray([0] * 7 + [1] * 3))
    assert not constant.weight.any() and constant.bias[0] > constant.bias[1] and constant.cv_score == 0.7
    single = fit_linear(task, np.ones((1, 3)), np.asarray([1]))
    assert np.isnan(single.cv_score) and single.cv_outputs is None and single.bias[1] > single.bias[0]
    rare = fit_linear(task, np.arange(6.0)[:, None], np.asarray([0, 0, 0, 0, 0, 1]))
    assert np.isfinite(rare.cv_outputs).all() and np.isfinite(rare.weight).all()


def test_folds_are_even_in_every_class(rng):
    strata = np.repeat([0, 1, 2], [50, 23, 4])
    fold = assign_folds(strata, None, 5, rng)
    counts = np.asarray([[(strata[fold == k] == level).sum() for level in range(3)] for k in range(5)])
    assert (counts.max(axis=0) - counts.min(axis=0) <= 1).all()
    groups = rng.integers(0, 30, 77)
    grouped = assign_folds(strata, groups, 5, rng)
    assert all(len(set(grouped[groups == g])) == 1 for g in np.unique(groups))
    assert set(grouped) == set(range(5)) and np.bincount(grouped).max() <= 25
    assert assign_folds(strata, np.zeros(77, int), 5, rng).max() == 4  # one group: groups cannot be honoured


def test_strata_of_encoded_targets():
    assert strata_of(np.asarray([2, 0, 1])).tolist() == [2, 0, 1]
    assert strata_of(np.asarray([[1.0, 0], [1, 1], [0, 0]])).tolist() == [0, 1, 2]
    assert np.bincount(strata_of(np.arange(40.0)[:, None])).tolist() == [10] * 4
    assert strata_of([np.asarray([0, 0, 1]), np.asarray([0]), np.asarray([], int)]).tolist() == [1, 0, 2]


def test_choice_weighs_score_then_loss():
    path = [(0.1, 0.5, 1.0), (1.0, 0.9, 0.4), (10.0, 0.9, 0.3), (100.0, 0.9, 0.6), (1000.0, 0.7, 2.0)]
    assert choose(path, 0.0) == 10.0
    assert choose([(0.1, 0.8, 0.5), (1.0, 0.81, 0.5), (10.0, 0.82, 0.9)], 0.05) == 0.1


def test_balanced_blocks_do_not_drown_the_first():
    rng = np.random.default_rng(0)
    blocks = [rng.normal(size=(200, 3)), 1000 * rng.normal(size=(200, 5)), np.ones((200, 2))]
    factors = balance(blocks)
    assert factors.shape == (10,) and np.all(np.isfinite(factors))
    spread = [float(np.var(block * part, axis=0).sum()) for block, part in zip(blocks, np.split(factors, [3, 8]))]
    assert spread == pytest.approx([1.0, 0.25, 0.0], abs=1e-5)
    assert np.array_equal(balance(blocks[:1]), np.ones(3))


def test_without_the_outputs_of_all_rows_the_head_is_the_same_and_the_score_is_that_of_the_search(rng, monkeypatch):
    monkeypatch.setattr(linear, "SEARCH_ITEMS", 200)
    X, task = rng.normal(size=(600, 5)), Classification(["a", "b", "c"])
    y = (X[:, :3] + 0.5 * rng.normal(size=(600, 3))).argmax(axis=1)
    full, lean = fit_linear(task, X, y), fit_linear(task, X, y, outside=False)
    assert np.array_equal(full.weight, lean.weight) and np.array_equal(full.bias, lean.bias)
    assert full.cv_outputs.shape == (600, 3) and lean.cv_outputs is None
    assert lean.cv_score == next(score for strength, score, _ in lean.path if strength == lean.strength)
    assert fit_linear(task, X, y, strengths=[1.0], outside=False).cv_outputs.shape == (600, 3)  # nothing was searched
