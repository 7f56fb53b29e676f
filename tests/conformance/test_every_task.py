"""Every task of the catalog passes the public checks."""

from __future__ import annotations

import pytest

from headstart import catalog
from headstart.testing import check_task

EXAMPLES = {
    "anomalies": [([[0, 0, 1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0]], "series")],
    "classification": [
        (["a", "b", "c", "a", "b", "c", "a", "b"], "category"),
        ([3, 7, 3, 7, 7, 3], "category"),
        ([True, False, True, False], "category"),
    ],
    "forecasting": [
        (
            [[1.0, 2.5, 3.0, 0.0, 2.0, 0.5], [5.0, None, 4.0, 1.0, 9.0, 2.0], [0.0, -1.0, 0.5, -1.0, 2.0, 1.0]],
            "future",
        )
    ],
    "multilabel": [([["x"], ["x", "y"], [], ["y"], ["z", "x"], ["z"]], "labels")],
    "recommendation": [([["a", "b"], ["b"], ["c", "a"], ["d"]], "items")],
    "regression": [([1.5, -2.0, 0.25, 1000.0, 3.0, 4.0], "number")],
    "several": [
        (
            [("a", 1.5, ["x"]), ("b", 2.5, []), ("a", 0.5, ["y", "x"]), ("b", 9.0, ["y"])],
            ("category", "number", "labels"),
        ),
        ([("a", 1), ("b", 2), ("a", 1), ("b", 2), ("c", 2), ("c", 1)], ("category", "category")),
    ],
    "token_labels": [([["O", "B-PER", "I-PER"], ["O"], ["B-LOC", "O"], ["B-PER", "O", "O", "B-LOC"]], "tags")],
}


def test_every_task_has_an_example():
    assert set(EXAMPLES) == set(catalog.names("tasks"))


@pytest.mark.parametrize(
    ("name", "values", "kind"), [(name, *example) for name, examples in EXAMPLES.items() for example in examples]
)
def test_task(name, values, kind):
    check_task(catalog.find("tasks", name), values, kind)
