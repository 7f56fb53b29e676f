"""The formulas of multi-task learning against their papers: uncertainty, GradNorm, PCGrad, and the affinity of TAG."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from headstart.nn import affinity, balancing


def test_uncertainty_is_the_sum_of_kendalls_terms():
    """(1 / 2 sigma^2) L + log sigma for a squared error, (1 / sigma^2) L + log sigma for a cross-entropy."""
    sigma = np.array([0.5, 3.0])
    found = balancing.uncertainty(
        torch.tensor([0.8, 1.7]), torch.tensor(2 * np.log(sigma)).float(), torch.tensor([0.5, 1.0])
    )
    expected = 0.8 / (2 * 0.5**2) + math.log(0.5) + 1.7 / 3.0**2 + math.log(3.0)
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_the_best_variance_of_a_squared_error_is_the_error_itself():
    """d/d sigma^2 of L / (2 sigma^2) + log sigma vanishes at sigma^2 = L."""
    log_variance = torch.tensor([math.log(0.3)], requires_grad=True)
    balancing.uncertainty(torch.tensor([0.3]), log_variance, torch.tensor([0.5])).backward()
    assert float(log_variance.grad) == pytest.approx(0.0, abs=1e-7)


def test_pcgrad_projects_what_conflicts_and_leaves_the_rest():
    """Algorithm 1 on the plane: g_1 = (1, 0) and g_2 = (-1, 1) have a product of -1."""
    one, two = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])
    merged = balancing.pcgrad(torch.stack([one, two]), [[1], [0]])
    projected_one = one - (one @ two) / (two @ two) * two  # (1/2, 1/2)
    projected_two = two - (two @ one) / (one @ one) * one  # (0, 1)
    assert torch.allclose(merged, projected_one + projected_two)
    assert torch.allclose(merged, torch.tensor([0.5, 1.5]))
    assert float(projected_one @ two) == pytest.approx(0.0, abs=1e-7)
    friends = torch.tensor([[1.0, 0.2], [0.5, 1.0]])
    assert torch.equal(balancing.pcgrad(friends, [[1], [0]]), friends.sum(dim=0))


def test_pcgrad_meets_the_originals_in_the_order_given():
    """A gradient is projected on the others as they were, not as they were projected; the order matters."""
    rows = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 1.0, 0.0], [-1.0, -0.2, 1.0]])

    def by_hand(number: int, order: list[int]) -> torch.Tensor:
        own = rows[number].clone()
        for other in order:
            if own @ rows[other] < 0:
                own = own - (own @ rows[other]) / (rows[other] @ rows[other]) * rows[other]
        return own

    for orders in ([[1, 2], [0, 2], [0, 1]], [[2, 1], [2, 0], [1, 0]]):
        expected = sum(by_hand(number, order) for number, order in enumerate(orders))
        assert torch.allclose(balancing.pcgrad(rows, orders), expected)


def test_gradnorm_weights_sum_to_the_targets_and_follow_the_paper():
    """One step by hand: d/dw of |w norm - target| is sign times norm, the target held constant."""
    weights, norms = torch.tensor([1.2, 0.8]), torch.tensor([2.0, 1.0])
    losses, initial = torch.tensor([0.9, 0.2]), torch.tensor([1.0, 1.0])
    ratio = np.array([0.9, 0.2]) / np.mean([0.9, 0.2])
    scaled = np.array([2.4, 0.8])
    stepped = np.array([1.2, 0.8]) - 0.1 * np.sign(scaled - scaled.mean() * ratio**1.5) * np.array([2.0, 1.0])
    found = balancing.gradnorm(weights, norms, losses, initial, 1.5, 0.1)
    assert np.allclose(found.numpy(), stepped * 2 / stepped.sum(), atol=1e-6)
    assert float(found.sum()) == pytest.approx(2.0, abs=1e-6)


def test_gradnorm_moves_towards_the_target_that_learns_more_slowly():
    """Two parameters, the second loss of a tenth of the scale and so slower: its weight rises, and they sum to two."""
    shared = nn.Parameter(torch.tensor([3.0, 3.0]))
    weights, initial, path = torch.ones(2), None, []
    for _ in range(60):
        losses = torch.stack([shared[0].square(), 0.1 * shared[1].square()])
        initial = losses.detach() if initial is None else initial
        norms = torch.stack([torch.autograd.grad(loss, shared, retain_graph=True)[0].norm() for loss in losses])
        gradient = torch.autograd.grad((weights * losses).sum(), shared)[0]
        weights = balancing.gradnorm(weights, norms, losses.detach(), initial, 1.5, 0.025)
        with torch.no_grad():
            shared -= 0.01 * gradient
        path.append(weights.tolist())
        assert sum(path[-1]) == pytest.approx(2.0, abs=1e-5)
    assert path[-1][1] > 1.2 > 0.8 > path[-1][0]


# --- affinity --------------------------------------------------------------------------------------------------------


def quadratic(shared: nn.Parameter):
    """Losses |theta - a_k|^2 whose falls by a step are known in closed form."""
    places = torch.tensor([[1.0, 0.0], [1.0, 0.5], [-1.0, 0.0]])
    return lambda: (shared - places).square().sum(dim=1)


def test_lookahead_is_the_fall_of_each_loss_by_each_step():
    shared = nn.Parameter(torch.tensor([0.0, 0.0]))
    theta, places, rate = np.zeros(2), np.array([[1.0, 0.0], [1.0, 0.5], [-1.0, 0.0]]), 0.01
    shared_long = nn.Parameter(torch.tensor([1e3, 0.0]))  # long weights, so that the rate is not lowered
    offset = np.array([1e3, 0.0])
    losses = lambda: (shared_long - torch.tensor(places + offset).float()).double().square().sum(dim=1)  # noqa: E731
    fall, now = affinity.lookahead(losses, [shared_long], rate)
    expected = np.empty((3, 3))
    for i in range(3):
        moved = theta - rate * 2 * (theta - places[i])
        expected[i] = ((theta - places) ** 2).sum(axis=1) - ((moved - places) ** 2).sum(axis=1)
    assert np.allclose(fall.numpy(), expected, rtol=2e-2, atol=1e-4)
    assert np.allclose(now.numpy(), ((theta - places) ** 2).sum(axis=1))
    assert torch.equal(shared_long, torch.tensor([1e3, 0.0])) and torch.equal(shared, torch.zeros(2))


def test_a_long_step_is_shortened_and_the_weights_come_back():
    shared = nn.Parameter(torch.tensor([0.3, 0.4]))
    before = shared.detach().clone()
    steps = []

    def losses() -> torch.Tensor:
        steps.append(float((shared.detach() - before).norm()))
        return 1e4 * quadratic(shared)()

    affinity.lookahead(losses, [shared], rate=1.0)
    assert torch.equal(shared, before)
    assert max(steps) == pytest.approx(affinity.LONGEST * 0.5, rel=1e-3)


def test_shares_are_relative_to_the_own_step_with_their_error():
    """Falls drawn around known means: the share is their ratio and its error that of a ratio of means."""
    generator = np.random.default_rng(0)
    measured, found = affinity.Affinity(2), []
    for _ in range(400):
        own = 1 + 0.2 * generator.normal(size=2)
        falls = np.array([[own[0], 0.5 + 0.3 * generator.normal()], [-0.25 * own[0], own[1]]])
        found.append(falls)
        measured.add(torch.tensor(falls), torch.tensor([2.0, 4.0]))
    share, error = measured.share()
    assert share[0, 0] == share[1, 1] == 1 and error[0, 0] == pytest.approx(0, abs=1e-9)
    assert share[0, 1] == pytest.approx(0.5, abs=0.06) and share[1, 0] == pytest.approx(-0.25, abs=1e-9)
    stacked = np.array(found)
    rest = stacked[:, 0, 1] - share[0, 1] * stacked[:, 1, 1]
    expected = rest.std() / np.sqrt(400) / stacked[:, 1, 1].mean()
    assert error[0, 1] == pytest.approx(expected, rel=1e-6)
    facts = measured.to_json(["a", "b"])
    assert facts["lookahead"][1][0] == pytest.approx(-0.125, abs=0.01) and facts["measured"] == 400
    assert facts["together"] == [["a", "b"]]  # 0.5 and -0.25: a gain together


def test_a_measurement_that_is_not_finite_is_left_out_and_few_say_nothing():
    measured = affinity.Affinity(2)
    measured.add(torch.tensor([[1.0, float("nan")], [0.0, 1.0]], dtype=torch.float64), torch.ones(2))
    assert measured.to_json(["a", "b"]) is None
    for _ in range(affinity.LEAST - 1):
        measured.add(torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=torch.float64), torch.ones(2))
    assert measured.to_json(["a", "b"])["together"] == []
    measured.add(torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=torch.float64), torch.ones(2))
    assert measured.to_json(["a", "b"])["together"] == [["a", "b"]]


def test_the_division_into_groups_is_the_best_of_all():
    share = np.array([[1.0, 0.6, -0.5], [0.4, 1.0, -0.2], [-0.3, 0.1, 1.0]])
    assert sorted(map(sorted, affinity.together(share))) == [[0, 1], [2]]
    assert sorted(affinity.together(-np.abs(share))) == [[0], [1], [2]]
    assert affinity.together(np.full((4, 4), 0.5)) == [[0, 1, 2, 3]]


def test_many_targets_are_merged_two_by_two():
    count = affinity.LARGEST + 2
    share = np.full((count, count), -0.3)
    share[:4, :4] = 0.5
    assert affinity.together(share) == [[0, 1, 2, 3], *([k] for k in range(4, count))]
