"""Detectors: what they find, what they remember, and that labels have no part in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import headstart
from headstart import catalog
from headstart.errors import DataError, MethodError
from headstart.evidence.controls import detectors
from headstart.methods.base import Problem
from headstart.methods.detection import DetectorFitted, robust
from headstart.methods.matrix_profile import profile
from headstart.methods.nearest import between
from headstart.methods.seasonal_residuals import residuals
from headstart.sources.series import Series
from headstart.tasks.anomalies import Anomalies
from headstart.testing import check_method, dataset_with
from tests.conformance.examples import tiny_forecaster

NAMES = ("nearest", "untrained", "isolation_forest", "seasonal_residuals", "matrix_profile", "forecast_residuals")


def source_of(name):
    """A source that the detector can read, or None."""
    if name == "forecast_residuals":
        return tiny_forecaster(Path())
    return Series() if name in ("nearest", "untrained") else None


def planted(count=3, steps=240, odd=True):
    """Noisy waves; in each a stretch of a period is nothing but noise."""
    generator, series, labels = np.random.default_rng(0), [], []
    for row in range(count):
        wave = np.sin(2 * np.pi * np.arange(steps) / 20 + row) + 0.05 * generator.normal(size=steps)
        marks, at = np.zeros(steps), steps // 4 + steps // 6 * row
        if odd:
            wave[at : at + 20] = 1.5 * generator.normal(size=20)
            marks[at : at + 20] = 1
        series.append(wave.tolist())
        labels.append(marks.tolist())
    return dataset_with(series, labels, "series", "series")


def fitted(name, rows, source=None, **settings):
    method = catalog.find("methods", name)(**settings)
    return method.fit(Problem(rows, None, Anomalies(), source or source_of(name), None, seed=1))


@pytest.mark.parametrize("name", NAMES)
def test_what_every_method_must_do(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path))
    check_method(catalog.find("methods", name)(), planted(3, 120), Anomalies, source_of(name) or Series())


@pytest.mark.parametrize("name", NAMES[:-1])  # the last one needs a source that has learned to forecast
def test_a_stretch_of_noise_is_found(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path))
    rows = planted()
    model, task = fitted(name, rows.without("target")), Anomalies()
    outputs = model.outputs(rows.without("target"))
    metrics = task.metrics(outputs, task.encode(rows.targets()))
    chance = 20 / 240
    assert metrics["average_precision"] > 3 * chance, metrics
    low, high = np.quantile(np.concatenate(outputs), [0.25, 0.75])
    assert high + 3 * (high - low) == pytest.approx(1, abs=1e-6)


def test_labels_have_no_part_in_it():
    rows = planted()
    for name in ("isolation_forest", "matrix_profile"):
        one, other = fitted(name, rows), fitted(name, rows.without("target"))
        assert np.array_equal(np.concatenate(one.outputs(rows)), np.concatenate(other.outputs(rows)))


def test_a_series_of_the_fit_and_a_new_one(tmp_path, monkeypatch):
    """Windows of a series are never compared with themselves in the memory; those of other series are."""
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path))
    clean, odd = planted(1, odd=False), planted(1)
    model = fitted("nearest", clean.without("target"))
    own, new = model.outputs(clean)[0].ravel(), model.outputs(odd)[0].ravel()
    assert own.min() > 0
    marks = np.array(odd.targets()[0]) > 0
    assert new[marks].mean() > 1.5 * new[~marks].mean() and (new[marks] > 1).any()
    both = fitted("nearest", clean.followed_by(odd).without("target"))
    assert set(both.memory["owners"].tolist()) == {0, 1}


def test_short_series_are_refused_by_name():
    with pytest.raises(DataError, match=r'HS-DATA-012.*series "1" has 20 steps; expected 32'):
        fitted("matrix_profile", planted(1, 20, odd=False))


def test_series_in_other_units_score_alike():
    rows = planted(1)
    scaled = dataset_with([(np.array(rows.values("input")[0]) * 1000 + 7).tolist()], rows.targets(), "series", "series")
    for name in ("seasonal_residuals", "matrix_profile"):
        one, other = (fitted(name, each).outputs(each)[0] for each in (rows, scaled))
        assert np.allclose(one, other, rtol=1e-2, atol=1e-3)


def test_the_matrix_profile_is_that_of_all_pairs():
    values, w = np.random.default_rng(0).normal(size=90).cumsum(), 8
    values[40:55] = values[40]  # windows that stand still
    views = np.lib.stride_tricks.sliding_window_view(values, w)
    mean, size = views.mean(axis=1, keepdims=True), views.std(axis=1, keepdims=True)
    still = size.ravel() < 1e-9
    shapes = (views - mean) / np.where(size < 1e-9, 1, size)
    pairs = between(shapes, shapes)
    pairs[still[:, None] ^ still[None]] = np.sqrt(w)
    pairs[still[:, None] & still[None]] = 0
    places = np.arange(len(views))
    pairs[np.abs(places[:, None] - places[None]) < w // 2] = np.inf
    assert np.allclose(profile(values, w), pairs.min(axis=1), atol=1e-5)


def test_residuals_of_a_season_with_a_spike():
    season = np.tile([0.0, 1, 5, 2], 30) + np.linspace(0, 9, 120)
    season[50] += 3
    rest = np.abs(residuals(season[None], 4)[0])
    assert rest.argmax() == 50 and np.median(rest) < 0.3


def test_saved_and_loaded(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    rows = planted(2, 120)
    model = fitted("nearest", rows)
    model.save(tmp_path)
    again = DetectorFitted.load(tmp_path, Anomalies(), model.method)
    assert np.allclose(np.concatenate(again.outputs(rows)), np.concatenate(model.outputs(rows)), atol=1e-5)
    assert [row.share for row in again.trained()] == [0.0] * 4
    assert robust(rows.samples()[0]).shape == (1, 120)


def test_forecast_residuals_are_in_half_widths_of_the_band(tmp_path, monkeypatch):
    """A forecast that knows the wave, with a band of one below and three above; the first steps come from behind."""
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path))
    rows = planted(1, 64, odd=False)
    truth = robust(rows.samples()[0])[0]
    odd = truth.copy()
    odd[[5, 40, 41]] += (6, 6, -6)
    asked = []

    def features(self, samples):
        """The next six values of the wave, forwards or backwards, between the ends of the history."""
        found = []
        for sample in samples:
            history = sample[0]
            backwards = len(history) > 47 and np.allclose(history[:20], odd[::-1][:20])
            line = truth[::-1] if backwards else truth
            asked.append((backwards, len(history)))
            ahead = np.append(line, np.zeros(9))[len(history) : len(history) + 6]
            low, size = history.min(), max(history.max() - history.min(), 1e-5)
            band = np.array([-1.0, -1, -1, -1, 0, 3, 3, 3, 3])
            found.append((ahead[:, None] + band - low) / size)
        return np.stack(found).reshape(len(found), -1)

    monkeypatch.setattr(DetectorFitted, "features", features)
    method = catalog.find("methods", "forecast_residuals")()
    model = DetectorFitted(method, Anomalies(), {}, source=tiny_forecaster(tmp_path))
    monkeypatch.setattr(model.source, "card", replace(model.source.card, width=54))
    scores = method.score(model, odd[None], 20, "")
    assert scores[[5, 40, 41]] == pytest.approx([2, 2, 2]) and np.delete(scores, [5, 40, 41]).max() < 1e-6
    assert asked[:8] == [(False, length) for length in range(16, 64, 6)]
    assert asked[8:] == [(True, length) for length in (48, 54, 60)]


def test_the_control_repeats_the_transfer_on_fresh_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path))
    source, rows = tiny_forecaster(tmp_path), planted(1, 96)
    for name, settings in (("forecast_residuals", {"ahead": 3}), ("nearest", {"neighbours": 2})):
        own = source if name == "forecast_residuals" else Series()
        first = catalog.find("methods", name)(**settings)
        control = next(each for each in detectors(own, first) if each.name == "untrained")
        assert control.repeated == first
        problem = Problem(rows, None, Anomalies(), own, None, seed=1)
        other = first.fit(problem.replace(source=own.untrained(1)))
        assert np.array_equal(control.fit(problem).outputs(rows)[0], other.outputs(rows)[0])


def test_what_forecasts_is_what_auto_stands_for(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path))
    rows = planted(2, 96).without("target")
    for source, name in ((tiny_forecaster(tmp_path), "forecast_residuals"), (Series(), "nearest")):
        plan = headstart.fit(rows, task="anomalies", source=source, dry_run=True)
        assert plan.facts["methods"] == name and all(row.share == 0 for row in plan.rows)
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*forecast_residuals needs a source that forecasts; series"):
        headstart.fit(rows, task="anomalies", source=Series(), method="forecast_residuals", out=tmp_path / "run")
