"""NDCG, recall and coverage of rankings, against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from headstart.datasets.base import Column, Dataset, Items
from headstart.errors import DataError
from headstart.tasks.recommendation import TOP, Recommendation


@pytest.fixture
def task():
    return Recommendation([str(n) for n in range(60)])


def test_ndcg_is_that_of_scikit_learn(task):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(20, 60)).astype(np.float32)
    wanted = [rng.choice(60, size=rng.integers(1, 25), replace=False) for _ in range(20)]
    truth = np.zeros((20, 60))
    for row, items in enumerate(wanted):
        truth[row, items] = 1
    assert task.score(task.best(scores), wanted) == pytest.approx(ndcg_score(truth, scores, k=10), abs=1e-6)


def test_recall_counts_what_could_be_found(task):
    scores = -np.tile(np.arange(60.0), (1, 1))  # the ranking is 0, 1, 2, ...
    metrics = task.metrics(task.best(scores), [np.array([0, 5, 20, 55])])
    assert metrics["recall@10"] == pytest.approx(2 / 4) and metrics["recall@50"] == pytest.approx(3 / 4)
    assert metrics["coverage@10"] == pytest.approx(10 / 60)
    many = task.metrics(task.best(scores), [np.arange(30)])
    assert many["recall@10"] == 1.0 and many["ndcg@10"] == pytest.approx(1.0)


def test_an_item_the_model_does_not_know_is_missed(task):
    targets = task.encode([["0", "never seen"], ["0"]])
    assert targets[0].tolist() == [0, -1]
    scores = -np.tile(np.arange(60.0), (2, 1))
    assert task.statistics(task.best(scores), targets)[:, 1].tolist() == [0.5, 1.0]


def test_seen_items_are_never_ranked():
    task = Recommendation(["a", "b", "c"])
    outputs = task.best(np.array([[3.0, 2.0, 1.0]]), np.array([[True, False, False]]))
    assert outputs.shape == (1, 1, TOP, 2) and task.decode(outputs).values == [["b", "c"]]
    assert task.ranked(outputs, 1) == [(["b"], [2.0])]


def test_new_items_are_ranked_among_themselves():
    task = Recommendation(["a", "b", "c", "d"], [0, 0, 2, 2])
    outputs = task.best(np.array([[9.0, 8.0, 1.0, 2.0], [9.0, 8.0, 1.0, 2.0]]))
    found = task.statistics(outputs, task.encode([["d"], ["b"]]))[:, 0]
    assert found[0] == 1.0 and found[1] == pytest.approx(1 / np.log2(3))
    assert task.decode(outputs).values[0] == ["a", "b", "d", "c"]  # a prediction knows no parts
    assert Recommendation.from_json(task.to_json()).to_json() == task.to_json()


def test_one_item_is_nothing_to_rank():
    import datasets

    rows = datasets.Dataset.from_dict({"past": [["a"], ["a"]], "then": [["a"], ["a"]]})
    columns = [Column("past", "input", "items"), Column("then", "target", "items")]
    with pytest.raises(DataError, match="HS-DATA-006"):
        Recommendation.learn(Dataset(rows, columns, items=Items(("a",), ("",))))
