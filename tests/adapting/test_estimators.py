"""The estimators of scikit-learn for two domains."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from headstart.adapting.estimators import AdaptClassifier, AdaptRegressor
from headstart.errors import MethodError, UsageError
from tests.methods.domains import moved

X, Y, TARGET, TRUTH = moved(200, 180, seed=1)
BOTH, DOMAIN = np.concatenate([X, TARGET]), np.repeat(["here", "there"], [200, 180])
LABELS = np.concatenate([np.array(["no", "yes"])[Y], np.full(180, "never read")])


@parametrize_with_checks([AdaptClassifier(), AdaptRegressor()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("method", ["auto", "ot", "coral"])
def test_labels_of_the_target_domain_are_not_read(method):
    model = AdaptClassifier(method, to="there").fit(BOTH, LABELS, domain=DOMAIN)
    assert model.classes_.tolist() == ["no", "yes"]
    plain = AdaptClassifier().fit(X, LABELS[:200])
    right, before = (((each.predict(TARGET) == "yes") == TRUTH).mean() for each in (model, plain))
    assert right > 0.85 and right > before
    assert np.allclose(model.predict_proba(TARGET).sum(axis=1), 1)
    lies = np.concatenate([LABELS[:200], np.full(180, "no")])
    again = AdaptClassifier(method, to="there").fit(BOTH, lies, domain=DOMAIN)
    assert np.array_equal(model.predict_proba(TARGET), again.predict_proba(TARGET))


def test_auto_says_what_it_went_by():
    found = AdaptClassifier(to="there").fit(BOTH, LABELS, domain=DOMAIN).history_
    assert found["chosen"] == "linear" and "linear shift" in found["because"]


def test_numbers():
    slope = np.arange(5.0)
    y = np.concatenate([X @ slope, np.full(180, np.nan)])
    model = AdaptRegressor("ot", to="there").fit(BOTH, y, domain=DOMAIN)
    plain = AdaptRegressor().fit(X, X @ slope)
    assert np.isfinite(model.predict(TARGET)).all()
    assert not np.allclose(model.predict(TARGET), plain.predict(TARGET))


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match="0 of 380 rows are of the domain 'target'"):
        AdaptClassifier().fit(BOTH, LABELS, domain=DOMAIN)
    with pytest.raises(UsageError, match="probe does not adapt"):
        AdaptClassifier("probe", to="there").fit(BOTH, LABELS, domain=DOMAIN)
    with pytest.raises(UsageError, match="has the shape"):
        AdaptClassifier(to="there").fit(BOTH, LABELS, domain=DOMAIN[:5])
    with pytest.raises(MethodError, match="labelshift cannot do regression"):
        AdaptRegressor("labelshift", to="there").fit(BOTH, np.arange(380.0), domain=DOMAIN)


def test_networks_read_images_and_not_numbers():
    rng = np.random.default_rng(0)
    labels, domain = np.tile(["round", "flat"], 30), np.repeat(["here", "there"], [36, 24])
    pictures = np.zeros((60, 12, 12), np.uint8)
    for at, label in enumerate(labels):
        top, left = rng.integers(1, 3, 2)
        pictures[at, top : top + 8, left : left + 8] = 200 * (
            np.eye(8) if label == "flat" else np.tri(8) * np.tri(8)[::-1]
        )
    lies = np.where(domain == "there", "never read", labels)
    model = AdaptClassifier("mcc", to="there", source="glyph", settings={"epochs": 8, "batch_size": 12})
    model.fit(list(pictures), lies, domain=domain)
    assert model.classes_.tolist() == ["flat", "round"]
    assert (model.predict(list(pictures[36:])) == labels[36:]).mean() > 0.9
    assert len(model.history_["epochs"]) == 8
    with pytest.raises(MethodError, match="mcc trains a network, and X holds numbers"):
        AdaptClassifier("mcc", to="there").fit(BOTH, LABELS, domain=DOMAIN)
    sizes = AdaptRegressor("dan", to="there", source="glyph", settings={"epochs": 1})
    sizes.fit(list(pictures), np.where(domain == "there", np.nan, 1.0 * (labels == "flat")), domain=domain)
    assert np.isfinite(sizes.predict(list(pictures))).all()
    assert AdaptRegressor("ot", to="there").fit(BOTH, np.arange(380.0), domain=DOMAIN).maps_
