"""The classical control on every kind of input: accuracy, saving, odd and tiny data."""

import io
import json

import datasets
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_diabetes, load_digits

from headstart.datasets.base import Column, Dataset
from headstart.errors import ArtefactError, MethodError
from headstart.methods.base import Problem
from headstart.methods.baseline import SAME_ROOM, Baseline, BaselineFitted, baseline_features
from headstart.tasks.base import infer_task
from headstart.testing import dataset_with
from tests.conformance.examples import sounds, waves

GOOD, BAD = ["lovely", "perfect", "soft", "flattering"], ["awful", "itchy", "torn", "cheap"]


def fit(train, method=None, **problem):
    return (method or Baseline()).fit(Problem(train, None, infer_task(train), None, None, **problem))


def score(fitted, rows):
    return fitted.task.score(fitted.outputs(rows.without("target")), fitted.task.encode(rows.targets()))


def reviews(count, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    texts = [f"this {rng.choice(['dress', 'top'])} is {rng.choice(GOOD if label else BAD)}" for label in labels]
    return dataset_with(texts, ["good" if label else "bad" for label in labels], "category")


def png(array):
    memory = io.BytesIO()
    Image.fromarray(array).save(memory, "PNG")
    return memory.getvalue()


def digits(rows):
    found = load_digits()
    images = [png((found.images[i] * 255 / 16).astype(np.uint8)) for i in rows]
    return dataset_with(images, [int(found.target[i]) for i in rows], "category", "image")


def people(count, seed=0):
    """Town and age matter together; the income column never changes."""
    rng = np.random.default_rng(seed)
    ages, towns = rng.uniform(20, 60, count), rng.choice(["Oslo", "Rome", "Bern"], count)
    labels = ["yes" if (age > 40) == (town == "Rome") else "no" for age, town in zip(ages, towns)]
    columns = {
        "age": [None if i % 17 == 0 else float(age) for i, age in enumerate(ages)],
        "town": towns.tolist(),
        "income": [1.0] * count,
        "target": labels,
    }
    roles = [("age", "number"), ("town", "category"), ("income", "number")]
    held = [Column(name, "input", kind) for name, kind in roles]
    return Dataset(datasets.Dataset.from_dict(columns), [*held, Column("target", "target", "category")])


def sentences(count, seed=0):
    rng = np.random.default_rng(seed)
    words, tags = [], []
    for _ in range(count):
        place = [["Paris"], ["Rome"], ["New", "York"]][rng.integers(3)]
        words.append(["They", str(rng.choice(["flew", "went"])), "to", *place])
        tags.append(["O", "O", "O", *["B-LOC", "I-LOC"][: len(place)]])
    return dataset_with(words, tags, "tags", "tokens")


def vectors(rows):
    X, y = load_diabetes(return_X_y=True)
    return dataset_with(X[rows].tolist(), y[rows].tolist(), "number", "array")


def labels(count):
    rng = np.random.default_rng(0)
    rows = [sorted({str(rng.choice(GOOD)), str(rng.choice(BAD))}) for _ in range(count)]
    return dataset_with([" and ".join(row) for row in rows], rows, "labels")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("train", "test", "least"),
    [
        (reviews(80), reviews(40, 1), 0.99),
        (sentences(60), sentences(30, 1), 0.99),
        (people(300), people(100, 1), 0.85),
        (vectors(range(300)), vectors(range(300, 442)), 0.45),
        (labels(80), labels(80), 0.99),
        (digits(range(250)), digits(range(1200, 1400)), 0.9),
        (waves(30), waves(50).select(range(30, 50)), 0.9),
    ],
    ids=["text", "tokens", "table", "vectors", "multilabel", "images", "series"],
)
def test_accurate_and_the_same_after_loading(train, test, least, tmp_path):
    fitted = fit(train)
    assert score(fitted, test) > least and fitted.validation_score > least - 0.1
    assert fitted.validation_score == fitted.task.score(fitted.cv_outputs, fitted.task.encode(train.targets()))
    assert fitted.history[-1]["cross-validation"] == fitted.validation_score
    fitted.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["baseline.json", "baseline.safetensors"]
    loaded = BaselineFitted.load(tmp_path, fitted.task, fitted.method)
    before, after = fitted.outputs(test), loaded.outputs(test)
    assert all(np.array_equal(one, other) for one, other in zip(before, after))
    assert loaded.validation_score == fitted.validation_score and loaded.trained() == fitted.trained()
    assert fitted.trained()[0].share == 1.0 and fitted.trained()[0].parameters > 0


@pytest.mark.slow
def test_a_table_with_interactions_gets_trees_and_a_line_gets_a_linear_model():
    trees, line = fit(people(300)), fit(vectors(range(200)))
    assert trees.trees is not None and trees.history[-1]["other"] < trees.validation_score
    assert line.trees is None and line.history[-1]["model"] == "linear"


