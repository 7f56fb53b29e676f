"""Which task a target column asks for, and that labels stay the user's own."""

import json

import numpy as np
import pytest

from headstart import catalog
from headstart.errors import TaskError
from headstart.tasks.base import infer_task
from headstart.testing import dataset_with


def labelled(values, kind, input_kind="text", inputs=None):
    return dataset_with(inputs or [f"row {i}" for i in range(len(values))], values, kind, input_kind)


@pytest.mark.parametrize(
    ("values", "kind", "name"),
    [
        (["x", "y", "x", "y"], "category", "classification"),
        ([1, 2, 2, 1], "category", "classification"),
        ([0.5, 2.5, 9.0], "number", "regression"),
        ([["a"], ["a", "b"], ["b"]], "labels", "multilabel"),
        ([["O", "B-X"], ["B-X", "O"]], "tags", "token_labels"),
    ],
)
def test_inferred(values, kind, name):
    task = infer_task(labelled(values, kind))
    assert task.name == name and name.split("_")[0] in task.describe()
    again = type(task).from_json(json.loads(json.dumps(task.to_json())))
    assert again.to_json() == task.to_json() and again.classes == task.classes


def test_a_name_overrides_the_column():
    assert infer_task(labelled([1.0, 2.0, 1.0, 2.0], "number"), "classification").classes == [1.0, 2.0]
    assert infer_task(labelled([1, 2, 1, 2], "category"), "regression").mean == 1.5


@pytest.mark.parametrize(("name", "code"), [("clasification", "HS-TASK-001"), ("token_labels", "HS-TASK-002")])
def test_a_name_that_does_not_fit(name, code):
    with pytest.raises(TaskError) as error:
        infer_task(labelled(["x", "y", "x", "y"], "category"), name)
    assert error.value.code == code and "classification" in str(error.value)


@pytest.mark.parametrize("labels", [["b", "a"], [7, -3], [True, False], [2.5, 0.5]])
def test_labels_keep_their_type(labels):
    task = infer_task(labelled(labels * 2, "category"))
    restored = type(task).from_json(json.loads(json.dumps(task.to_json())))
    values = restored.decode(np.eye(2)).values
    assert values == sorted(labels) and [type(value) for value in values] == [type(label) for label in sorted(labels)]
    assert task.encode(labels).tolist() == [1, 0]


def test_one_and_true_are_different_labels():
    task = catalog.find("tasks", "classification")([0, 1])
    with pytest.raises(TaskError, match="True"):
        task.encode([True])
    assert task.encode([1.0]).tolist() == [1]


def test_strata_keep_rare_labels_apart():
    multilabel = infer_task(labelled([["a"], ["a"], ["a", "b"], ["a", "b"], []], "labels"))
    assert multilabel.strata([["a"], ["a"], ["a", "b"], []]).tolist() == [0, 0, 1, 2]
    regression = infer_task(labelled([float(i) for i in range(40)], "number"))
    assert np.bincount(regression.strata([float(i) for i in range(40)])).tolist() == [10, 10, 10, 10]
    tags = infer_task(labelled([["O", "O"], ["O", "B-X"]], "tags"))
    assert tags.strata([["O", "O"], ["O", "B-X"], []]).tolist() == [0, 1, 2]


def test_multilabel_decodes_above_zero_and_empty_sets():
    task = infer_task(labelled([["a"], ["a", "b"], ["b"]], "labels"))
    prediction = task.decode(np.asarray([[1.0, -1.0], [0.0, -2.0], [3.0, 3.0]]))
    assert prediction.values == [["a"], [], ["a", "b"]]
    assert task.encode([["b", "b"], []]).tolist() == [[0.0, 1.0], [0.0, 0.0]]


def test_truncated_tokens_count_as_outside():
    task = catalog.find("tasks", "token_labels")(["O", "B-X", "I-X"])
    target = task.encode([["B-X", "O", "B-X"], ["B-X"]])
    perfect = [np.eye(3)[row] for row in target]
    assert task.score(perfect, target) == 1.0
    cut = [perfect[0][:1], perfect[1][:0]]
    assert task.statistics(cut, target).tolist() == [[1, 1, 2], [0, 0, 1]]
    assert task.decode(cut).values == [["B-X"], []]
    assert task.metrics(cut, target)["token_accuracy"] == pytest.approx(2 / 4)
