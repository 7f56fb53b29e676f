"""The forecasting task: its numbers by hand, missing values, units, and lines of a table."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headstart.datasets.read import read
from headstart.errors import TaskError
from headstart.nn.forecaster import QUANTILES, pinball
from headstart.tasks.base import check_options, infer_task
from headstart.tasks.forecasting import Forecasting

CELL = [12.0, 16.0, 10.0, 4.0, 2.0]  # two values, low 10, size 4, scale 2


def flat(*medians: float) -> np.ndarray:
    return np.repeat(np.array(medians, float)[None, :, None], 9, axis=2).reshape(1, -1)


def test_mase_wql_and_coverage_by_hand():
    task = Forecasting(2)
    targets = task.encode([CELL])
    assert np.allclose(targets, [[0.5, 1.5, 2.0, 10.0, 4.0]])
    found = task.metrics(flat(0.25, 1.0), targets)  # 11 and 14 against 12 and 16
    assert found["mase"] == pytest.approx((1 + 2) / 2 / 2)
    assert found["neg_log_mase"] == pytest.approx(-np.log(0.75))
    assert found["wql"] == pytest.approx(2 * np.mean(QUANTILES) * 3 / 28)
    assert found["coverage_of_80"] == 0
    wide = np.sort(np.tile(np.linspace(0, 2, 9), 2))[None]
    assert task.metrics(np.tile(np.linspace(-1, 3, 9), 2)[None], targets)["coverage_of_80"] == 1
    assert task.quantiles(-wide).shape == (1, 2, 9) and (np.diff(task.quantiles(-wide), axis=2) >= 0).all()


def test_a_value_that_is_missing_counts_for_nothing():
    task = Forecasting(2)
    gap = task.encode([[12.0, None, 10.0, 4.0, 2.0], [None, None, 10.0, 4.0, 2.0], CELL])
    output = np.concatenate([flat(0.25, 99.0), flat(99.0, 99.0), flat(0.25, 1.0)])
    found = task.statistics(output, gap)
    assert found[0, 2] == pytest.approx(0.5) and not found[1].any() and found[2, 2] == pytest.approx(0.75)
    loss = task.loss(torch.tensor(output, dtype=torch.float32, requires_grad=True), task.collate(gap))["loss"]
    loss.backward()
    assert torch.isfinite(loss)


def test_the_pinball_loss_is_least_at_the_quantiles():
    values = torch.tensor(np.random.default_rng(0).normal(size=(20_000, 1)), dtype=torch.float32)
    best = torch.quantile(values, torch.tensor(QUANTILES))
    least = pinball(best.expand(len(values), -1), values).mean(dim=0)
    for shift in (-0.1, 0.1):
        assert (pinball((best + shift).expand(len(values), -1), values).mean(dim=0) > least).all()


def test_predictions_are_lines_in_the_units_of_the_user():
    data = {"s": ["a"] * 8 + ["b"] * 8, "v": [*range(10, 18), *range(100, 116, 2)]}
    rows = read(data, input="v", roles={"s": "series"}, horizon=2, for_prediction=True)
    task = Forecasting(2)
    found = task.predictions(np.concatenate([flat(1.0, 2.0), flat(0.0, 1.0)]), rows)
    assert found.values == [[17.0, 24.0], [100.0, 114.0]]
    assert found.lines["s"] == ["a", "a", "b", "b"] and found.lines["step"] == ["9", "10", "9", "10"]
    assert found.lines["prediction"] == [17.0, 24.0, 100.0, 114.0] == found.lines["quantile_0.9"]


def test_a_linear_head_finds_a_linear_relation_and_the_spread_around_it():
    generator = np.random.default_rng(0)
    X = generator.normal(size=(500, 3))
    truth = X @ np.array([[1.0, 0.0, 2.0], [0.0, -1.0, 0.5]]).T + 0.5 * generator.normal(size=(500, 2))
    y = np.concatenate([truth, np.tile([1.0, 0.0, 1.0], (500, 1))], axis=1)
    y[3, 0] = np.nan
    task = Forecasting(2)
    weight, bias = task.linear(X, y, 1e3)
    found = task.metrics(X @ weight.T + bias, y)
    assert found["mean_mase"] < 0.45 and 0.77 < found["coverage_of_80"] < 0.83


def test_the_task_asks_for_a_horizon():
    with pytest.raises(TaskError, match=r"HS-TASK-002.*forecasting.*--horizon"):
        check_options("forecasting", horizon=None)
    check_options("regression", horizon=None)
    rows = read({"t": [1, 2, 3], "value": [1.0, 2.0, 4.5]}, target="value")
    with pytest.raises(TaskError, match=r"HS-TASK-002.*forecasting.*regression"):
        infer_task(rows, "forecasting")
