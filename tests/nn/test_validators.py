"""Validators without target labels: what each promises, and the edges where few of them are defined."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.nn import validators
from headstart.nn.validators import scores


def domains(n=300, m=260, classes=3, shift=0.0, seed=0):
    """(X, y, target, truth): classes around the corners of a triangle."""
    rng = np.random.default_rng(seed)
    corners = 4 * np.eye(classes)
    y, truth = rng.integers(0, classes, n), rng.integers(0, classes, m)
    X, Z = (corners[each] + rng.normal(size=(len(each), classes)) for each in (y, truth))
    return X, y, Z + shift, truth


def told(spoilt=0.0, seed=0):
    """Scores of the model whose outputs are the columns, with a share of the target rows given another class."""
    X, y, Z, _ = domains(seed=seed)
    outputs, rng = Z.copy(), np.random.default_rng(seed + 1)
    rows = rng.random(len(Z)) < spoilt
    outputs[rows] = np.roll(outputs[rows], 1, axis=1)
    return scores(X, y, outputs, X, Z)


def test_a_spoilt_model_is_seen_by_those_that_look_at_features():
    good, bad = told(), told(0.7)
    for name in ("reverse", "clusters"):
        assert good[name] > bad[name] + 0.05, name
    assert good["source"] == bad["source"], "and by nothing that looks at the labelled rows alone"
    assert good["reverse"] > 0.9 and good["clusters"] > 0.8


def test_confident_and_balanced_predictions_tell_most():
    sure = 50 * np.eye(4)[np.arange(80) % 4]
    assert validators.certainty(sure) == pytest.approx(0, abs=1e-9)
    assert validators.information(sure) == pytest.approx(np.log(4))
    one_class = 50 * np.eye(4)[np.zeros(80, int)]
    assert validators.information(one_class) == pytest.approx(0, abs=1e-9)
    assert validators.certainty(np.zeros((5, 4))) == pytest.approx(-np.log(4))


def test_density_is_highest_where_all_rows_are_neighbours():
    same = np.zeros((30, 3))
    assert validators.neighbourhood_density(same) == pytest.approx(np.log(29))
    apart = 50 * np.eye(3)[np.arange(30) % 3]
    assert validators.neighbourhood_density(apart) == pytest.approx(np.log(9), abs=1e-6)


def test_weights_of_one_change_nothing():
    loss = np.random.default_rng(0).random(50)
    for validator in (validators.weighted_risk, validators.deep_embedded):
        assert validator(loss, np.ones(50)) == pytest.approx(-loss.mean())


def test_the_control_variate_lowers_the_spread():
    """Over many draws of weighted rows both estimate the same risk; that of the control variate varies less."""
    rng, found = np.random.default_rng(0), []
    for _ in range(300):
        w = rng.exponential(size=200)
        loss = 0.3 + 0.1 * rng.random(200)  # much alike, so w l varies as w does
        found.append([-float((w * loss).mean()), validators.deep_embedded(loss, w)])
    plain, better = np.array(found).T
    assert abs(plain.mean() - better.mean()) < 0.01
    assert better.std() < plain.std() / 3


def test_weights_are_those_of_the_densities():
    rng = np.random.default_rng(0)
    X, target = rng.normal(size=(500, 1)), rng.normal(size=(500, 1)) + 1
    w = validators.density_ratio(X, target)
    assert w.mean() == pytest.approx(1) and w.max() <= validators.LARGEST + 1e-9
    assert np.corrcoef(np.minimum(w, 8), np.minimum(np.exp(X[:, 0] - 0.5), 8))[0, 1] > 0.85


def test_a_class_that_nobody_predicts_is_no_error():
    X, y, Z, _ = domains()
    assert validators.reverse(Z, np.zeros(len(Z), int), X, y) == pytest.approx(1 / 3)
    assert validators.reverse(Z, np.arange(len(Z)) % 2, X, y) <= 2 / 3
    outputs = np.zeros((len(Z), 3))
    found = scores(X, y, outputs, X, Z, other=outputs)
    assert all(np.isfinite(value) for value in found.values()) and found["agreement"] == 1


def test_constant_features_have_no_clusters():
    assert abs(validators.clusters(np.zeros((20, 2)), np.arange(20) % 2, 2)) < 1e-9


def test_the_scores_of_a_model_are_repeatable_and_need_no_order():
    X, y, Z, _ = domains()
    first, again = (scores(X, y, Z, X, Z, seed=3) for _ in range(2))
    assert first == again
    assert set(first) == {
        "source", "weighted risk", "deep embedded", "density", "certainty", "information", "reverse", "clusters"
    }  # fmt: skip
