"""Trees that go on from what a source says, and the control that pools the rows of both tables."""

from __future__ import annotations

import numpy as np
import pytest

import headstart
from headstart import catalog
from headstart.errors import ArtefactError, MethodError
from headstart.evidence.controls import controls
from headstart.evidence.learners import MethodLearner, Pool
from headstart.methods.base import Problem
from headstart.methods.baseline import Baseline
from headstart.methods.boosting import Boosting, BoostingFitted, same_classes
from headstart.methods.pooled import Pooled, PooledFitted
from headstart.runtime import Extractor
from headstart.sources.shelf import open_source
from headstart.tasks.base import infer_task
from tests.conformance.examples import images, people, rows_of_people, tiny_people, tiny_torchvision


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    return tmp_path


def problem(rows, source):
    return Problem(rows, None, infer_task(rows), source, Extractor(source, cache=False), seed=0)


def others(count=300):
    columns = people(count, seed=7, town="home town")
    height = [170.0] * count
    return headstart.read({**columns, "height": height}, target="label", input=["age", "home town", "height"])


@pytest.mark.parametrize("start", ["source", "prediction", "features", "columns"])
def test_the_source_helps_where_labels_are_few(home, start):
    rows, test = rows_of_people(), others()
    given = problem(rows, tiny_people(home))
    truth = given.task.encode(test.targets())
    fitted = Boosting(start=start).fit(given)
    alone = Baseline().fit(given)
    score = given.task.score(fitted.outputs(test.without("target")), truth)
    assert score >= given.task.score(alone.outputs(test.without("target")), truth)
    assert score > 0.75 and fitted.start == start and fitted.cv_outputs.shape == (24, 2)


def test_the_best_start_is_kept_and_saved(home):
    given = problem(rows_of_people(), tiny_people(home))
    fitted = Boosting().fit(given)
    assert (
        fitted.method.start in ("source", "prediction", "features", "columns")
        and fitted.history[-1]["start"] == fitted.start
    )
    (home / "model").mkdir()
    fitted.save(home / "model")
    again = BoostingFitted.load(home / "model", given.task, Boosting())
    test = others(20).without("target")
    assert np.array_equal(again.outputs(test), fitted.outputs(test)) and again.description == fitted.description
    assert not (home / "model" / "source" / "rows.parquet").exists()  # the rows of the source stay with it
    (home / "model" / "boosting.json").write_text('{"columns": {"plans": []}}')
    with pytest.raises(ArtefactError, match="HS-ARTEFACT-003"):
        BoostingFitted.load(home / "model", given.task, Boosting())


def test_the_classes_of_the_source_are_found_by_name(home):
    source, task = tiny_people(home), infer_task(rows_of_people())
    assert source.classes == ("no", "yes") and np.array_equal(same_classes(task, source), np.eye(2))
    source.classes = ("yes", "no")
    assert np.array_equal(same_classes(task, source), np.eye(2)[::-1])
    source.classes = ("yes", "maybe")
    assert same_classes(task, source) is None
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*predicts other classes"):
        Boosting(start="source").fit(problem(rows_of_people(), source))
    assert Boosting().fit(problem(rows_of_people(), source)).start != "source"


def test_a_source_that_predicts_nothing_is_refused(home):
    rows = rows_of_people()
    source = open_source("identity").settled(rows)
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*boosting needs a source that predicts; identity"):
        Boosting().admit(infer_task(rows), source, rows)
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*pooled.*identity keeps none"):
        Pooled().admit(infer_task(rows), source, rows)


def test_pooled_learns_from_the_rows_of_the_source(home):
    rows, test = rows_of_people(), others()
    given = problem(rows, tiny_people(home))
    fitted, alone = Pooled().fit(given), Baseline().fit(given)
    truth = given.task.encode(test.targets())
    score = given.task.score(fitted.outputs(test.without("target")), truth)
    assert score > given.task.score(alone.outputs(test.without("target")), truth) and score > 0.75
    assert fitted.history[-1]["rows of the source"] == 60 and fitted.cv_outputs.shape == (24, 2)
    (home / "model").mkdir()
    fitted.save(home / "model")
    again = PooledFitted.load(home / "model", given.task, Pooled())
    assert np.array_equal(again.outputs(test), fitted.outputs(test))
    (home / "model" / "pooled.json").write_text('{"arrays": {}, "columns": {"plans": []}}')
    with pytest.raises(ArtefactError, match="HS-ARTEFACT-003"):
        PooledFitted.load(home / "model", given.task, Pooled())


def test_pooled_takes_the_rows_with_labels_of_the_task_alone(home):
    columns = people(24, town="home town")
    maybe = {**columns, "label": [{"no": "maybe"}.get(label, label) for label in columns["label"]]}
    rows = headstart.read(maybe, target="label", input=["age", "home town"])
    given = problem(rows, tiny_people(home))
    used = Pooled().fit(given).history[-1]["rows of the source"]
    assert 0 < used < 60 and used == people(60, seed=1)["label"].count("yes")
    numbers = headstart.read({**columns, "label": columns["age"]}, target="label", input=["home town"])
    with pytest.raises(MethodError, match="HS-METHOD-003"):
        Pooled().admit(infer_task(numbers), tiny_people(home), numbers)


def test_pooling_is_a_control_where_the_rows_are_kept(home):
    rows, task = rows_of_people(), infer_task(rows_of_people())
    source = tiny_people(home)
    assert [each.name for each in controls(source, "quick", task, rows)] == ["baseline", "pooled", "scratch"]
    blank = source.with_network(source.network)
    assert [each.name for each in controls(blank, "quick", task, rows)] == ["baseline", "scratch"]
    pictures = images()
    found = controls(tiny_torchvision(home), "quick", infer_task(pictures), pictures)
    assert [each.name for each in found] == ["baseline", "scratch"]


def test_auto_tries_it_on_tables_alone(home):
    auto = catalog.find("methods", "auto")(effort="quick")
    frozen, trained = auto.candidates(problem(rows_of_people(), tiny_people(home)))
    assert [method.name for method in frozen] == ["probe", "boosting"] and trained == []
    frozen, _ = auto.candidates(problem(images(), tiny_torchvision(home)))
    assert "boosting" not in [method.name for method in frozen]


def test_a_model_that_is_fitted_as_a_whole_is_judged_out_of_fold(home):
    given = problem(rows_of_people(), tiny_people(home))
    pool = Pool(given.train, None, given.task.encode(given.train.targets()))
    small = MethodLearner(given, pool, Boosting(start="columns")).fit(np.arange(20), np.zeros(0, int), 0)
    assert len(small.inside) == 20 and len(small.outputs) == 0
