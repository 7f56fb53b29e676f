"""The statistical models of one series: what they forecast by hand, and against statsforecast."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.nn import local_forecasts as local
from headstart.nn.forecaster import QUANTILES

AT = np.arange(60, dtype=float)
SEASONAL = 10 * np.sin(2 * np.pi * AT / 6) + 0.5 * AT


def test_the_last_season_again_with_and_without_drift():
    naive, drift = (local.MODELS[name](SEASONAL, 6, 8)[:, 4] for name in ("seasonal_naive", "drift"))
    assert np.allclose(naive, [*SEASONAL[-6:], *SEASONAL[-6:-4]])
    assert np.allclose(drift, naive + 3.0 * np.array([1, 1, 1, 1, 1, 1, 2, 2]))
    truth = 10 * np.sin(2 * np.pi * np.arange(60, 68) / 6) + 0.5 * np.arange(60, 68)
    assert np.allclose(drift, truth)


def test_an_autoregression_finds_what_made_the_series():
    generator = np.random.default_rng(0)
    series = [0.0, 1.0]
    for _ in range(600):
        series.append(1.5 * series[-1] - 0.8 * series[-2] + 0.3 * generator.normal())
    history = np.array(series)
    found = local.ridge(history, 1, 6)
    expected = series[-2:]
    for _ in range(6):
        expected.append(1.5 * expected[-1] - 0.8 * expected[-2])
    assert np.abs(found[:, 4] - expected[2:]).max() < 0.25 * np.ptp(history[-50:])
    spread = found[:, QUANTILES.index(0.9)] - found[:, 4]
    assert spread[0] == pytest.approx(1.2816 * 0.3, rel=0.15) and (np.diff(spread) > -1e-9).all()


def moved(count: int = 130, ahead: int = 8):
    """An autoregression moved by a column of noise, 3 for 1; the column, and another that never changes."""
    generator = np.random.default_rng(1)
    column, rest = generator.normal(size=count + ahead), [0.0]
    for _ in range(count + ahead - 1):
        rest.append(0.7 * rest[-1] + generator.normal())
    return np.array(rest) + 3 * column, np.stack([column, np.ones(count + ahead)])


def test_the_effect_of_what_is_known_ahead_is_found_and_added_again():
    values, known = moved()
    history, truth = values[:130], values[130:]
    without, found = local.ridge(history, 1, 8), local.forecast("ridge_known", history, 1, 8, known)
    assert np.abs(found[:, 4] - truth).mean() < 0.5 * np.abs(without[:, 4] - truth).mean()
    assert found[0, 8] - found[0, 0] < 0.6 * (without[0, 8] - without[0, 0])
    more = known + np.array([[0.0] * 130 + [1.0] * 8, [0.0] * 138])
    change = local.forecast("ridge_known", history, 1, 8, more)[:, 4] - found[:, 4]
    assert np.allclose(change, 3, atol=0.3)  # one more of the column is 3 more of the value
    scaled = local.forecast("ridge_known", history, 1, 8, 1000 + 50 * known)
    assert np.allclose(scaled, found, atol=1e-6)  # whatever its units


def test_a_column_that_never_changed_changes_nothing():
    values, known = moved()
    for model in ("ridge_known", "ridge"):
        assert np.array_equal(local.forecast(model, values[:130], 1, 8, known[1:]), local.ridge(values[:130], 1, 8))
    assert "ridge_known" in local.available(known=True) and "ridge_known" not in local.available()


def test_quantiles_widen_and_do_not_cross():
    generator = np.random.default_rng(0)
    history = SEASONAL + generator.normal(size=60)
    for model in local.MODELS:
        found = local.forecast(model, history, 6, 12)
        assert found.shape == (12, 9) and np.isfinite(found).all() and (np.diff(found, axis=1) > 0).all()
        assert found[11, 8] - found[11, 0] >= found[0, 8] - found[0, 0] - 1e-9


@pytest.mark.parametrize("history", [np.ones(20), np.array([1.0, 2.0, 4.0, 3.0]), np.zeros(9)])
def test_flat_and_short_histories_have_a_forecast(history):
    for model in local.MODELS:
        assert np.isfinite(local.forecast(model, history, 12, 5)).all()


def test_autoets_and_autotheta_are_those_of_statsforecast():
    models = pytest.importorskip("statsforecast.models")
    history = SEASONAL + np.random.default_rng(1).normal(size=60)
    for name, peer in (("autoets", models.AutoETS), ("autotheta", models.AutoTheta)):
        expected = peer(season_length=6).forecast(y=history, h=7, level=[80])
        found = local.forecast(name, history, 6, 7)
        assert np.allclose(found[:, 4], expected["mean"])
        assert np.allclose(found[:, 0], expected["lo-80"]) and np.allclose(found[:, 8], expected["hi-80"])
