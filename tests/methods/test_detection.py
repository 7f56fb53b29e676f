"""Detectors: what they find, what they remember, and that labels have no part in it."""

from __future__ import annotations

import numpy as np
import pytest

from headstart import catalog
from headstart.errors import DataError
from headstart.methods.base import Problem
from headstart.methods.detection import DetectorFitted, robust
from headstart.methods.matrix_profile import profile
from headstart.methods.nearest import between
from headstart.methods.seasonal_residuals import residuals
from headstart.sources.series import Series
from headstart.tasks.anomalies import Anomalies
from headstart.testing import check_method, dataset_with

NAMES = ("nearest", "untrained", "isolation_forest", "seasonal_residuals", "matrix_profile")


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


def fitted(name, rows, **settings):
    source = Series() if name in ("nearest", "untrained") else None
    method = catalog.find("methods", name)(**settings)
    return method.fit(Problem(rows, None, Anomalies(), source, None, seed=1))


@pytest.mark.parametrize("name", NAMES)
def test_what_every_method_must_do(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path))
    check_method(catalog.find("methods", name)(), planted(3, 120), Anomalies, Series())


@pytest.mark.parametrize("name", NAMES)
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
