import numpy as np
import pytest
from scipy import sparse
from scipy.special import expit, softmax

from headstart.nn.imitation import certain, chances, imitate
from headstart.tasks.classification import Classification
from headstart.tasks.multilabel import Multilabel
from headstart.tasks.regression import Regression


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def teacher(rng, classes, rows=400):
    X = rng.normal(size=(rows, 6))
    return X, X @ rng.normal(size=(6, classes))


@pytest.mark.parametrize("kind", ["classes", "labels", "value"])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_it_says_what_a_linear_teacher_says(rng, kind, form):
    task = {"classes": Classification([0, 1, 2]), "labels": Multilabel([0, 1, 2]), "value": Regression(0, 1)}[kind]
    X, logits = teacher(rng, task.width)
    found = imitate(task, form(X[:300]), chances(task, logits[:300]))
    said = X[300:] @ found.weight.T + found.bias
    if kind == "classes":
        assert (said.argmax(axis=1) == logits[300:].argmax(axis=1)).mean() > 0.9
        assert np.abs(softmax(said, axis=1) - softmax(logits[300:], axis=1)).mean() < 0.1, "as sure as the teacher"
    elif kind == "labels":
        assert ((said > 0) == (logits[300:] > 0)).mean() > 0.9
        assert np.abs(expit(said) - expit(logits[300:])).mean() < 0.1
    else:
        assert np.abs(said - logits[300:]).max() < 0.05


def test_the_optimum_is_that_of_least_squares(rng):
    """Against scikit-learn's Ridge at the chosen strength, features scaled to a mean square norm of 1."""
    from sklearn.linear_model import Ridge

    X, y = teacher(rng, 1)
    y = y + rng.normal(size=y.shape)
    found = imitate(Regression(0, 1), X, y)
    scale = np.sqrt(X.var(axis=0).sum())
    other = Ridge(alpha=1 / found.strength).fit(X / scale, y)
    assert np.allclose(found.weight, other.coef_ / scale, atol=1e-6) and np.allclose(found.bias, other.intercept_)
    assert found.error == pytest.approx(1.0, abs=0.3)


def test_rows_count_as_much_as_their_weight(rng):
    X, half = rng.normal(size=(60, 3)), np.arange(60) < 30
    y = X[:, :1] * np.where(half, 1, -1)[:, None]
    first, second = (imitate(Regression(0, 1), X, y, weights=np.where(rows, 1.99, 0.01)) for rows in (half, ~half))
    assert first.weight[0, 0] > 0.5 and second.weight[0, 0] < -0.5


def test_few_rows_are_enough():
    task = Classification(["a", "b"])
    found = imitate(task, np.asarray([[0.0], [1.0]]), certain(task, np.asarray([0, 1])))
    assert (np.asarray([[0.0], [1.0]]) @ found.weight.T + found.bias).argmax(axis=1).tolist() == [0, 1]
    assert np.isnan(found.error)