@pytest.mark.slow
def test_digits_beat_a_linear_model_on_pixels():
    """0.993 on 597 test digits, measured; scikit-learn's LogisticRegression on the 64 pixels: 0.948."""
    order = np.random.default_rng(0).permutation(1797)
    assert score(fit(digits(order[:1200])), digits(order[1200:])) > 0.98


@pytest.mark.slow
@pytest.mark.parametrize(
    "train",
    [
        dataset_with(["a", "b", "c", "d"], ["x", "y", "x", "y"], "category"),
        dataset_with(["", "!", "", "?"], ["x", "y", "x", "y"], "category"),
        dataset_with([[1.0], [1.0], [1.0], [1.0]], ["x", "y", "x", "y"], "category", "array"),
        dataset_with([[float(i)] for i in range(10)], [float(i) for i in range(10)], "number", "array"),
        dataset_with(["p", "q"], [1.0, 2.0], "number"),
        dataset_with([["a", "b"], ["c"]], [["O", "B-X"], ["O"]], "tags", "tokens"),
        sentences(4),
        people(10),
        digits(range(20)),
    ],
    ids=[
        "letters",
        "no words",
        "constant",
        "ten numbers",
        "two rows",
        "two sentences",
        "sentences",
        "people",
        "digits",
    ],
)
def test_tiny_data(train, tmp_path):
    fitted = fit(train)
    outputs = fitted.outputs(train.without("target"))
    assert fitted.features.transform(train).shape[1] == fitted.features.width
    assert all(np.isfinite(row).all() for row in outputs) and len(fitted.predict(train)) == len(train)
    fitted.save(tmp_path)
    again = BaselineFitted.load(tmp_path, fitted.task, fitted.method).outputs(train)
    assert all(np.array_equal(one, other) for one, other in zip(outputs, again))


@pytest.mark.slow
def test_unseen_categories_and_missing_cells_at_prediction():
    fitted = fit(people(120))
    columns = {"age": [None, 50.0], "town": ["Atlantis", None], "income": [None, 9e9]}
    new = Dataset(datasets.Dataset.from_dict(columns), people(1).inputs)
    assert np.isfinite(fitted.outputs(new)).all()


def test_a_given_strength_is_kept_and_folds_respect_groups():
    train = reviews(40)
    assert fit(train, Baseline(strength=0.5)).history[0]["strength"] == 0.5
    grouped = Dataset(
        train.table.add_column("who", [i % 2 for i in range(40)]), [*train.columns, Column("who", "group", "category")]
    )
    assert fit(grouped).validation_score > 0.9


def test_same_seed_same_outputs_and_features_of_a_subset():
    train = reviews(30)
    assert np.array_equal(fit(train, seed=3).outputs(train), fit(train, seed=3).outputs(train))
    features = baseline_features(train.select(range(10)), infer_task(train))
    assert features.transform(train).shape[0] == 30


@pytest.mark.parametrize("strength", [0.0, -1.0, float("nan")])
def test_bad_strength_is_refused(strength):
    with pytest.raises(MethodError, match="HS-METHOD-002"):
        Baseline(strength=strength)


@pytest.mark.parametrize("damage", ["missing", "unexpected", "misshapen", "misshapen idf"])
def test_a_damaged_file_is_refused(damage, tmp_path):
    fitted = fit(reviews(20))
    fitted.save(tmp_path)
    tensors = load_file(tmp_path / "baseline.safetensors")
    if damage == "missing":
        del tensors["features.idf0"]
    elif damage == "unexpected":
        tensors["more"] = np.zeros(1)
    elif damage == "misshapen idf":
        tensors["features.idf1"] = tensors["features.idf1"][1:].copy()
    else:
        tensors["weight"] = tensors["weight"][:, :-1].copy()
    save_file(tensors, tmp_path / "baseline.safetensors")
    with pytest.raises(ArtefactError, match=f"HS-ARTEFACT-003.*{damage}"):
        BaselineFitted.load(tmp_path, fitted.task, fitted.method)


def test_the_artefact_is_plain_json():
    kept = {"strength": 2.0, "folds": 5, "recipe": "auto", "near": 0.0}
    assert json.loads(json.dumps(Baseline(strength=2.0).hyperparameters())) == kept


def test_spectra_that_tell_too_much_are_noted_where_no_group_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path))
    rows = sounds(40)

    def notes(given):
        problem = Problem(given, None, infer_task(given), None, None)
        Baseline().fit(problem)
        Baseline().fit(problem.replace(seed=1))
        return problem.notes

    assert notes(rows) == [SAME_ROOM]
    voices = rows.table.add_column("voice", [f"v{row % 10}" for row in range(40)])
    assert notes(Dataset(voices, [*rows.columns, Column("voice", "group", "category")])) == []
    shuffled = np.random.default_rng(0).permutation(40)
    mixed = rows.table.remove_columns("target").add_column("target", [rows.targets()[i] for i in shuffled])
    assert notes(Dataset(mixed, rows.columns)) == []
