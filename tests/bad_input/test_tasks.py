"""What a user can get wrong with targets: the documented code and one line for each problem."""

import math

import datasets
import pytest

from headstart.datasets.base import Column, Dataset
from headstart.errors import HeadstartError, Problems
from headstart.tasks.base import infer_task
from headstart.testing import dataset_with


class Mixed(Dataset):
    """Rows whose targets Arrow could not hold in one column."""

    def targets(self):
        return ["yes", 3, "no", 3]


def texts(values, kind="category"):
    return dataset_with([f"row {i}" for i in range(len(values))], values, kind)


def words(tokens, tags):
    return dataset_with(tokens, tags, "tags", "tokens")


NAN, INF = math.nan, math.inf
CASES = {
    "one class": (texts(["x"] * 4), None, "HS-DATA-006", "'x'"),
    "a class with one row": (texts(["x", "x", "x", "y"]), None, "HS-DATA-007", "row 4: the class 'y'"),
    "no class twice": (texts([f"c{i}" for i in range(30)]), None, "HS-DATA-007", "29 others"),
    "no rows": (texts(["x", "y"]).select([]), None, "HS-DATA-012", "0 labelled rows"),
    "one row": (texts(["x"]), None, "HS-DATA-012", "1 labelled row;"),
    "one number": (texts([1.0], "number"), None, "HS-DATA-012", "1 labelled row;"),
    "a missing label": (texts(["x", None, "y", "x", "y"]), None, "HS-DATA-008", "row 2"),
    "only missing labels": (texts([None, None, None], "number"), None, "HS-DATA-008", "3 such rows"),
    "NaN": (texts([1.0, NAN, 2.0], "number"), None, "HS-DATA-008", "row 2: the target is nan"),
    "infinite": (texts([1.0, 2.0, -INF], "number"), None, "HS-DATA-008", "row 3: the target is -inf"),
    "equal numbers": (texts([2.0, 2.0, 2.0], "number"), None, "HS-DATA-006", "2.0"),
    "numbers and text": (Mixed(texts(["x"] * 4).table, texts(["x"] * 4).columns), None, "HS-DATA-009", "row 2"),
    "regression of text": (texts(["x", "y", "x", "y"]), "regression", "HS-TASK-002", "classification"),
    "tags of numbers": (texts([1.0, 2.0], "number"), "token_labels", "HS-TASK-002", "regression"),
    "labels of tags": (words([["a"], ["b"]], [["O"], ["B-X"]]), "multilabel", "HS-TASK-002", "token_labels"),
    "classes of fractions": (
        texts([i / 7 for i in range(30)], "number"),
        "classification",
        "HS-DATA-007",
        "regression",
    ),
    "unknown task": (texts(["x", "y"] * 2), "regresion", "HS-TASK-001", '"regression"'),
    "a target of dates": (texts(["2020", "2021"], "datetime"), None, "HS-TASK-002", "datetime"),
    "no target": (texts(["x", "y"]).without("target"), None, "HS-DATA-003", "--target"),
    "labels all alike": (texts([["a"], ["a"], ["a"]], "labels"), None, "HS-DATA-006", "['a']"),
    "labels all empty": (texts([[], [], []], "labels"), None, "HS-DATA-006", "[]"),
    "a label with one row": (texts([["a"], ["a", "b"], []], "labels"), None, "HS-DATA-007", "row 2: the label 'b'"),
    "too few tags": (words([["a", "b"], ["c"]], [["O"], ["B-X"]]), None, "HS-DATA-018", "row 1: 1 tags for 2 words"),
    "one tag": (words([["a", "b"], ["c"]], [["O", "O"], ["O"]]), None, "HS-DATA-006", "'O'"),
    "a row without tags": (words([["a"], ["c"]], [["O"], []]), None, "HS-DATA-018", "row 2"),
}


@pytest.mark.parametrize("case", CASES)
def test_learning(case):
    dataset, name, code, part = CASES[case]
    with pytest.raises(HeadstartError) as error:
        infer_task(dataset, name)
    text = str(error.value)
    assert error.value.code == code and text.startswith(code) and part in text and "\n" not in text
    assert error.value.hint


def test_all_problems_at_once_with_file_column_and_row_as_counted():
    table = datasets.Dataset.from_dict({"text": list("abcdef"), "label": ["x", "x", "y", None, "z", "x"]})
    columns = [Column("text", "input", "text"), Column("label", "target", "category")]
    dataset = Dataset(table, columns, origin="reviews.csv", numbers=[10, 11, 12, 13, 14, 15])
    with pytest.raises(Problems) as error:
        infer_task(dataset)
    lines = str(error.value).splitlines()
    assert [line[:11] for line in lines] == ["HS-DATA-008", "HS-DATA-007", "HS-DATA-007"]
    assert all(line[13:].startswith('reviews.csv, column "label", row 1') for line in lines)
    assert "row 13" in lines[0] and "row 12" in lines[1] and "row 14" in lines[2]


@pytest.mark.parametrize(
    ("dataset", "values", "part"),
    [
        (texts(["red", "blue"] * 2), ["red", "bleu"], "row 2: the label 'bleu'"),
        (texts(["red", "blue"] * 2), ["red", 1], "row 2: the label 1 "),
        (texts(["red", "blue"] * 2), [None], "row 1: the label None"),
        (texts([["a"], ["a", "b"], ["b"]], "labels"), [["a"], ["a", "c"]], "row 2: the label 'c'"),
        (texts([1.0, 2.0], "number"), [1.0, NAN], "row 2: the target is nan"),
        (texts([1.0, 2.0], "number"), ["one"], "row 1: the target is 'one'"),
        (texts([1.0, 2.0], "number"), [INF], "row 1: the target is inf"),
        (words([["a"], ["b"]], [["O"], ["B-X"]]), [["O"], ["O", "B-Y"]], "row 2, word 2: the tag 'B-Y'"),
    ],
)
def test_labels_not_seen_in_training(dataset, values, part):
    task = infer_task(dataset)
    with pytest.raises(HeadstartError) as error:
        task.encode(values)
    text = str(error.value)
    assert text.startswith("HS-TASK-002") and part in text and "\n" not in text and error.value.hint


def test_a_near_label_is_suggested():
    with pytest.raises(HeadstartError, match='Did you mean "blue"'):
        infer_task(texts(["red", "blue"] * 2)).encode(["bleu"])
