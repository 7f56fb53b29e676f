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


def plain(scores):
    """The best of each row by sorting all of them."""
    made = np.full((len(scores), TOP, 2), (-1, 0), np.float32)
    for row, values in enumerate(scores.astype(np.float32)):
        order = [item for item in np.argsort(-values, kind="stable")[:TOP] if values[item] > -np.inf]
        made[row, : len(order), 0], made[row, : len(order), 1] = order, values[order]
    return made


@pytest.mark.parametrize("width", [2, 49, 50, 51, 255, 256, 257, 300, 512, 700, 1024, 3000])
def test_the_best_are_those_that_sorting_everything_finds(width):
    rng = np.random.default_rng(width)
    scores = rng.normal(size=(24, width)).astype(np.float32)
    scores[3:6] = rng.integers(0, 4, (3, width))  # many equals
    scores[6:9] = rng.integers(0, 30, (3, width)) / 10
    scores[9] = 1.0
    scores[10] = -np.inf
    scores[11:14][:, rng.random(width) < 0.97] = -np.inf  # fewer than are asked for
    scores[14:17] = np.sort(scores[14:17], axis=1)  # the best stand side by side
    scores[17] = -1e30
    scores[18, : width // 2], scores[18, width // 2 :] = 0.0, -0.0
    task = Recommendation([str(n) for n in range(width)])
    np.testing.assert_array_equal(task.best(scores)[:, 0], plain(scores))
    np.testing.assert_array_equal(task.best(np.asfortranarray(scores))[:, 0], plain(scores))
    seen = rng.random(scores.shape) < 0.3
    np.testing.assert_array_equal(task.best(scores, seen)[:, 0], plain(np.where(seen, -np.inf, scores)))
    parts = rng.choice(3, width, p=(0.9, 0.1, 0.0))  # none of the third
    found = Recommendation(task.items, parts.tolist()).best(scores)
    for part in range(3):
        np.testing.assert_array_equal(found[:, part], plain(np.where(parts == part, scores, -np.inf)))


def test_one_item_is_nothing_to_rank():
    import datasets

    rows = datasets.Dataset.from_dict({"past": [["a"], ["a"]], "then": [["a"], ["a"]]})
    columns = [Column("past", "input", "items"), Column("then", "target", "items")]
    with pytest.raises(DataError, match="HS-DATA-006"):
        Recommendation.learn(Dataset(rows, columns, items=Items(("a",), ("",))))
