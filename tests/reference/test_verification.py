"""Error rates of trials against scikit-learn's ROC curve, and against definitions written out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from headstart.evidence.verification import (
    cost_at,
    equal_error_rate,
    error_rates,
    likeness,
    minimum_cost,
    rates_at,
    trials,
)


def example(seed: int, rounded: bool = False) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    same = generator.random(400) < 0.3
    scores = generator.normal(size=400) + 1.5 * same
    return (np.round(scores, 1) if rounded else scores), same


@pytest.mark.parametrize("rounded", [False, True], ids=["apart", "tied"])
@pytest.mark.parametrize("seed", range(3))
def test_rates_are_those_of_the_roc_curve(seed, rounded):
    scores, same = example(seed, rounded)
    thresholds, miss, alarm = error_rates(scores, same)
    expected_alarm, hit, expected = roc_curve(same, scores, drop_intermediate=False)
    assert np.array_equal(thresholds, expected[::-1])
    assert alarm == pytest.approx(expected_alarm[::-1]) and miss == pytest.approx(1 - hit[::-1])


@pytest.mark.parametrize("seed", range(3))
def test_the_equal_error_rate_lies_where_the_roc_curve_crosses_the_diagonal(seed):
    scores, same = example(seed)
    alarm, hit, _ = roc_curve(same, scores, drop_intermediate=False)
    grid = np.linspace(0, 1, 200_001)
    crossing = grid[np.argmin(np.abs(1 - np.interp(grid, alarm, hit) - grid))]
    rate, threshold = equal_error_rate(scores, same)
    assert rate == pytest.approx(crossing, abs=0.006)  # vertical steps of a curve are 1 / 120 high
    assert np.mean(rates_at(threshold, scores, same)) == pytest.approx(rate, abs=0.006)


@pytest.mark.parametrize("prior", [0.5, 0.05, 0.01])
def test_the_least_cost_is_the_least_over_all_thresholds(prior):
    scores, same = example(4)
    alarm, hit, thresholds = roc_curve(same, scores, drop_intermediate=False)
    costs = (prior * (1 - hit) + (1 - prior) * alarm) / min(prior, 1 - prior)
    found, threshold = minimum_cost(scores, same, prior)
    assert found == pytest.approx(costs.min()) and found <= 1
    assert cost_at(threshold, scores, same, prior) == pytest.approx(found)
    assert thresholds[np.argmin(costs)] == threshold or costs[thresholds == threshold] == pytest.approx(costs.min())


def test_what_separates_wholly_errs_never_and_what_tells_nothing_errs_half_the_time():
    same = np.arange(100) % 2 == 0
    assert equal_error_rate(same + 0.0, same)[0] == 0 and minimum_cost(same + 0.0, same)[0] == 0
    assert equal_error_rate(np.zeros(100), same)[0] == pytest.approx(0.5)
    assert equal_error_rate(1.0 - same, same)[0] == pytest.approx(1.0)
    assert minimum_cost(np.zeros(100), same)[0] == 1
    with pytest.raises(ValueError, match="both kinds"):
        error_rates(np.zeros(3), np.ones(3, bool))


def test_trials_never_ask_about_an_enrolled_row():
    """Features that name their row: an enrolled row would score 1 against itself."""
    X = np.eye(12)
    labels = np.repeat(["a", "b", "c", "rare"], [4, 4, 3, 1])
    scores, same = trials(X, labels, enrolled=2, draws=5)
    assert len(scores) == 5 * 3 * 10 and not scores.any()
    assert same.sum() == 5 * (2 + 2 + 1)
    assert len(trials(X, labels, enrolled=4)[0]) == 0


def test_likeness_is_the_cosine_to_the_mean_direction():
    generator = np.random.default_rng(0)
    known, asked = generator.normal(size=(3, 5)), generator.normal(size=(4, 5))
    model = np.mean([row / np.linalg.norm(row) for row in known], axis=0)
    expected = [row @ model / np.linalg.norm(row) / np.linalg.norm(model) for row in asked]
    assert likeness(known, asked) == pytest.approx(expected)
