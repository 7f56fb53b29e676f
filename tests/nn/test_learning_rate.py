"""The sweep of learning rates, where the answer is known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest

from headstart.nn import learning_rate
from headstart.nn.learning_rate import Sweep, choose, steps, sweep


def descent(curvature: float, noise: float = 0.0, start: float = 1.0):
    """Gradient descent on L w^2 / 2: a step at the rate r multiplies w by 1 - r L. It diverges beyond r = 2 / L."""
    w, generator = [start], np.random.default_rng(0)

    def step(number: int, rate: float) -> tuple[float, float]:
        of_batch = float(noise * generator.normal())  # what the batch adds to any loss
        loss = curvature * w[0] ** 2 / 2
        w[0] *= 1 - rate * curvature
        return loss + of_batch, curvature * start**2 / 2 + of_batch

    return step


@pytest.mark.parametrize("curvature", [20.0, 200.0, 2e4])
@pytest.mark.parametrize("noise", [0.0, 100.0])
def test_gradient_descent_on_a_parabola(curvature, noise):
    """What a batch adds cancels: with noise of a hundred times the loss the same rate is found, below 2 / L."""
    found = sweep(descent(curvature, noise), 100)
    rate = choose(found)
    assert rate == pytest.approx(choose(sweep(descent(curvature), 100)), rel=1e-6)
    assert 0.005 / curvature < rate < 2 / curvature


def test_it_stops_where_the_loss_diverges():
    found = sweep(descent(2e4), 100)
    assert found.diverged and len(found.rates) < 100 and found.rates[-1] > 2 / 2e4
    assert found.rates[0] == learning_rate.LOW
    ratios = [b / a for a, b in zip(found.rates, found.rates[1:])]
    assert ratios == pytest.approx([1e6 ** (1 / 99)] * len(ratios))
    calm = sweep(lambda number, rate: (1.0, 1.0), 50)
    assert not calm.diverged and calm.rates[-1] == pytest.approx(learning_rate.HIGH) and len(calm.rates) == 50


def test_a_loss_that_is_not_finite_ends_the_sweep_and_json_leaves_it_out():
    found = sweep(lambda number, rate: (math.nan if number == 7 else 1.0 - 0.1 * number, 1.0), 30)
    assert found.diverged and len(found.rates) == 8
    shown = found.to_json()
    assert len(shown["sweep"]["rates"]) == len(shown["sweep"]["gains"]) == 7
    assert shown["found rate"] == choose(found) == pytest.approx(found.rates[-1] / 10)


def test_the_steepest_descent_is_chosen_but_never_above_a_tenth_of_the_divergence():
    rates = np.geomspace(1e-6, 1.0, 61).tolist()
    centre = 30  # the gain falls as a sigmoid in log(rate): it is steepest at its centre
    gains = [-1 / (1 + math.exp(-(i - centre) / 2)) for i in range(61)]
    assert choose(Sweep(rates, gains, 1.0, False)) == pytest.approx(rates[centre], rel=0.3)
    assert choose(Sweep(rates[:35], gains[:35], 1.0, True)) == pytest.approx(0.1 * rates[34])


def test_without_a_descent_it_is_a_tenth_of_the_divergence():
    rates = np.geomspace(1e-6, 1e-2, 20).tolist()
    gains = [0.0] * 18 + [0.2, 5.0]
    assert choose(Sweep(rates, gains, 1.0, True)) == pytest.approx(1e-3)


def test_the_sweep_costs_a_stated_share():
    assert [steps(n) for n in (1, 100, 200, 10_000)] == [20, 20, 40, 100]
    slow = sweep(lambda number, rate: (1.0, 1.0), 80, seconds=0.0)
    assert len(slow.rates) == learning_rate.LEAST and slow.rates[-1] == pytest.approx(learning_rate.HIGH)
    assert sweep(lambda number, rate: (1.0, 1.0), 80, seconds=1e6).rates == sweep(lambda n, r: (1.0, 1.0), 80).rates
