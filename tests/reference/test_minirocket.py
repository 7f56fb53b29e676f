"""MiniRocket against aeon 1.6.0.

``minirocket.json`` holds what ``MiniRocket(n_kernels=420)`` of aeon learned of the first of these series (of one series
nothing is drawn) and made of all four, to 5 and 6 decimals.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from headstart.nn.minirocket import MiniRocket, SeriesFeatures, spaced, spread, stretched
from headstart.testing import dataset_with

T = np.arange(60)
X = np.stack([np.sin(0.3 * (k + 1) * T) + 0.2 * np.cos(0.05 * T * T + k) + 0.01 * k * T for k in range(4)])[:, None]
REFERENCE = json.loads(Path(__file__).with_name("minirocket.json").read_text())


def test_dilations_biases_and_features_are_those_of_aeon():
    rocket = MiniRocket.fit(X[:1].astype(np.float32), 420)
    assert rocket.dilations.tolist() == REFERENCE["dilations"] and rocket.counts.tolist() == REFERENCE["counts"]
    np.testing.assert_allclose(rocket.biases, REFERENCE["biases"], atol=1e-5)
    np.testing.assert_allclose(rocket.transform(X.astype(np.float32)), REFERENCE["features"], atol=2e-5)


@pytest.mark.parametrize(
    ("length", "first", "count"), [(24, [79, 40], 2), (150, [30, 15, 12, 12, 4, 8, 8], 16), (1460, [19, 8, 8, 4], 26)]
)
def test_features_are_spread_over_dilations_as_in_aeon(length, first, count):
    dilations, counts = spaced(length)
    assert len(dilations) == count and counts[: len(first)].tolist() == first and counts.sum() == 119


def test_a_channel_that_is_copied_gives_what_one_gives():
    """Sums over channels: with weights for one channel alone the features are those of that channel."""
    alone = MiniRocket.fit(X.astype(np.float32), 420)
    both = np.repeat(X, 2, axis=1).astype(np.float32)
    picks = np.repeat([[1.0, 0.0]], len(alone.picks), axis=0)
    several = MiniRocket(60, alone.dilations, alone.counts, alone.biases, picks)
    np.testing.assert_allclose(several.transform(both), alone.transform(X.astype(np.float32)), atol=1e-6)


def test_series_of_other_lengths_are_stretched():
    line = stretched(np.array([[0.0, 1.0, 2.0]]), 5)
    assert line.tolist() == [[0, 0.5, 1, 1.5, 2]]
    rows = dataset_with([np.sin(T[: 20 + row] / 3).tolist() for row in range(6)], list("ababab"), "category", "series")
    features, found = SeriesFeatures.fit_transform(rows)
    assert features.rocket.length == 25 and found.shape == (6, features.width)
    again = SeriesFeatures.restore(*features.state())
    np.testing.assert_array_equal(again.transform(rows), features.transform(rows))


def test_a_share_that_does_not_vary_is_not_blown_up():
    """The deviation of equal numbers is not 0 after rounding: divided by it, a constant would drown all else."""
    raw = np.full((172, 3), 0.97999996, np.float32)
    raw[:, 1] = np.linspace(0, 1, 172)
    raw[5, 2] = 0.98
    found = spread(raw)
    assert found[0] == 1 and found[1] == pytest.approx(raw[:, 1].std()) and 0 < found[2] < 1e-3
