"""Windows of series: their length is the period, and their scores come back to the steps that they hold."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.nn.subsequences import LONGEST, SHORTEST, USUAL, cut, period_of, robust, starts_of, to_steps, window_of


def test_the_period_is_found():
    steps = np.arange(1000)
    wave = np.sin(2 * np.pi * steps / 40)[None]
    noise = np.random.default_rng(0).normal(size=(1, 1000))
    assert period_of(wave + 0.3 * noise) == 40
    assert period_of(wave + 0.01 * steps) in (39, 40, 41)  # a straight line hides no period
    assert period_of(noise) == USUAL
    assert period_of(noise[:, :80]) == 10 and period_of(noise[:, :40]) == SHORTEST
    assert period_of(np.sin(2 * np.pi * np.arange(40_000) / 5000)[None]) <= LONGEST
    assert window_of(40) == 20 and window_of(9) == SHORTEST


def test_every_channel_has_median_0_and_range_1():
    series = np.random.default_rng(0).normal(size=(2, 401)) * [[5], [0.01]] + [[100], [-3]]
    found = robust(series)
    assert np.allclose(np.median(found, axis=1), 0)
    assert np.allclose(np.subtract(*np.quantile(found, [0.75, 0.25], axis=1)), 1)
    assert np.isfinite(robust(np.full((1, 50), 7.0))).all()
    assert np.ptp(robust(np.repeat([0.0, 9.0], [99, 1])[None])) > 1  # mostly still, and yet it moves


@pytest.mark.parametrize(("count", "window", "most"), [(100, 10, 2000), (100, 64, 2000), (5000, 20, 100), (33, 33, 10)])
def test_windows_cover_every_step(count, window, most):
    starts = starts_of(count, window, most)
    assert starts[0] == 0 and starts[-1] == count - window and len(starts) <= most + 1
    held = np.zeros(count)
    for start in starts:
        held[start : start + window] += 1
    if most > 200:
        assert held.min() >= 1
    assert np.allclose(to_steps(np.ones(len(starts)), starts, window, count)[held > 0], 1)


def test_a_step_has_the_mean_of_its_windows():
    starts = np.array([0, 2, 4])
    found = to_steps(np.array([1.0, 4.0, 7.0]), starts, 4, 8)
    assert found.tolist() == [1, 1, 2.5, 2.5, 5.5, 5.5, 7, 7]


def test_windows_are_cut_as_they_are():
    series = np.arange(20.0).reshape(2, 10)
    assert cut(series, 3, np.array([0, 7])).tolist() == [[[0, 1, 2], [10, 11, 12]], [[7, 8, 9], [17, 18, 19]]]
