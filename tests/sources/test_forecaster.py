"""The forecaster as a source: units, contexts, horizons beyond its own, and learning from a pool."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import headstart
from headstart.errors import DataError, MethodError
from headstart.nn.forecast import Forecast
from headstart.nn.forecaster import significant_periods
from headstart.sources import shelf
from headstart.sources.forecaster import ForecasterSource
from headstart.sources.shelf import open_source
from tests.conformance.examples import histories, series, tiny_forecaster

WAVE = np.sin(np.arange(40) / 3)[None]


def forecast(source, sample):
    with torch.inference_mode():
        return source.forward(source.preprocess([sample])).pooled.numpy()


def test_forecasts_do_not_depend_on_the_units_of_the_series(tmp_path):
    source = tiny_forecaster(tmp_path)
    assert np.allclose(forecast(source, WAVE), forecast(source, 1000 + 50 * WAVE), atol=1e-4)
    assert not np.allclose(forecast(source, WAVE), forecast(source, WAVE[:, :20]), atol=1e-3)


def test_it_settles_for_the_horizon_of_the_rows_and_goes_on_beyond_its_own(tmp_path):
    source = tiny_forecaster(tmp_path)
    longer = source.settled(histories(horizon=7))
    assert (source.card.width, longer.card.width) == (4 * 9, 7 * 9)
    one, other = forecast(source, WAVE), forecast(longer, WAVE)
    assert np.allclose(other[:, : 4 * 9], one)
    medians = one.reshape(4, 9)[:, 4]
    unit = (WAVE - WAVE.min()) / np.ptp(WAVE)
    extended = np.concatenate([unit, medians[None]], axis=1)[:, -32:]
    low, size = extended.min(), np.ptp(extended)
    assert np.allclose(other[:, 4 * 9 :], low + size * _raw(source, (extended - low) / size)[:, : 3 * 9], atol=1e-4)


def _raw(source, unit):
    with torch.inference_mode():
        values = torch.tensor(unit, dtype=torch.float32)
        return source.network(values, torch.ones_like(values, dtype=torch.bool)).flatten(1).numpy()


def test_several_channels_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"HS-DATA-020.*2 channels"):
        tiny_forecaster(tmp_path).preprocess([np.repeat(WAVE, 2, axis=0)])


def test_the_periods_of_a_series_are_found_and_those_of_noise_are_none():
    at = torch.arange(512.0)
    noise = torch.randn(1, 512, generator=torch.Generator().manual_seed(0))
    both = torch.sin(2 * torch.pi * at / 32) + 0.5 * torch.sin(2 * torch.pi * at / 8)
    assert set(significant_periods(both[None] + 0.1 * noise, 4)[0].tolist()) >= {8, 32}
    assert significant_periods(noise, 4).tolist() == [[0, 0, 0, 0]]


def test_a_fresh_one_has_learned_nothing_and_cannot_be_told_to_tell_series_apart(tmp_path):
    fresh = ForecasterSource()
    assert not fresh.pretrained and Forecast.lacks(fresh) is None
    with pytest.raises(MethodError, match=r"HS-METHOD-003.*a head that forecasts"):
        rows = {"v": [[1.0, 2.0, 3.0]] * 9}
        headstart.pretrain(rows, tmp_path / "x", source=series(tmp_path), objective="forecast", kinds={"v": "series"})


def test_pretraining_on_a_pool_learns_to_forecast_and_saves_a_source(tmp_path, monkeypatch):
    monkeypatch.setattr("headstart.sources.forecaster.FRESH", tiny_forecaster(tmp_path).sizes)
    monkeypatch.setattr("headstart.sources.forecaster._fresh_digest", lambda: "")
    generator = np.random.default_rng(0)
    rows = [np.sin(2 * np.pi * (np.arange(40) + generator.integers(8)) / 8) + 3 for _ in range(64)]
    pool = {
        "name": np.repeat(np.arange(64), 40).tolist(),
        "step": np.tile(np.arange(40), 64).tolist(),
        "value": np.concatenate(rows).tolist(),
    }
    made = headstart.pretrain(
        pool, tmp_path / "own", objective="forecast", input="value", roles={"name": "series", "step": "step"},
        epochs=15, batch_size=16, learning_rate=1e-2,
    )  # fmt: skip
    losses = made.facts["losses"]
    assert losses[-1] < 0.7 * losses[0]
    source = open_source(str(tmp_path / "own"))
    assert source.provider == "forecaster" and source.pretrained and "forecast" in source.card.origin
    assert np.allclose(forecast(source, WAVE), forecast(made.source, WAVE), atol=1e-6)


def test_a_source_for_one_task_is_not_ranked_for_others():
    assert "fracast" in shelf.names() and shelf.reading("series") == []
