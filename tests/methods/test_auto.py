"""The automatic search: order, stopping, time, few labels; and cross-validation of whole methods."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from headstart.errors import MethodError
from headstart.methods import auto
from headstart.methods.auto import Auto, planned
from headstart.methods.base import Problem
from headstart.methods.finetune import Finetune
from headstart.methods.probe import Probe
from headstart.methods.selection import FEW, out_of_fold, validation_part
from headstart.report import summary
from headstart.runtime import Extractor
from headstart.sources.identity import Identity
from headstart.tasks.base import infer_task
from headstart.testing import dataset_with
from tests.conformance.examples import WORDS, texts, tiny_bert
from tests.report.records import positive


@pytest.fixture
def bert(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    return tiny_bert(tmp_path)


def problem(source, rows, valid=None, **more):
    extractor = Extractor(source, cache=False, precision="fp32")
    return Problem(rows, valid, infer_task(rows), source, extractor, seed=1, options={"precision": "fp32"}, **more)


def many(count):
    """Rows of a fixed label pattern that no head can tell: the labels do not depend on the words."""
    generator = np.random.default_rng(3)
    inputs = [f"{row} " + " ".join(generator.choice(WORDS, 6)) for row in range(count)]
    return dataset_with(inputs, generator.permutation(np.arange(count) % 2).astype(str).tolist(), "category")


def test_what_is_planned_follows_rows_effort_and_further_rows(bert):
    few, more = problem(bert, many(60)), problem(bert, many(300))
    assert planned(few, "quick") == ["probe", "prototypes"]
    assert planned(few, "balanced") == ["probe", "prototypes", "contrastive"]
    assert planned(more, "balanced") == ["probe", "finetune"]
    assert planned(more, "thorough") == ["probe", "finetune", "soup"]
    given = more.replace(unlabelled=many(20).without("target"))
    assert planned(given, "quick") == ["probe", "selftrain"]


@pytest.mark.slow
def test_it_stops_where_a_step_does_not_improve(bert):
    rows = texts(60)
    given = problem(bert, rows.select(range(40)), rows.select(range(40, 60)))
    fitted = Auto(among="probe,finetune,scratch").fit(given)
    assert [each.name for each in fitted.tried] == ["probe", "finetune"], "the probe is perfect: nothing can improve it"
    assert fitted.method.name == "probe"
    assert "finetune did not improve it" in given.notes[-1] and given.notes[-1].startswith("Tried, accuracy")


def test_a_usable_model_is_there_where_the_time_is_spent(bert):
    rows = texts(60)
    given = problem(bert, rows, deadline=time.monotonic() + 0.1)
    fitted = Auto(among="probe,finetune").fit(given)
    assert [each.name for each in fitted.tried] == ["probe"] and "finetune would take about" in given.notes[-1]


def test_a_training_is_shortened_to_the_passes_that_fit(bert, monkeypatch):
    monkeypatch.setattr(auto, "row_seconds", lambda problem: 0.5)  # 40 rows, 3 passes: 60 s
    monkeypatch.setattr(auto, "LEAST", 0.0)
    given = problem(bert, many(60).select(range(40)), many(60).select(range(40, 60)), deadline=time.monotonic() + 90)
    fitted = Auto(among="probe,finetune").fit(given)
    assert [each.hyperparameters.get("epochs") for each in fitted.tried] == [None, 2]
    shorter = Auto(among="probe,finetune").fit(given.replace(deadline=time.monotonic() + 30))
    assert len(shorter.tried) == 1, "not one pass of 20 s fits into half of 30 s"


def test_of_few_labels_the_folds_are_cut_before_the_passes(bert):
    given, method = problem(bert, many(60)), Finetune()  # 60 rows, 3 passes: 180 rows, and 120 a fold of three

    def within(seconds):
        shorter, folds, needed = Auto()._within(given.replace(deadline=time.monotonic() + seconds), method, 1.0)
        return shorter.epochs, folds, needed

    assert within(1200) == (3, 3, 180 + 3 * 120)
    assert within(800) == (3, 2, 180 + 2 * 90)
    assert within(500) == (2, 2, 120 + 2 * 60)
    assert within(100)[:2] == (1, 2), "one pass is the least"


def test_few_labels_are_judged_out_of_fold(bert):
    rows = many(60)
    given = problem(bert, rows)
    fitted = Auto(among="probe").fit(given)
    outputs = out_of_fold(Probe(), given, 5)
    assert fitted.tried[0].validation == given.task.score(outputs, given.task.encode(rows.targets()))
    assert len(rows) < FEW


def test_out_of_fold_does_not_see_the_row_itself(bert):
    rows = many(36)
    given = problem(bert, rows)
    targets = given.task.encode(rows.targets())
    strong = Probe(strength=1e6, layers="last")
    inside = given.task.score(strong.fit(given).outputs(rows.without("target")), targets)
    outside = given.task.score(out_of_fold(strong, given, 4), targets)
    assert inside > 0.8 and outside < 0.7, "labels that are noise are learned by heart, not predicted"
    assert np.array_equal(out_of_fold(strong, given, 4), out_of_fold(strong, given, 4))


def test_a_validation_part_is_cut_once_and_stays(bert):
    given = problem(bert, many(90))
    part = validation_part(given)
    assert part.valid is not None and len(part.valid) == 15 and len(part.train) == 75
    assert not set(part.valid.fingerprints()) & set(part.train.fingerprints())
    assert validation_part(part) is part
    assert part.valid.fingerprints() == validation_part(given).valid.fingerprints()


def test_a_search_is_narrowed_before_it_is_repeated(bert):
    rows = texts(60)
    fitted = Auto(among="probe,finetune").fit(problem(bert, rows.select(range(40)), rows.select(range(40, 60))))
    assert Auto().settled(fitted).among == "probe"


def test_the_summary_shows_what_the_search_tells(bert):
    given = problem(bert, texts(60))
    Auto(among="probe").fit(given)
    lines = dict(summary.rows(replace(positive(), notes=given.notes)))
    assert lines["tried"].startswith("accuracy on validation: probe") and "nothing is left to try" in lines["tried"]


def test_nothing_that_fits_is_refused_by_name():
    rows = dataset_with([[0.1, 0.2], [0.3, 0.1]] * 10, ["a", "b"] * 10, "category", "array")
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*auto: none of finetune"):
        Auto(among="finetune").fit(problem(Identity(), rows))


def test_the_cost_of_a_row_is_measured_and_changes_nothing(bert):
    before = {name: value.clone() for name, value in bert.network.state_dict().items()}
    assert 0 < auto.row_seconds(problem(bert, many(20))) < 1
    assert all((value == before[name]).all() for name, value in bert.network.state_dict().items())
    assert Finetune(epochs=4).rows_trained(10) == 40
