"""Every score against its paper's formula, written out in float64 with loops, explicit matrices and no shortcuts."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.stats
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.metrics import f1_score, r2_score
from sklearn.mixture import GaussianMixture

from headstart.rankers.base import by_content
from headstart.rankers.cka import CKA
from headstart.rankers.gbc import GBC
from headstart.rankers.hscore import HScore
from headstart.rankers.knn import KNN
from headstart.rankers.leep import LEEP
from headstart.rankers.nleep import NLEEP
from headstart.rankers.parc import PARC
from headstart.rankers.probe_cv import STRENGTHS, ProbeCV
from headstart.rankers.transrate import TransRate

RTOL = 1e-7


def example(rows: int, width: int, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of unlike scales with a common offset, of rank width - 1, and classes of which one is rare."""
    generator = np.random.default_rng(seed)
    y = generator.choice(classes, size=rows, p=np.arange(1, classes + 1) / (classes * (classes + 1) / 2))
    y[:classes] = np.arange(classes)
    F = generator.normal(size=(rows, width)) * np.geomspace(3, 0.05, width) + 2
    F += 0.8 * generator.normal(size=(classes, width))[y] * np.geomspace(3, 0.05, width)
    F[:, -1] = F[:, 0] - 2 * F[:, 1]
    return F, y


