"""The task of several targets is its parts side by side."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headstart import catalog
from headstart.datasets.read import read
from headstart.errors import DataError, Problems, TaskError
from headstart.tasks.base import infer_task
from headstart.tasks.several import Several
from headstart.testing import dataset_with

VALUES = [("a", 1.5, ["x"]), ("b", 2.5, []), ("a", 0.5, ["y", "x"]), ("c", 9.0, ["y"]), ("b", 4.0, []), ("c", 0.0, [])]
KINDS = ("category", "number", "labels")


@pytest.fixture
def several() -> Several:
    task = infer_task(dataset_with(["t"] * len(VALUES), VALUES, KINDS))
    assert isinstance(task, Several)
    return task


@pytest.fixture
def outputs(several) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(len(VALUES), several.width))


def single(place: int):
    """The task, values and columns of outputs of one target, learned by itself."""
    values = [row[place] for row in VALUES]
    return infer_task(dataset_with(["t"] * len(values), values, KINDS[place])), values


def test_each_part_is_the_task_of_its_column(several):
    assert [part.name for part in several.parts.values()] == ["classification", "regression", "multilabel"]
    assert list(several.parts) == ["target_1", "target_2", "target_3"]
    for place, part in enumerate(several.parts.values()):
        assert part.to_json() == single(place)[0].to_json()
    assert several.width == 3 + 1 + 2 and several.needs == "pooled"


def test_scores_losses_and_predictions_are_those_of_the_parts(several, outputs):
    targets = several.encode(VALUES)
    losses = several.losses(torch.tensor(outputs).float(), several.collate(targets))
    prediction = several.decode(outputs)
    scores, ends = several.scores(outputs, targets), np.cumsum([0, 3, 1, 2])
    for place, column in enumerate(several.parts):
        task, values = single(place)
        own = outputs[:, ends[place] : ends[place + 1]]
        encoded = task.encode(values)
        assert scores[column] == pytest.approx(task.score(own, encoded))
        expected = task.loss(torch.tensor(own).float(), task.collate(encoded))["loss"]
        assert float(losses[column]) == pytest.approx(float(expected), rel=1e-6)
        assert prediction.parts[column].values == task.decode(own).values
        assert [row[column] for row in prediction.values] == task.decode(own).values
    assert several.score(outputs, targets) == pytest.approx(np.mean(list(scores.values())))
    whole = several.loss(torch.tensor(outputs).float(), several.collate(targets))
    assert float(whole["loss"]) == pytest.approx(sum(float(loss) for loss in losses.values()), rel=1e-6)


def test_row_weights_reach_every_part(several, outputs):
    target, output = several.collate(several.encode(VALUES)), torch.tensor(outputs).float()
    weight = torch.tensor([6.0, 0, 0, 0, 0, 0])
    for column, loss in several.losses(output, target, weight).items():
        assert float(loss) == pytest.approx(float(several.losses(output[:1], target[:1])[column]), rel=1e-5)


def test_metrics_name_their_target(several, outputs):
    found = several.metrics(outputs, several.encode(VALUES))
    assert next(iter(found)) == "mean_score"
    assert {"target_1: accuracy", "target_2: mae", "target_3: micro_f1"} <= set(found)


def test_linear_heads_are_those_of_the_parts(several):
    X = np.random.default_rng(1).normal(size=(len(VALUES), 4))
    weight, bias = several.linear(X, several.encode(VALUES), 0.7)
    ends = np.cumsum([0, 3, 1, 2])
    for place in range(3):
        task, values = single(place)
        own, constant = task.linear(X, task.encode(values), 0.7)
        assert np.allclose(weight[ends[place] : ends[place + 1]], own, atol=1e-6)
        assert np.allclose(bias[ends[place] : ends[place + 1]], constant, atol=1e-6)


def test_strata_spread_the_rare_classes_of_every_target():
    values = [("a", "x")] * 8 + [("b", "x")] * 2 + [("a", "z")] * 2
    task = infer_task(dataset_with(["t"] * 12, values, ("category", "category")))
    strata = task.strata(values)
    assert len(set(strata[8:10].tolist())) == 1 and len(set(strata[10:].tolist())) == 1
    assert len(set(strata.tolist())) == 3


def test_the_scale_is_learned_again_and_the_classes_are_kept(several):
    rows = dataset_with(["t"] * 3, [VALUES[0], VALUES[2], VALUES[0]], KINDS)
    again = several.relearned(rows)
    assert again.parts["target_1"].classes == ["a", "b", "c"]
    assert again.parts["target_2"].mean == pytest.approx(np.mean([1.5, 0.5, 1.5]))


def test_a_ranker_reads_classes_as_columns(several):
    columns = several.columns(several.encode(VALUES))
    assert columns.shape == (6, 3 + 1 + 2)
    assert columns[0, :3].tolist() == [1, 0, 0] and columns[3, :3].tolist() == [0, 0, 1]


# --- refusals ----------------------------------------------------------------------------------------------------


def test_all_problems_of_all_targets_come_at_once():
    rows = dataset_with(["t"] * 4, [("a", 1.0), ("a", 1.0), ("a", 1.0), ("a", 1.0)], ("category", "number"))
    with pytest.raises(Problems) as caught:
        infer_task(rows)
    assert [problem.code for problem in caught.value.problems] == ["HS-DATA-006", "HS-DATA-006"]
    assert "target_1" in str(caught.value) and "target_2" in str(caught.value)


def test_one_task_cannot_be_named_for_several_targets():
    rows = dataset_with(["t"] * 4, [("a", 1.0), ("b", 2.0)] * 2, ("category", "number"))
    with pytest.raises(TaskError, match=r"HS-TASK-002.*--kind"):
        infer_task(rows, "classification")
    with pytest.raises(TaskError, match="one target column is not several"):
        catalog.find("tasks", "several").learn(rows.aim("target_1"))


def test_tags_of_words_are_refused_by_name():
    rows = dataset_with(["t"] * 4, [("a", ["O", "B-X"]), ("b", ["B-X", "O"])] * 2, ("category", "tags"))
    with pytest.raises((TaskError, Problems), match=r"target_2.*labels words"):
        infer_task(rows)


# --- reading -----------------------------------------------------------------------------------------------------


def test_rows_without_one_of_the_targets_are_rejected():
    frame = {
        "text": [f"some words number {i} of many" for i in range(20)],
        "topic": [None if i == 3 else "ab"[i % 2] for i in range(20)],
        "stars": [None if i == 7 else float(i) + 0.5 for i in range(20)],
    }
    rows = read(frame, target=["topic", "stars"])
    assert [(reject.row, reject.reason) for reject in rows.rejects] == [
        (4, 'the target "topic" is missing'),
        (8, 'the target "stars" is missing'),
    ]
    assert rows.targets()[:2] == [("a", 0.5), ("b", 1.5)]
    assert [column.name for column in rows.inputs] == ["text"]
    with pytest.raises(DataError, match=r'HS-DATA-003.*target column "topics".*Did you mean "topic"'):
        read(frame, target=["topics", "stars"])


def test_aim_leaves_one_target():
    rows = dataset_with(["t"] * 2, [("a", 1.0), ("b", 2.0)], ("category", "number"))
    assert rows.aim("target_2").targets() == [1.0, 2.0]
    assert [column.role for column in rows.aim("target_2").columns] == ["input", "unused", "target"]
    assert rows.aim(["target_1", "target_2"]).targets() == rows.targets() == [("a", 1.0), ("b", 2.0)]
    assert rows.without("target").table.column_names == ["input"]
