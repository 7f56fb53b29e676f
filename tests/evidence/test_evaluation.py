"""What the contest says once, and what it keeps to itself."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from headstart import catalog
from headstart.evidence.evaluation import _comparisons, fold_part
from headstart.methods.base import Problem
from headstart.testing import dataset_with
from headstart.types import Interval


def test_the_pair_of_the_verdict_is_not_compared_again():
    plain = SimpleNamespace(name="plain", method=SimpleNamespace(ablation=lambda: None))
    idea = SimpleNamespace(name="idea", method=SimpleNamespace(ablation=lambda: plain))

    def found(pair):
        return _comparisons([idea, plain], lambda one, other: Interval(0, 0, 0), "folds", 9, pair)

    assert found((idea, plain)) == []
    assert [(each.method, each.against) for each in found((idea, None))] == [("idea", "plain")]


def test_what_a_fold_notes_is_not_said_of_the_run():
    rows = dataset_with([f"text {n}" for n in range(8)], ["a", "b"] * 4, "text")
    task = catalog.find("tasks", "classification").learn(rows)
    problem = Problem(rows, None, task, None, None, notes=["once"])
    fold_part(problem, catalog.find("methods", "baseline")(), rows, np.arange(6), 0).notes.append("of a fold")
    assert problem.notes == ["once"]
