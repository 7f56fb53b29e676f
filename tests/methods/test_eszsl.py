"""ESZSL: its closed form against the objective and against ridge regression, classes without rows, and refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.linear_model import Ridge

import headstart
from headstart import catalog, transfer
from headstart.errors import MethodError
from headstart.methods import eszsl
from headstart.methods.base import Problem
from headstart.methods.eszsl import ESZSL, bilinear, harmonic_mean, held_out
from headstart.nn.prompts import unit
from headstart.runtime import Extractor
from headstart.testing import dataset_with
from tests.conformance.examples import texts, tiny_bert


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    return tmp_path


def random_problem(rows=60, width=8, classes=5, attributes=4):
    generator = np.random.default_rng(0)
    targets = generator.integers(0, classes, rows)
    return generator.normal(size=(rows, width)), targets, generator.normal(size=(classes, attributes))


def test_the_closed_form_is_where_the_objective_of_the_paper_is_flat():
    """The gradient of |XVS'-Y|^2 + g |VS'|^2 + r |XV|^2 + g r |V|^2 vanishes at V."""
    X, targets, S = random_problem()
    Y = np.where(targets[:, None] == np.arange(5), 1.0, -1.0)
    V = bilinear(X, targets, S, np.arange(5), 0.5, 2.0)
    g, r = 0.5 * np.trace(X.T @ X) / 8, 2.0 * np.trace(S.T @ S) / 4
    gradient = X.T @ (X @ V @ S.T - Y) @ S + g * V @ S.T @ S + r * X.T @ X @ V + g * r * V
    assert np.abs(gradient).max() < 1e-9 * np.abs(X.T @ Y @ S).max()


def test_with_one_attribute_a_class_it_is_ridge_regression():
    """S = I: V is scikit-learn's Ridge of the signs, shrunk by 1 + ridge."""
    X, targets, _ = random_problem()
    Y = np.where(targets[:, None] == np.arange(5), 1.0, -1.0)
    V = bilinear(X, targets, np.eye(5), np.arange(5), 0.5, 0.25)
    peer = Ridge(alpha=0.5 * np.trace(X.T @ X) / 8, fit_intercept=False).fit(X, Y)
    np.testing.assert_allclose(V, peer.coef_.T / 1.25, rtol=1e-8)


def attributes_problem(seed=0, shown=8, classes=10, rows=600):
    """Rows that are a random linear map of their class's attributes, and noise; the last classes are not shown."""
    generator = np.random.default_rng(seed)
    signatures = generator.integers(0, 2, (classes, 5)).astype(float)
    signatures[:, 0] = 1
    mix = generator.normal(size=(5, 24))
    targets = generator.integers(0, shown, rows)
    X = unit(signatures)[targets] @ mix + 0.25 * generator.normal(size=(rows, 24))
    later = np.repeat(np.arange(shown, classes), 50)
    return X, targets, signatures, unit(signatures)[later] @ mix + 0.25 * generator.normal(size=(len(later), 24)), later


def vectors(rows):
    return [{"x": [float(value) for value in row]} for row in rows]


def test_classes_without_rows_are_named_by_their_attributes():
    """In the generalised setting, all ten classes to choose from: the two that no row showed are told apart."""
    X, targets, signatures, new, later = attributes_problem()
    found = ESZSL()._chosen(X, targets, unit(signatures), 0)
    V = bilinear(X, targets, unit(signatures)[:8], np.arange(8), found.gamma, found.ridge)
    scores = np.concatenate([X, new]) @ V @ unit(signatures).T
    scores[:, :8] -= found.penalty * scores.std()
    said, truth = scores.argmax(axis=1), np.concatenate([targets, later])
    seen = eszsl.accuracy_by_class(truth, said, range(8))
    unseen = eszsl.accuracy_by_class(truth, said, (8, 9))
    without = np.concatenate([X, new]) @ V @ unit(signatures).T
    plain = eszsl.accuracy_by_class(truth, without.argmax(axis=1), (8, 9))
    assert unseen > 0.6 > plain and harmonic_mean(seen, unseen) > 0.6
    assert found.harmonic > 0.4 and found.penalty > 0


def test_classes_are_held_out_in_turn():
    targets = np.repeat(np.arange(7), 10)
    away = []
    for train, test, classes in held_out(targets, 0):
        assert not np.isin(targets[train], classes).any() and not set(train) & set(test)
        assert set(np.flatnonzero(np.isin(targets, classes))) <= set(test)
        assert not np.isin(targets[test], classes).all()
        away += classes.tolist()
    assert sorted(away) == list(range(7))


@pytest.mark.parametrize(
    "seen, unseen, expected", [(0.5, 0.5, 0.5), (0.9, 0.1, 0.18), (0.8, 0.0, 0.0), (0.0, 0.0, 0.0)]
)
def test_harmonic_mean(seen, unseen, expected):
    assert harmonic_mean(seen, unseen) == pytest.approx(expected)


def test_a_fit_with_a_further_class(home, monkeypatch):
    """The saved model knows the class that no row showed; the contest tests the others, and says so."""
    monkeypatch.setattr(transfer, "controls", lambda *given: [catalog.find("methods", "baseline")()])
    rows, source = texts(60), tiny_bert(home)
    inputs = [f"{text} {number}" for number, text in enumerate(rows.samples())]
    run = headstart.fit(
        {"text": inputs, "label": rows.targets()}, "label", method="eszsl", source=source, effort="quick",
        labels={"yes": "good", "no": "bad", "maybe": "fine"}, precision="fp32", out=home / "run",
    )  # fmt: skip
    assert run.record.task["classes"] == ["no", "yes", "maybe"]
    entry = next(item for item in run.record.candidates if item.name == "eszsl")
    assert entry.hyperparameters["further classes"] == ["maybe"]
    assert any("no row shows maybe" in note for note in run.record.notes)
    assert headstart.load(home / "run").predict({"text": inputs}).classes == ["no", "yes", "maybe"]


def fitted(home, labels, rows=None):
    rows = texts(24) if rows is None else rows
    source, method = tiny_bert(home), ESZSL(labels=labels)
    task = catalog.find("tasks", "classification").learn(rows)
    method.admit(task, source, rows)
    extractor = Extractor(source, precision="fp32", backend="torch")
    return method.fit(Problem(rows, None, method.widened(task), source, extractor))


def test_attributes_instead_of_words(home):
    labels = json.dumps({"yes": [1, 0], "no": [0, 1], "both": [1, 1]})
    model = fitted(home, labels)
    assert model.task.classes == ["no", "yes", "both"]
    W = model.head.weight.detach().numpy()
    np.testing.assert_allclose(W[2], (W[0] + W[1]) / np.sqrt(2), atol=1e-5)  # the map is linear in the signature


@pytest.mark.parametrize(
    "labels, told",
    [
        ('{"yes": [1, 0], "no": "bad"}', "attributes must be given for every class"),
        ('{"yes": [1, 0], "no": [1]}', "attributes must be given for every class"),
        ('{"yes": [1, 0]}', "attributes must be given for every class"),
    ],
)
def test_attributes_for_some_classes_are_refused(home, labels, told):
    with pytest.raises(MethodError, match=told):
        fitted(home, labels)


def test_words_beside_numbers_are_refused(home):
    rows = dataset_with(texts(24).samples(), [row % 2 for row in range(24)], "category")
    with pytest.raises(MethodError, match="further ones text"):
        fitted(home, "many", rows)
