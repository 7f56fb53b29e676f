"""Rows of a table that are equal because its columns hold few values are no twins."""

from __future__ import annotations

import numpy as np
import pytest

import headstart
from headstart.evidence.duplicates import common
from headstart.evidence.splits import split
from headstart.evidence.twins import together, without_twins
from headstart.tasks.base import infer_task


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    return tmp_path


def few_values(n):
    rng = np.random.default_rng(0)
    a, b = rng.choice(["x", "y", "z"], n), rng.choice(["p", "q"], n)
    labels = ["yes" if (one == "x") ^ (rng.random() < 0.2) else "no" for one in a]
    return {"a": a.tolist(), "b": b.tolist(), "label": labels}


def test_what_is_common():
    assert common(["a", "a", "a", "b", "b"], ["a", "b", "c"]).tolist() == [True, False, False]


def test_a_table_of_few_values_keeps_its_test():
    rows = headstart.read(few_values(2400), target="label")
    parts = without_twins(split(rows, None, seed=0), None, infer_task(rows))
    assert len(parts.test) == 480 and parts.moved == 0
    assert "480 test rows are equal to several training rows each" in parts.notes[-1]


def test_a_row_that_stands_twice_is_still_a_twin():
    rng = np.random.default_rng(0)
    ages = rng.uniform(size=1500).tolist()
    rows = headstart.read({"age": ages * 2, "label": ["a", "b"] * 1500}, target="label", input="age")
    parts = split(rows, None, seed=0)
    after = without_twins(parts, None, infer_task(rows))
    known = set(after.labelled().fingerprints())
    assert after.moved > 400 and not known & set(after.test.fingerprints())


def test_rows_of_a_fold_are_held_together_where_they_stand_twice_alone():
    given = {"age": [1.5, 1.5, 2.5, 3.5, 3.5, 3.5, 3.5], "label": list("abababa")}
    rows = headstart.read(given, target="label", input="age")
    codes = together(rows)
    assert codes[0] == codes[1] and len(np.unique(codes)) == 6
    assert together(rows.select([0, 2, 3])) is None


def test_a_small_table_of_few_values_is_cross_validated(home):
    run = headstart.fit(few_values(200), "label", method="baseline", control=False, out=home / "run")
    assert run.record.metrics["accuracy"] > 0.7
