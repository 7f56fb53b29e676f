"""Which targets help each other: what a step for one does to the loss of another (TAG, Fifty et al. 2021,
arXiv:2109.04617, equation 1).

    Z[i,j] = 1 - L_j(theta - rate * grad_theta L_i) / L_j(theta)

theta are the shared weights, the heads stay. Z > 0: learning i helps j. Z is read as a share of what a step for j does
itself, Z[i,j] / Z[j,j], which hardly depends on the size of the step. Which targets to train together: the division
into groups in which the targets get the most from the others of their group (section 3.2 there); one that gets
nothing, or harm, learns alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import nn

LARGEST = 8
"""Targets up to which all divisions into groups are looked at (4 140 of eight); beyond, groups are merged greedily."""


def lookahead(
    losses: Callable[[], torch.Tensor], shared: Sequence[nn.Parameter], rate: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(Z [K,K], losses [K]) now. losses: () -> [K] on one batch, the same at every call. The weights are put back."""
    before = losses()
    count = len(before)
    gradients = [
        torch.autograd.grad(before[i], shared, retain_graph=i + 1 < count, allow_unused=True) for i in range(count)
    ]
    found = torch.zeros(count, count, device=before.device)
    with torch.no_grad():
        kept = [parameter.detach().clone() for parameter in shared]
        for i, gradient in enumerate(gradients):
            for parameter, part in zip(shared, gradient):
                if part is not None:
                    parameter.sub_(rate * part)
            found[i] = 1 - losses() / before.detach().clamp(min=1e-12)
            for parameter, value in zip(shared, kept):
                parameter.copy_(value)
    return found, before.detach()


def shares(mean: np.ndarray) -> np.ndarray:
    """Mean Z [K,K] as shares of what a target's own step does for it; NaN where that is nothing."""
    own = np.diag(mean)
    return np.where(own > 0, mean / np.where(own > 0, own, 1.0), np.nan)


def together(share: np.ndarray) -> list[list[int]]:
    """The division of K targets into groups with the highest total gain; of equals the one with more groups.

    share: [K,K], row i on column j. A target's gain in a group is the mean share that the others' steps have; 0 alone.
    """
    share = np.nan_to_num(np.asarray(share, dtype=np.float64))
    count = len(share)
    if count > LARGEST:
        return _merged(share)
    return max(_divisions(list(range(count))), key=lambda groups: (round(_gain(share, groups), 9), len(groups)))


def _gain(share: np.ndarray, groups: Sequence[Sequence[int]]) -> float:
    return sum(
        float(np.mean([share[i, j] for i in group if i != j])) for group in groups if len(group) > 1 for j in group
    )


def _divisions(items: list[int]) -> Iterator[list[list[int]]]:
    """Every division of the items into groups."""
    if not items:
        yield []
        return
    first, rest = items[0], items[1:]
    for groups in _divisions(rest):
        yield [[first], *groups]
        for place, group in enumerate(groups):
            yield [*groups[:place], [first, *group], *groups[place + 1 :]]


def _merged(share: np.ndarray) -> list[list[int]]:
    """Groups merged two by two, as long as that adds to the total gain."""
    groups = [[target] for target in range(len(share))]
    while len(groups) > 1:
        tries = [
            [*(g for k, g in enumerate(groups) if k not in (i, j)), sorted(groups[i] + groups[j])]
            for i in range(len(groups))
            for j in range(i + 1, len(groups))
        ]
        best = max(tries, key=lambda division: _gain(share, division))
        if _gain(share, best) <= _gain(share, groups) + 1e-9:
            break
        groups = best
    return sorted(groups)
