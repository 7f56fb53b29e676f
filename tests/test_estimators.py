"""The scikit-learn estimators: check_estimator on numbers; texts and images in Pipeline, cross-validation, search."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from headstart import estimators
from headstart.errors import MethodError, UsageError
from headstart.estimators import TransferClassifier, TransferRegressor
from tests.conformance.examples import texts, tiny_bert, tiny_timm


@parametrize_with_checks([TransferClassifier(), TransferRegressor()])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# --- numbers ---------------------------------------------------------------------------------------------------------


def test_numeric_classification_matches_logistic_regression():
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    ours = cross_val_score(TransferClassifier(), X, names, cv=5).mean()
    peer = cross_val_score(make_pipeline(StandardScaler(), LogisticRegression()), X, names, cv=5).mean()
    assert ours > peer - 0.02


def test_numeric_regression_matches_ridge():
    X, y = load_diabetes(return_X_y=True)
    ours = cross_val_score(TransferRegressor(), X, y, cv=5).mean()
    peer = cross_val_score(make_pipeline(StandardScaler(), Ridge(10.0)), X, y, cv=5).mean()
    assert ours > peer - 0.01


def test_numeric_input_refuses_what_only_a_source_can_do():
    X, y = load_iris(return_X_y=True)
    for wrong in ({"source": "minilm"}, {"method": "finetune"}, {"settings": {"layers": "last"}}, {"effort": "huge"}):
        with pytest.raises(UsageError, match="HS-USAGE-001"):
            TransferClassifier(**wrong).fit(X, y)


def test_pipeline_before_it():
    X, y = load_iris(return_X_y=True)
    assert make_pipeline(StandardScaler(), TransferClassifier()).fit(X, y).score(X, y) > 0.9


# --- texts -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def sentences():
    rows = texts(48)
    return rows.samples(), np.array(rows.targets())


def test_texts_learn_and_predict_labels(bert, sentences):
    X, y = sentences
    model = TransferClassifier(bert).fit(X, y)
    assert model.classes_.tolist() == ["no", "yes"]
    assert model.score(X, y) == 1.0
    shares = model.predict_proba(X)
    assert shares.shape == (48, 2) and np.allclose(shares.sum(axis=1), 1.0, atol=1e-5)
    assert ((model.decision_function(X) > 0) == (model.predict(X) == "yes")).all()
    assert (model.predict(np.array(X, dtype=object)) == model.predict(X)).all()


def test_texts_in_cross_validation_search_and_pipeline(bert, sentences):
    X, y = sentences
    assert cross_val_score(TransferClassifier(bert), X, y, cv=3).mean() > 0.9
    grid = {"transferclassifier__settings": [{"strength": 1e-6}, {"strength": 10.0}]}
    lower = FunctionTransformer(lambda items: [item.lower() for item in items])
    search = GridSearchCV(make_pipeline(lower, TransferClassifier(bert)), grid, cv=3, scoring="neg_log_loss").fit(X, y)
    assert search.best_params_ == {"transferclassifier__settings": {"strength": 10.0}}


def test_fine_tuning_holds_out_rows_and_is_deterministic(bert, sentences):
    X, y = sentences
    settings = {"epochs": 3, "batch_size": 8, "learning_rate": 3e-3}
    first, second = (TransferClassifier(bert, "finetune", settings, seed=5).fit(X, y) for _ in range(2))
    assert np.array_equal(first.predict_proba(X), second.predict_proba(X))
    assert first.score(X, y) > 0.9


def test_text_regression(bert, sentences):
    X, y = sentences
    target = np.where(y == "yes", 10.0, -10.0)
    model = TransferRegressor(bert).fit(X, target)
    assert model.score(X, target) > 0.8


def test_clone_keeps_parameters_and_forgets_what_was_learned(sentences):
    model = TransferClassifier("minilm", "finetune", {"epochs": 2}, seed=4, effort="quick")
    assert clone(model).get_params() == model.get_params()


def test_unknown_settings_and_mixed_inputs_are_refused(bert, sentences):
    X, y = sentences
    with pytest.raises(MethodError, match="HS-METHOD-002"):
        TransferClassifier(bert, settings={"strenght": 1.0}).fit(X, y)
    with pytest.raises(UsageError, match=r"X\[1\] is a int"):
        TransferClassifier(bert).fit(["a", 3], ["no", "yes"])
    with pytest.raises(UsageError, match="one class"):
        TransferClassifier(bert).fit(["a", "b"], ["no", "no"])
    with pytest.raises(ValueError, match="inconsistent numbers"):
        TransferClassifier(bert).fit(X, y[:-1])


# --- images ----------------------------------------------------------------------------------------------------------


def pictures(count=16):
    """Red and blue squares with noise, uint8 [N,32,32,3], and their names."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 80, (count, 32, 32, 3), dtype=np.uint8)
    labels = np.array(["red" if row % 2 else "blue" for row in range(count)])
    images[labels == "red", :, :, 0] += 170
    images[labels == "blue", :, :, 2] += 170
    return images, labels


def test_images_as_array_list_pil_and_paths_predict_the_same(tmp_path):
    source = tiny_timm(tmp_path)
    images, labels = pictures()
    paths = []
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
        paths.append(str(tmp_path / f"{number}.png"))
    model = TransferClassifier(source).fit(images, labels)
    assert model.score(images, labels) == 1.0
    expected = model.predict_proba(images)
    for same in (list(images), [Image.fromarray(image) for image in images], paths):
        assert np.allclose(model.predict_proba(same), expected, atol=1e-4)


def test_images_of_another_type_are_refused(tmp_path):
    images, labels = pictures(4)
    with pytest.raises(UsageError, match="uint8"):
        TransferClassifier(tiny_timm(tmp_path)).fit(images / 255.0, labels)


@pytest.mark.parametrize(
    ("X", "kind"),
    [
        (["a", "b"], "text"),
        (np.array(["a", "b"]), "text"),
        (np.array([["a"], ["b"]], dtype=object), "text"),
        ([[1.0, 2.0]], "numeric"),
        ([np.zeros(3)], "numeric"),
        (np.zeros((2, 3)), "numeric"),
        (np.array([[1.0, 2.0]], dtype=object), "numeric"),
        (np.zeros((2, 8, 8, 3), np.uint8), "image"),
        ([np.zeros((8, 8), np.uint8)], "image"),
        ([Image.new("L", (4, 4))], "image"),
        (["no_such_file.png"], "text"),
    ],
)
def test_kinds_of_input(X, kind):
    assert estimators.kind_of(X) == kind