def several(rows: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Features and three labels, of which one is on in a few rows only."""
    F, y = example(rows, width)
    generator = np.random.default_rng(9)
    labels = np.stack([y == 3, (F[:, 0] > 2) ^ (generator.random(rows) < 0.2), generator.random(rows) < 0.05], axis=1)
    labels[:2, 2] = True
    return F, labels.astype(np.float64)


SHAPES = pytest.mark.parametrize("shape", [(90, 12), (150, 70), (60, 140)], ids=str)


# --- H-score ---------------------------------------------------------------------------------------------------------


def hscore(F, y):
    estimate = LedoitWolf().fit(F)
    centre, between = F.mean(axis=0), np.zeros((F.shape[1], F.shape[1]))
    for label in np.unique(y):
        away = F[y == label].mean(axis=0) - centre
        between += np.mean(y == label) * np.outer(away, away)
    return np.trace(np.linalg.inv(estimate.covariance_) @ ((1 - estimate.shrinkage_) * between))


@SHAPES
def test_hscore(shape):
    F, y = example(*shape)
    np.testing.assert_allclose(HScore().score(F, y), hscore(F, y), rtol=RTOL)


@SHAPES
def test_hscore_of_labels_is_their_mean(shape):
    F, labels = several(*shape)
    np.testing.assert_allclose(HScore().score(F, labels), np.mean([hscore(F, y) for y in labels.T]), rtol=RTOL)


# --- TransRate -------------------------------------------------------------------------------------------------------


def coding_rate(Z, eps):
    return 0.5 * np.linalg.slogdet(np.eye(Z.shape[1]) + Z.T @ Z / (len(Z) * eps))[1]


def transrate(F, y, eps):
    Z = F - F.mean(axis=0)
    Z = Z / np.sqrt(np.mean([row @ row for row in Z]))
    return coding_rate(Z, eps) - sum(np.mean(y == c) * coding_rate(Z[y == c], eps) for c in np.unique(y))


@SHAPES
@pytest.mark.parametrize("eps", [1e-4, 1e-2])
def test_transrate(shape, eps):
    F, y = example(*shape)
    np.testing.assert_allclose(TransRate(eps=eps).score(F, y), transrate(F, y, eps), rtol=RTOL)


def test_transrate_of_values_is_that_of_their_tenths():
    F, _ = example(200, 30)
    values = np.stack([F[:, 0] ** 3, np.exp(F[:, 1])], axis=1)
    tenths = []
    for column in values.T:
        bins = np.empty(200, dtype=int)
        bins[np.argsort(column)] = np.repeat(np.arange(10), 20)
        tenths.append(transrate(F, bins, 1e-4))
    np.testing.assert_allclose(TransRate().score(F, values), np.mean(tenths), rtol=RTOL)


# --- LEEP and N-LEEP -------------------------------------------------------------------------------------------------


def leep(theta, y):
    joint = np.zeros((y.max() + 1, theta.shape[1]))
    for row, label in zip(theta, y):
        joint[label] += row / len(y)
    total = 0.0
    for row, label in zip(theta, y):
        total += np.log(sum(joint[label, z] / joint[:, z].sum() * row[z] for z in range(len(row)) if row[z] > 0))
    return total / len(y)


def softmax(F):
    odds = np.exp(F - F.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


@SHAPES
def test_leep(shape):
    F, y = example(*shape)
    theta = softmax(F)
    theta[:, 0] = 0  # a source class that never comes
    theta /= theta.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(LEEP().score(theta, y), leep(theta, y), rtol=RTOL)


def test_leep_of_labels_is_their_mean():
    F, labels = several(90, 12)
    expected = np.mean([leep(softmax(F), y.astype(int)) for y in labels.T])
    np.testing.assert_allclose(LEEP().score(softmax(F), labels), expected, rtol=RTOL)


def test_leep_of_a_source_that_knows_the_classes_is_zero():
    y = np.asarray([0, 1, 2, 2, 1, 0])
    assert LEEP().score(np.eye(3)[[2, 0, 1]][y], y) == pytest.approx(0, abs=1e-12)


@SHAPES
@pytest.mark.parametrize("covariance", ["diag", "full"])
def test_nleep(shape, covariance):
    F, y = example(*shape)
    rows = by_content(F, 3)
    X = PCA(0.8, svd_solver="full").fit_transform(F[rows])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mixture = GaussianMixture(min(20, len(F) // 4), covariance_type=covariance, reg_covar=1e-3, random_state=3)
        theta = mixture.fit(X / X.std()).predict_proba(X / X.std())
    np.testing.assert_allclose(NLEEP(covariance=covariance, seed=3).score(F, y), leep(theta, y[rows]), rtol=1e-6)


# --- GBC -------------------------------------------------------------------------------------------------------------


def gbc(F, y, width, spherical):
    X = PCA(min(width, *F.shape), svd_solver="full").fit_transform(F)
    X = X[:, X.std(axis=0) > 1e-9]
    least, gaussians = 1e-4 * X.var(axis=0).mean(), []
    for label in np.unique(y):
        own = X[y == label]
        variance = np.full(X.shape[1], own.var(axis=0).mean()) if spherical else own.var(axis=0)
        gaussians.append((own.mean(axis=0), np.diag(np.maximum(variance, least))))
    total = 0.0
    for a, (mean_a, cov_a) in enumerate(gaussians):
        for b, (mean_b, cov_b) in enumerate(gaussians):
            if a != b:
                middle = (cov_a + cov_b) / 2
                logs = [np.linalg.slogdet(matrix)[1] for matrix in (middle, cov_a, cov_b)]
                away = mean_a - mean_b
                distance = away @ np.linalg.inv(middle) @ away / 8 + 0.5 * (logs[0] - 0.5 * (logs[1] + logs[2]))
                total += np.exp(-distance)
    return -total


@SHAPES
@pytest.mark.parametrize("covariance", ["spherical", "diagonal"])
@pytest.mark.parametrize("width", [3, 64])
def test_gbc(shape, covariance, width):
    F, y = example(*shape)
    expected = gbc(F, y, width, covariance == "spherical")
    np.testing.assert_allclose(GBC(width=width, covariance=covariance).score(F, y), expected, rtol=1e-6)


def test_gbc_of_labels_is_their_mean():
    F, labels = several(90, 12)
    expected = np.mean([gbc(F, y, 64, True) for y in labels.T])
    np.testing.assert_allclose(GBC().score(F, labels), expected, rtol=1e-6)


# --- PARC ------------------------------------------------------------------------------------------------------------


def parc(F, Y, width):
    X = PCA(min(width, *F.shape), svd_solver="full").fit_transform(F)
    pairs = np.tril_indices(len(F), -1)
    distances = [np.round(1 - np.corrcoef(matrix), 10)[pairs] for matrix in (X, Y)]
    return scipy.stats.spearmanr(*distances)[0]


@SHAPES
def test_parc(shape):
    F, y = example(*shape)
    np.testing.assert_allclose(PARC(width=8).score(F, y), parc(F, np.eye(4)[y], 8), rtol=RTOL)


def test_parc_of_one_label_is_that_of_two_classes():
    F, y = example(90, 12, classes=2)
    np.testing.assert_allclose(PARC().score(F, y[:, None].astype(float)), PARC().score(F, y), rtol=RTOL)


def test_parc_of_labels_with_empty_rows():
    F, labels = several(40, 12)
    labels[3] = 1
    assert (labels.sum(axis=1) == 0).any() and (labels.sum(axis=1) == 3).any()
    X = PCA(8, svd_solver="full").fit_transform(F)
    P, Q = [], []
    for i in range(40):
        for j in range(i):
            P.append(1 - np.corrcoef(X[i], X[j])[0, 1])
            if labels[i].std() == 0 or labels[j].std() == 0:
                Q.append(0.0 if np.array_equal(labels[i], labels[j]) else 1.0)
            else:
                Q.append(round(1 - np.corrcoef(labels[i], labels[j])[0, 1], 10))
    np.testing.assert_allclose(PARC(width=8).score(F, labels), scipy.stats.spearmanr(P, Q)[0], rtol=RTOL)


# --- CKA -------------------------------------------------------------------------------------------------------------


def hsic(K, L):
    n = len(K)
    K, L = K - np.diag(np.diag(K)), L - np.diag(np.diag(L))
    one = np.ones(n)
    terms = (
        np.trace(K @ L) + (one @ K @ one) * (one @ L @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ K @ L @ one)
    )
    return terms / (n * (n - 3))


def cka(F, Y):
    K, L = F @ F.T, Y @ Y.T
    return hsic(K, L) / np.sqrt(hsic(K, K) * hsic(L, L))


@SHAPES
def test_cka(shape):
    F, y = example(*shape)
    np.testing.assert_allclose(CKA().score(F, y), cka(F, np.eye(4)[y]), rtol=RTOL)


@SHAPES
def test_cka_of_labels_and_values(shape):
    F, labels = several(*shape)
    np.testing.assert_allclose(CKA().score(F, labels), cka(F, labels), rtol=RTOL)
    values = np.stack([F[:, 0] ** 3, 1000 * F[:, 1] + 7], axis=1)
    np.testing.assert_allclose(CKA().score(F, values), cka(F, values / values.std(axis=0)), rtol=RTOL)


def test_cka_of_noise_is_zero_on_average_for_more_features_than_rows():
    generator = np.random.default_rng(0)
    scores = [CKA().score(generator.normal(size=(40, 200)), generator.integers(0, 3, 40)) for _ in range(200)]
    assert abs(np.mean(scores)) < 4 * np.std(scores) / np.sqrt(200)


# --- k-NN ------------------------------------------------------------------------------------------------------------


def neighbours(F, k):
    near = []
    for i, row in enumerate(F):
        similar = [-np.inf if i == j else row @ other / np.linalg.norm(row) / np.linalg.norm(other)
                   for j, other in enumerate(F)]  # fmt: skip
        near.append(np.argsort(similar)[::-1][:k])
    return np.asarray(near)


@SHAPES
@pytest.mark.parametrize("k", [1, 5])
def test_knn(shape, k):
    F, y = example(*shape)
    right = 0.0
    for i, near in enumerate(neighbours(F, k)):
        votes = np.bincount(y[near], minlength=4)
        winners = np.flatnonzero(votes == votes.max())
        right += (y[i] in winners) / len(winners)
    assert KNN(k=k).score(F, y) == pytest.approx(right / len(y), rel=1e-12)


@SHAPES
def test_knn_of_labels_and_values(shape):
    F, labels = several(*shape)
    near = neighbours(F, 5)
    expected = f1_score(labels, labels[near].mean(axis=1) > 0.5, average="micro", zero_division=0)
    assert KNN().score(F, labels) == pytest.approx(expected, rel=1e-12)
    values = F[:, :2] ** 3
    assert KNN().score(F, values) == pytest.approx(r2_score(values, values[near].mean(axis=1)), rel=1e-9)


# --- the probe -------------------------------------------------------------------------------------------------------


def left_out(F, Y):
    """Outputs of len(F) fits without one row each, for each strength; those of least squared error in units of Y."""
    largest = np.linalg.svd(F - F.mean(axis=0), compute_uv=False)[0] ** 2
    best = None
    for strength in STRENGTHS:
        outputs = np.empty_like(Y)
        for i in range(len(F)):
            rest = np.arange(len(F)) != i
            # the penalty is tied to all rows; leaving one out moves the centre, which Ridge's intercept takes in
            outputs[i] = Ridge(strength * largest, solver="svd").fit(F[rest], Y[rest]).predict(F[i : i + 1])[0]
        error = np.mean(((Y - outputs) / Y.std(axis=0)) ** 2)
        if best is None or error <= best[0]:
            best = (error, outputs)
    return best[1]


@pytest.mark.parametrize("shape", [(30, 6), (20, 30)], ids=str)
def test_probe_cv(shape):
    F, y = example(*shape)
    outputs = left_out(F, np.eye(4)[y])
    assert ProbeCV().score(F, y) == pytest.approx(np.mean(outputs.argmax(axis=1) == y), rel=1e-12)
    F, labels = several(*shape)
    expected = f1_score(labels, left_out(F, labels) > 0.5, average="micro", zero_division=0)
    assert ProbeCV().score(F, labels) == pytest.approx(expected, rel=1e-12)
    values = F[:, :2] ** 2 + np.random.default_rng(4).normal(size=(len(F), 2))
    assert ProbeCV().score(F, values) == pytest.approx(r2_score(values, left_out(F, values)), rel=1e-6)


@pytest.mark.parametrize("shape", [(40, 6), (24, 50)], ids=str)
def test_probe_cv_of_groups(shape):
    """Ridge regression of scikit-learn on all groups but those of the fold; the strength of least error over all."""
    from headstart.nn.linear import assign_folds

    F, y = example(*shape)
    groups = np.random.default_rng(6).integers(0, 8, len(F))
    fold, Y = assign_folds(y, groups, 5, np.random.default_rng(0)), np.eye(4)[y]
    assert all(len(np.unique(fold[groups == group])) == 1 for group in np.unique(groups)) and fold.max() == 4
    best: tuple[float, np.ndarray] | None = None
    for strength in STRENGTHS:
        outputs = np.zeros_like(Y)
        for part in range(5):
            kept, left = fold != part, fold == part
            largest = np.linalg.norm(F[kept] - F[kept].mean(axis=0), 2) ** 2
            outputs[left] = Ridge(alpha=strength * largest, solver="svd").fit(F[kept], Y[kept]).predict(F[left])
        error = float((((outputs - Y) / Y.std(axis=0)) ** 2).mean())
        if best is None or error <= best[0]:
            best = (error, outputs)
    assert best is not None
    assert ProbeCV().score(F, y, groups) == pytest.approx(np.mean(best[1].argmax(axis=1) == y), rel=1e-12)
    assert ProbeCV().score(F, y, np.zeros(len(F), int)) == ProbeCV().score(F, y), "one group is no group"


def test_knn_of_groups():
    F, y = example(60, 5)
    groups = np.arange(60) // 6
    X = F / np.linalg.norm(F, axis=1, keepdims=True)
    votes = np.zeros((60, 4))
    for row in range(60):
        others = np.flatnonzero(groups != groups[row])
        near = others[np.argsort(-(X[others] @ X[row]))[:5]]
        votes[row] = np.eye(4)[y[near]].mean(axis=0)
    top = votes >= votes.max(axis=1, keepdims=True) - 1e-12
    assert KNN().score(F, y, groups) == pytest.approx(np.mean(top[np.arange(60), y] / top.sum(axis=1)), rel=1e-12)
