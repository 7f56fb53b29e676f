"""Weights of a series by its validation windows, shrunk towards all series; the control by the same rule."""

from __future__ import annotations

import numpy as np
import pytest

from headstart import catalog
from headstart.errors import MethodError
from headstart.evidence.splits import split
from headstart.methods import gate
from headstart.methods.base import Fitted, Problem
from headstart.methods.statistical import DESCRIBED, Statistical, StatisticalFitted
from headstart.nn import local_forecasts
from tests.conformance.examples import histories, series, tiny_forecaster


class Fixed(Fitted):
    """Forecasts the truth of some series and nonsense of the others."""

    kind = "methods.fixed"

    def __init__(self, task, good, truth, name):
        self.method, self.task, self.good, self.truth, self.model = Statistical(), task, good, truth, name

    @property
    def description(self):
        return self.model

    def outputs(self, dataset):
        found = []
        for name, sample in zip(dataset.values("name"), dataset.samples(), strict=True):
            right = self.truth[name, sample.shape[1]]
            found.append(np.repeat(right + 0.02 if name in self.good else right + 5, 9))
        return np.stack(found)

    def trained(self):
        return []

    def save(self, folder):
        raise NotImplementedError

    load = save


@pytest.fixture
def problem():
    rows = histories(40, horizon=3)
    parts = split(rows, seed=0)
    task = catalog.find("tasks", "forecasting").learn(rows)
    return Problem(parts.train, parts.valid, task, None, None), rows


def test_each_series_goes_to_the_member_that_forecasts_it_best(problem):
    problem, rows = problem
    encoded = problem.task.encode(rows.targets())[:, :3]
    known = zip(rows.values("name"), rows.samples(), encoded, strict=True)
    truth = {(name, sample.shape[1]): np.nan_to_num(own) for name, sample, own in known}
    one, other = Fixed(problem.task, "abc", truth, "one"), Fixed(problem.task, "d", truth, "other")
    fitted = gate.weighed(Statistical(), problem, [one, other])
    assert fitted.weights["a"].tolist() == [1, 0] and fitted.weights["d"].tolist() == [0, 1]
    assert fitted.otherwise.tolist() == [1, 0]  # of a series that was not there: what is best for all
    found = fitted.outputs(problem.valid.without("target"))
    assert problem.task.score(found, problem.task.encode(problem.valid.targets())) > 1
    drawn = gate.weighed(Statistical(), problem, [one, other], prior=1e6)
    assert all(np.allclose(own, drawn.otherwise) for own in drawn.weights.values())


def test_weights_are_powers_of_the_error():
    found = gate.shares(np.log([1.0, 2.0, 10.0]), 2.0)
    assert found == pytest.approx(np.array([0.8, 0.2, 0.0]))  # 1 : 1/4 : 1/100, the last one is slight
    assert gate.shares(np.log([1.0, 2.0]), 0.0).tolist() == [0.5, 0.5]


def test_the_control_weighs_models_and_a_single_one_can_be_named(problem, tmp_path):
    problem, rows = problem
    fitted = Statistical().fit(problem)
    assert {each.name for each in fitted.tried} == set(local_forecasts.available()) <= set(DESCRIBED)
    assert all(each.validation is not None and each.role == "control" for each in fitted.tried)
    assert all(weight.sum() == pytest.approx(1) for weight in fitted.weights.values())
    single = Statistical(model="drift").fit(problem)
    assert isinstance(single, StatisticalFitted) and single.description == "seasonal naive with drift"
    sample, season = rows.samples()[0][0].astype(float), 3
    low, size = sample.min(), np.ptp(sample)
    own = problem.task.in_units(single.outputs(rows.select([0])), rows.select([0]))[0]
    assert np.allclose(own, local_forecasts.drift(sample, season, 3)) and size > 0 and low <= sample[0]


def test_a_model_of_what_is_known_ahead_needs_something_that_is(problem):
    problem, rows = problem
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*ridge_known.*--known"):
        Statistical(model="ridge_known").admit(problem.task, None, rows)


def test_without_the_package_the_other_models_serve_and_a_note_says_so(problem, monkeypatch):
    problem, _ = problem
    monkeypatch.setattr(local_forecasts.importlib.util, "find_spec", lambda name: None)
    fitted = Statistical().fit(problem)
    assert [each.name for each in fitted.tried] == ["seasonal_naive", "drift", "ridge"]
    assert any("headstart[timeseries]" in note for note in problem.notes)


def test_a_source_that_does_not_forecast_is_refused(tmp_path):
    rows = histories()
    task = catalog.find("tasks", "forecasting").learn(rows)
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*gate.*series does not"):
        gate.Gate().admit(task, series(tmp_path), rows)
    gate.Gate().admit(task, tiny_forecaster(tmp_path).settled(rows), rows)
