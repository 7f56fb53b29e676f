"""The estimators of scikit-learn for two domains."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from headstart.adapting.estimators import AdaptClassifier, AdaptRegressor
from headstart.adapting.source_free import SourceFreeClassifier
from headstart.errors import MethodError, UsageError
from tests.methods.domains import moved

X, Y, TARGET, TRUTH = moved(200, 180, seed=1)
BOTH, DOMAIN = np.concatenate([X, TARGET]), np.repeat(["here", "there"], [200, 180])
LABELS = np.concatenate([np.array(["no", "yes"])[Y], np.full(180, "never read")])


@parametrize_with_checks([AdaptClassifier(), AdaptRegressor()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
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


def shapes(ink=200):
    """60 pictures, in turn a round and a flat shape, and their names."""
    rng = np.random.default_rng(0)
    labels, pictures = np.tile(["round", "flat"], 30), np.zeros((60, 12, 12), np.uint8)
    for at, label in enumerate(labels):
        top, left = rng.integers(1, 3, 2)
        pictures[at, top : top + 8, left : left + 8] = ink * (
            np.eye(8) if label == "flat" else np.tri(8) * np.tri(8)[::-1]
        )
    return list(pictures), labels


def test_networks_read_images_and_not_numbers():
    pictures, labels = shapes()
    domain = np.repeat(["here", "there"], [36, 24])
    lies = np.where(domain == "there", "never read", labels)
    model = AdaptClassifier("mcc", to="there", source="glyph", settings={"epochs": 8, "batch_size": 12})
    model.fit(pictures, lies, domain=domain)
    assert model.classes_.tolist() == ["flat", "round"]
    assert (model.predict(pictures[36:]) == labels[36:]).mean() > 0.9
    assert len(model.history_["epochs"]) == 8
    with pytest.raises(MethodError, match="mcc trains a network, and X holds numbers"):
        AdaptClassifier("mcc", to="there").fit(BOTH, LABELS, domain=DOMAIN)
    sizes = AdaptRegressor("dan", to="there", source="glyph", settings={"epochs": 1})
    sizes.fit(pictures, np.where(domain == "there", np.nan, 1.0 * (labels == "flat")), domain=domain)
    assert np.isfinite(sizes.predict(pictures)).all()
    assert AdaptRegressor("ot", to="there").fit(BOTH, np.arange(380.0), domain=DOMAIN).maps_


def test_a_few_labels_of_the_target_domain():
    """The other domain says the opposite; twenty labels of this one are enough to see it."""
    rng = np.random.default_rng(1)
    rows, domain = rng.normal(size=(300, 3)), np.repeat(["here", "there"], [150, 150])
    truth = np.where((rows[:, 0] > 0) ^ (domain == "here"), "up", "down")
    few = np.zeros(300, bool)
    few[150:170] = True
    told = np.where((domain == "there") & ~few, "never read", truth)
    model = AdaptClassifier("tradaboost", to="there").fit(rows, told, domain=domain, few=few)
    assert (model.predict(rows[170:]) == truth[170:]).mean() > 0.85
    assert model.history_["few"] == 20 and model.classes_.tolist() == ["down", "up"]
    number = AdaptRegressor("tradaboost", to="there")
    number.fit(
        rows, np.where(told == "never read", np.nan, rows[:, 0] * np.where(domain == "here", -1, 1)), domain, few
    )
    assert np.corrcoef(number.predict(rows[170:]), rows[170:, 0])[0, 1] > 0.8
    with pytest.raises(UsageError, match="tradaboost needs some labels of the target domain"):
        AdaptClassifier("tradaboost", to="there").fit(rows, truth, domain=domain)
    with pytest.raises(UsageError, match="every row of the target domain has a label"):
        AdaptClassifier("tradaboost", to="there").fit(rows, truth, domain=domain, few=domain == "there")
    with pytest.raises(UsageError, match="few holds int64"):
        AdaptClassifier("tradaboost", to="there").fit(rows, truth, domain=domain, few=few.astype(int))


def test_going_on_from_a_fitted_estimator():
    pictures, labels = shapes()
    darker, same = shapes(ink=60)
    model = AdaptClassifier("sourcetuned", "there", "glyph", {"epochs": 8, "batch_size": 12})
    model.fit(pictures, labels, domain=np.repeat(["here", "there"], [48, 12]))
    before = model.predict_proba(darker)
    further = SourceFreeClassifier(model, settings={"epochs": 2, "batch_size": 12}).fit(
        darker, np.full(60, "never read")
    )
    assert further.classes_.tolist() == ["flat", "round"] and not further.collapsed_
    assert (further.predict(darker) == same).mean() > 0.9 and len(further.history_["epochs"]) == 2
    assert not np.array_equal(further.predict_proba(darker), before)
    assert np.array_equal(model.predict_proba(darker), before), "the estimator stays as it was"
    with pytest.raises(UsageError, match="AdaptClassifier is no fitted classifier"):
        SourceFreeClassifier(AdaptClassifier()).fit(pictures)
    with pytest.raises(UsageError, match="probe does not go on from a model"):
        SourceFreeClassifier(model, "probe").fit(darker)
    with pytest.raises(UsageError, match="shot does not adapt labelled rows"):
        AdaptClassifier("shot", to="there").fit(BOTH, LABELS, domain=DOMAIN)
