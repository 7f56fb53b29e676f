"""Classical features: what they hold, and that they survive odd rows and saving."""

import datetime
import json

import datasets
import numpy as np
import pytest
from PIL import Image

from headstart.datasets.base import Column, Dataset
from headstart.errors import DataError
from headstart.nn.featurizers import ImageFeatures, TextFeatures, WordFeatures, owners
from headstart.nn.tables import TableFeatures
from headstart.testing import dataset_with


def restored(features):
    data, arrays = features.state()
    return type(features).restore(json.loads(json.dumps(data)), arrays)


def dense(X):
    return X.toarray() if hasattr(X, "toarray") else X


def rows(values, kind):
    return dataset_with(values, [0] * len(values), "category", kind)


def test_text_round_trip_and_unknown_words():
    train = rows(["good shoes", "bad shoes", "good fit", "bad fit indeed"] * 6, "text")
    features, X = TextFeatures.fit_transform(train)
    assert np.array_equal(X.toarray(), restored(features).transform(train).toarray())
    assert X.shape[0] == 24 and "good shoes" in features.vocabularies[0] and " sho" in features.vocabularies[1]
    unknown = features.transform(rows(["zzz 99", ""], "text"))
    assert unknown.shape == (2, X.shape[1]) and unknown[1].nnz == 0


@pytest.mark.parametrize("texts", [["", "", ""], ["!", "?", "..."], ["a"], ["\U0001f600", "?"]])
def test_text_without_words(texts):
    features = TextFeatures.fit(rows(texts, "text"))
    X = features.transform(rows([*texts, "some words"], "text"))
    assert X.shape[0] == len(texts) + 1 and np.isfinite(X.toarray()).all()
    assert np.array_equal(X.toarray(), restored(features).transform(rows([*texts, "some words"], "text")).toarray())


def test_pre_split_words_read_as_text():
    words, text = rows([["red", "shoe"], ["blue", "hat"]], "tokens"), rows(["red shoe", "blue hat"], "text")
    assert TextFeatures.fit(words).state()[0] == TextFeatures.fit(text).state()[0]


def test_word_features_see_shape_and_neighbours():
    train = rows([["In", "Paris", "2024"], ["Paris"]], "tokens")
    features = WordFeatures.fit(train)
    X = features.transform(train)
    assert X.shape == (4, len(features.vocabulary)) and owners(train).tolist() == [0, 0, 0, 1]
    names = {features.vocabulary[i] for i in X[1].indices}
    assert {"w=paris", "shape=Xx", "w-1=in", "w+1=2024", "shape+1=d", "w+2.none"} <= names
    assert np.array_equal(X.toarray(), restored(features).transform(train).toarray())
    unknown = features.transform(rows([["Unseen"], []], "tokens"))
    assert unknown.shape == (1, X.shape[1])


def test_image_features_see_colour_and_direction():
    ramp = np.tile(np.arange(0, 240, 10, dtype=np.uint8), (24, 1))
    images = [Image.fromarray(ramp), Image.fromarray(ramp.T.copy()), Image.new("RGB", (9, 5), "red")]
    features = ImageFeatures.fit(rows([_png(image) for image in images], "image"))
    blocks = features.transform(rows([_png(image) for image in images], "image"))
    assert blocks.shape == (3, 768 + 64 + 900) and np.isfinite(blocks).all()
    across, down = blocks[:2, 832:]
    assert across @ down < 0.5 * across @ across  # oriented gradients tell them apart
    assert blocks[2, 768:832].argmax() == 3 * 16  # all of the red box
    again = restored(features).transform(rows([_png(image) for image in images], "image"))
    assert np.array_equal(blocks, again)


def test_a_damaged_image_is_named():
    with pytest.raises(DataError, match="HS-DATA-013"):
        ImageFeatures.fit(rows([b"no image", b"none"], "image"))


def _png(image):
    import io

    memory = io.BytesIO()
    image.save(memory, "PNG")
    return memory.getvalue()


def table(**columns):
    kinds = {"age": "number", "town": "category", "born": "datetime", "vector": "array", "tags": "labels"}
    held = datasets.Dataset.from_dict(columns)
    return Dataset(held, [Column(name, "input", kinds[name]) for name in columns], origin="people.csv")


def test_table_columns_become_numbers():
    day = datetime.datetime(1970, 1, 2, 6)
    train = table(age=[1.0, 3.0, None], town=["Oslo", "Rome", "Oslo"], born=[day, None, day], vector=[[1.0, 2.0]] * 3)
    features = TableFeatures.fit(train)
    codes = features.codes(train)
    assert codes[0].tolist() == [1.0, 0.0, 1.25, 1.0, 4.0, 6.0, 1.0, 2.0] and features.categorical == [1]
    assert np.isnan(codes[2, 0]) and np.isnan(codes[1, 2:6]).all()
    standard = features.transform(train)
    assert np.isfinite(standard).all() and standard[:2, 0].tolist() == [-1.0, 1.0] and standard[2, 0] == 0.0
    assert standard[2, 1] > 0 > standard[0, 1]  # the indicator of a missing age
    assert np.array_equal(standard, restored(features).transform(train))


def test_unseen_categories_and_far_numbers():
    features = TableFeatures.fit(table(age=[1.0, 2.0, 3.0], town=["Oslo", "Rome", None]))
    new = table(age=[1e30, float("nan"), float("inf")], town=["Paris", None, "Rome"])
    assert np.isnan(features.codes(new)[:2, 1]).all()
    standard = features.transform(new)
    assert np.isfinite(standard).all() and np.abs(standard).max() <= 8


def test_constant_columns_and_lists_are_harmless():
    train = table(age=[5.0, 5.0], tags=[["b", "a"], ["a", "b"]])
    assert not TableFeatures.fit(train).transform(train).any()


def test_vectors_of_two_lengths_are_named():
    with pytest.raises(DataError, match=r"HS-DATA-020.*people.csv.*row 2.*has 1 numbers; expected 2"):
        TableFeatures.fit(table(vector=[[1.0, 2.0], [1.0]]))
