"""Numbers pass through as they are."""

import numpy as np
import pytest
import torch

from headstart.errors import DataError, SourceError
from headstart.sources.identity import Identity

ROWS = [{"a": 1, "b": 2.5, "name": "x", "v": [1.0, 2.0]}, {"a": None, "b": float("nan"), "name": "y", "v": [3.0, 4.0]}]


def test_numeric_columns_in_order():
    source = Identity()
    pooled = source.forward(source.preprocess(ROWS)).pooled
    assert pooled.tolist() == [[1, 2.5, 1, 2], [0, 0, 3, 4]]
    assert source.card.width == 4 and source.layers() == []


def test_vectors():
    source = Identity()
    X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    assert np.array_equal(source.forward(source.preprocess(list(X))).pooled.numpy(), X)


def test_save_and_load(tmp_path):
    source = Identity()
    source.preprocess(ROWS)
    source.save(tmp_path)
    loaded = Identity.load(tmp_path)
    assert loaded.columns == source.columns and loaded.card == source.card
    assert torch.equal(loaded.preprocess(ROWS).inputs["values"], source.preprocess(ROWS).inputs["values"])


def test_errors():
    with pytest.raises(SourceError, match="HS-SOURCE-005"):
        Identity().preprocess([{"name": "x"}])
    with pytest.raises(SourceError, match="HS-SOURCE-005"):
        Identity().preprocess(["text"])
    source = Identity([("a", 1)])
    with pytest.raises(DataError, match=r'HS-DATA-015.*"a"'):
        source.preprocess([{"b": 1}])
    with pytest.raises(DataError, match="HS-DATA-020"):
        source.preprocess([{"a": "many"}])
    with pytest.raises(DataError, match="HS-DATA-020"):
        source.preprocess([{"a": [1, 2]}])


def test_untrained_and_clone_are_the_same_map():
    source = Identity([("a", 1)])
    batch = source.preprocess([{"a": 3}])
    assert source.untrained(0).forward(batch).pooled.tolist() == [[3.0]]
    assert source.clone().forward(batch).pooled.tolist() == [[3.0]]
