"""Numbers of peers: seqeval's entity F1, scikit-learn's logistic and ridge regression."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from seqeval.metrics import f1_score
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.linear_model import LogisticRegression, Ridge

from headstart.nn.solvers import LARGEST_SPARSE, multinomial, one_vs_rest, ridge
from headstart.tasks.token_labels import TokenLabels

TAGS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER", "E-LOC", "S-PER", "NOUN"]


@pytest.mark.parametrize("seed", range(20))
def test_entity_f1_is_seqevals_on_random_tags(seed):
    rng = np.random.default_rng(seed)
    task = TokenLabels(TAGS[: 5 + seed % 4])
    shares = rng.dirichlet(np.ones(task.width))
    truth = [rng.choice(task.width, size=rng.integers(1, 12), p=shares) for _ in range(30)]
    guess = [np.where(rng.random(len(row)) < 0.6, row, rng.integers(0, task.width, len(row))) for row in truth]
    output = [np.eye(task.width)[row] for row in guess]
    as_tags = [[[task.classes[t] for t in row] for row in rows] for rows in (truth, guess)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval warns of tags without a prefix
        expected = f1_score(*as_tags)
    assert task.score(output, truth) == pytest.approx(expected, abs=1e-12)
    assert 0 < expected < 1


def objective(weight, bias, X, y, strength):
    logits = X @ weight.T + bias
    top = logits.max(axis=1)
    losses = np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top - logits[np.arange(len(y)), y]
    return strength * losses.sum() + 0.5 * (weight**2).sum()


@pytest.mark.parametrize("strength", [1e-3, 0.1, 1.0, 30.0])
@pytest.mark.parametrize("shape", ["tall", "wide", "sparse", "float32"])
def test_multinomial_meets_scikit_learn(strength, shape):
    X, y = load_digits(return_X_y=True)
    X = X / 16
    if shape in ("wide", "sparse"):
        rows = np.random.default_rng(0).permutation(len(X))[:120]
        X, y = np.hstack([X[rows], X[rows] ** 2, np.sqrt(X[rows])]), y[rows]
    peer = LogisticRegression(C=strength, tol=1e-8, max_iter=20_000).fit(X, y)
    given = sparse.csr_matrix(X) if shape == "sparse" else X.astype(np.float32) if shape == "float32" else X
    weight, bias = multinomial(given, y, 10, strength)
    expected = objective(peer.coef_, peer.intercept_, X, y, strength)
    assert objective(weight, bias, X, y, strength) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("strength", [0.01, 1.0, 10.0])
def test_two_classes_and_one_vs_rest_meet_scikit_learn(strength):
    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    peer = LogisticRegression(C=strength, tol=1e-9, max_iter=20_000).fit(X, y)

    def value(w, b):
        return strength * np.logaddexp(0, -(2 * y - 1) * (X @ w + b)).sum() + 0.5 * w @ w

    expected = value(peer.coef_[0], peer.intercept_[0])
    weight, bias = multinomial(X, y, 2, strength)
    assert weight[0] == pytest.approx(-weight[1]) and value(weight[1] - weight[0], bias[1] - bias[0]) == pytest.approx(
        expected, rel=1e-4
    )
    both = np.column_stack([y, 1 - y, np.ones_like(y), np.zeros_like(y)])
    weight, bias = one_vs_rest(X, both, strength)
    assert value(weight[0], bias[0]) == pytest.approx(expected, rel=1e-4)
    assert value(-weight[1], -bias[1]) == pytest.approx(expected, rel=1e-4)
    assert not weight[2:].any() and bias[2] > 5 and bias[3] < -5


@pytest.mark.parametrize("strength", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("wide", [False, True])
def test_ridge_meets_scikit_learn(strength, wide):
    X, y = load_diabetes(return_X_y=True)
    if wide:
        X, y = np.hstack([X[:8], X[:8] ** 2 * 10]), y[:8]
    peer = Ridge(alpha=1 / strength).fit(X, y)
    for given in (X, sparse.csr_matrix(X)):
        weight, bias = ridge(given, y[:, None], strength)
        assert X @ weight[0] + bias[0] == pytest.approx(peer.predict(X), rel=1e-5, abs=1e-3)


def test_wide_and_long_data_are_solved_without_a_rotation():
    rng = np.random.default_rng(0)
    n = LARGEST_SPARSE + 100
    X = sparse.random(n, n + 500, density=0.002, random_state=0, format="csr")
    y = (np.asarray(X[:, :50].sum(axis=1)).ravel() + 0.1 * rng.normal(size=n) > 0.05).astype(int)
    weight, bias = multinomial(X, y, 2, 3.0)
    peer = LogisticRegression(C=3.0, tol=1e-6, max_iter=5000).fit(X, y)

    def value(w, b):
        return 3.0 * np.logaddexp(0, -(2 * y - 1) * (X @ w + b)).sum() + 0.5 * w @ w

    expected = value(peer.coef_[0], peer.intercept_[0])
    assert value(weight[1] - weight[0], bias[1] - bias[0]) == pytest.approx(expected, rel=1e-4)
