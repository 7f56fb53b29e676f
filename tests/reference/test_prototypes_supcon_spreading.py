"""Few labels: scikit-learn's discriminant analysis and label spreading, and the formula of SupCon, as peers."""

import math

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.datasets import load_digits, load_iris
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neighbors import NearestCentroid
from sklearn.semi_supervised import LabelSpreading

from headstart.methods.contrastive import supcon
from headstart.methods.prototypes import discriminants
from headstart.methods.selftrain import graph, spread_labels


@pytest.mark.parametrize("shrinkage", [0.05, 0.3, 0.8, 1.0])
@pytest.mark.parametrize("rows", [30, 150])
def test_prototypes_are_scikit_learns_shrunken_discriminant_analysis(shrinkage, rows):
    """More features than rows (30 x 64) and fewer (150 x 64); scikit-learn's outputs but for what is equal for all."""
    X, y = load_digits(n_class=5, return_X_y=True)
    X, y = X[:rows] / 16, y[:rows]
    weight, bias, share = next(discriminants(X, y, 5, [shrinkage]))
    ours = X @ weight.T + bias + share
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(X, y).decision_function(X)
    gap = (ours - theirs) - (ours - theirs).mean(axis=1, keepdims=True)
    assert np.abs(gap).max() < 1e-6 * np.abs(theirs).max()
    assert np.ptp(theirs, axis=1).min() > 1e-3


def test_with_full_shrinkage_prototypes_are_scikit_learns_nearest_centroid():
    X, y = load_iris(return_X_y=True)  # 50 rows of each class
    weight, bias, share = next(discriminants(X, y, 3, [1.0]))
    assert np.ptp(share) == 0
    assert ((X @ weight.T + bias).argmax(axis=1) == NearestCentroid().fit(X, y).predict(X)).all()


def test_weights_of_rows_count_like_repeated_rows():
    X, y = load_iris(return_X_y=True)
    times = np.random.default_rng(0).integers(1, 4, len(X))
    one = next(discriminants(X, y, 3, [0.3], times.astype(float)))
    other = next(discriminants(np.repeat(X, times, axis=0), np.repeat(y, times), 3, [0.3]))
    for a, b in zip(one, other):
        assert np.allclose(a, b, rtol=1e-8, atol=1e-8)


def loops(features, target, temperature):
    """Equation 2 of Khosla et al. 2020, term by term."""
    z = [[value / math.sqrt(sum(v * v for v in row)) for value in row] for row in features]

    def alike(i, j):
        return math.exp(sum(a * b for a, b in zip(z[i], z[j])) / temperature)

    anchors = []
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        positives = [p for p in others if target[p] == target[i]]
        if positives:
            total = sum(alike(i, a) for a in others)
            anchors.append(-sum(math.log(alike(i, p) / total) for p in positives) / len(positives))
    return sum(anchors) / len(anchors)


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_the_contrastive_loss_is_that_of_the_paper(temperature):
    generator = np.random.default_rng(0)
    features, target = generator.normal(size=(11, 5)), [0, 0, 1, 1, 1, 2, 0, 3, 2, 1, 0]  # class 3 has one row
    ours = supcon(torch.as_tensor(features), torch.as_tensor(target), temperature)
    assert float(ours) == pytest.approx(loops(features.tolist(), target, temperature), rel=1e-9)


def test_rows_of_weight_zero_are_no_anchors():
    generator = np.random.default_rng(1)
    features, target = torch.as_tensor(generator.normal(size=(6, 4))), torch.as_tensor([0, 0, 0, 1, 1, 1])
    each = [supcon(features, target, 0.3, torch.eye(6)[i]) for i in range(6)]
    assert float(sum(each) / 6) == pytest.approx(float(supcon(features, target, 0.3)), rel=1e-9)
    assert float(supcon(features, torch.arange(6), 0.3)) == 0.0


def test_labels_spread_as_in_closed_form_and_as_in_scikit_learn():
    generator = np.random.default_rng(0)
    X, y = load_iris(return_X_y=True)
    S = graph(X, 12)
    assert abs(S - S.T).max() < 1e-12 and S.diagonal().max() == 0
    known = generator.permutation(len(X))[:12]
    Y = np.zeros((len(X), 3))
    Y[known, y[known]] = 1
    found = spread_labels(S, Y, 0.6)
    exact = 0.4 * np.linalg.solve(np.eye(len(X)) - 0.6 * S.toarray(), Y)
    assert np.allclose(found, exact, atol=1e-9)
    part = np.full(len(X), -1)
    part[known] = y[known]
    peer = LabelSpreading(kernel=lambda a, b: S.toarray(), alpha=0.6, max_iter=200, tol=1e-12)
    peer._build_graph = lambda: S.toarray()  # the same graph: scikit-learn would scale it once more
    theirs = peer.fit(X, part).label_distributions_
    assert np.allclose(theirs, found / found.sum(axis=1, keepdims=True), atol=1e-6)


def test_rows_that_take_no_part_are_as_good_as_absent():
    generator = np.random.default_rng(0)
    A = np.abs(generator.normal(size=(20, 20)))
    S, Y = sparse.csr_matrix((A + A.T) / 100), np.eye(20)[:, :2]
    there = np.ones(20)
    there[[4, 9]] = 0
    kept = np.flatnonzero(there)
    assert np.allclose(spread_labels(S, Y, 0.8, there)[kept], spread_labels(S[kept][:, kept], Y[kept], 0.8))
