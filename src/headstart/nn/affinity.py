"""Which targets help each other: what a step for one does to the loss of another (TAG, Fifty et al. 2021,
arXiv:2109.04617, equation 1).

    Z[i,j] = 1 - L_j(theta - rate * grad_theta L_i) / L_j(theta)

theta are the shared weights, the heads stay. Z > 0: learning i helps j. What is shown is the share of what a step for j
does itself, which hardly depends on the size of the step: (L_j's fall by i's steps) / (L_j's fall by its own), each
summed over all measurements. Which targets to train together: the division into groups in which the targets get the
most from the others of their group (section 3.2 there); one that gets nothing, or harm, learns alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import nn

from headstart.types import Json

LONGEST = 1e-3
"""Length of a step that is looked ahead, over the norm of the shared weights."""

LEAST = 5
"""Measurements from which they say who should learn together."""

LARGEST = 8
"""Targets up to which all divisions into groups are looked at (4 140 of eight); beyond, groups are merged greedily."""


def lookahead(
    losses: Callable[[], torch.Tensor], shared: Sequence[nn.Parameter], rate: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a step for each target takes from each loss, [K,K], and the losses [K] now.

    losses: () -> [K] on one batch, the same at every call. rate: of all steps; lowered where the longest of them would
    move the weights by more than `LONGEST` of their norm. The weights are put back.
    """
    before = losses()
    count = len(before)
    gradients = [
        torch.autograd.grad(before[i], shared, retain_graph=i + 1 < count, allow_unused=True) for i in range(count)
    ]
    fall = torch.zeros(count, count, dtype=torch.float64, device=before.device)
    with torch.no_grad():
        kept = [parameter.detach().clone() for parameter in shared]
        longest = max(_norm(part for part in gradient if part is not None) for gradient in gradients)
        rate = min(rate, LONGEST * _norm(kept) / max(longest, 1e-30))
        for i, gradient in enumerate(gradients):
            for parameter, part in zip(shared, gradient):
                if part is not None:
                    parameter.sub_(rate * part)
            fall[i] = before.detach().double() - losses().double()
            for parameter, value in zip(shared, kept):
                parameter.copy_(value)
    return fall, before.detach().double()


def _norm(parts: Iterable[torch.Tensor]) -> float:
    return float(sum(float(part.float().square().sum()) for part in parts) ** 0.5)


class Affinity(nn.Module):
    """Sums over the measurements: falls of the losses [K,K], their squares and products with the own, losses [K]."""

    falls: torch.Tensor
    squares: torch.Tensor
    products: torch.Tensor
    losses: torch.Tensor
    measured: torch.Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        for name in ("falls", "squares", "products"):
            self.register_buffer(name, torch.zeros(count, count, dtype=torch.float64))
        self.register_buffer("losses", torch.zeros(count, dtype=torch.float64))
        self.register_buffer("measured", torch.zeros((), dtype=torch.int64))

    def add(self, fall: torch.Tensor, losses: torch.Tensor) -> None:
        """One measurement; one that is not finite is left out."""
        if bool(torch.isfinite(fall).all()):
            self.falls += fall
            self.squares += fall.square()
            self.products += fall * fall.diagonal()
            self.losses += losses
            self.measured += 1

    def share(self) -> tuple[np.ndarray, np.ndarray]:
        """[K,K], row i on column j: j's fall by i's steps over its fall by its own, and the standard error of that.

        NaN where j's own steps did not lower its loss.
        """
        count = max(1, int(self.measured))
        falls, squares, products = (
            value.cpu().numpy() / count for value in (self.falls, self.squares, self.products)
        )  # means
        own = np.where(np.diag(falls) > 0, np.diag(falls), np.nan)
        share = falls / own
        rest = np.maximum(squares - 2 * share * products + share**2 * np.diag(squares), 0.0)
        return share, np.sqrt(rest / count) / own

    def to_json(self, names: Sequence[str]) -> Json | None:
        """``Record.affinity``; None where nothing was measured. Only shares beyond two standard errors make groups, and
        under `LEAST` measurements nothing does.
        """
        if not int(self.measured):
            return None
        share, error = self.share()
        certain = np.where(np.abs(share) > 2 * error, share, 0.0)
        enough = int(self.measured) >= LEAST
        lookahead = (self.falls / self.losses.clamp(min=1e-30)).cpu().numpy()
        return {
            "targets": list(names),
            "share": _plain(share),
            "error": _plain(error),
            "lookahead": _plain(lookahead),
            "measured": int(self.measured),
            "together": [[names[k] for k in group] for group in together(certain)] if enough else [],
        }


def _plain(values: np.ndarray) -> list[list[float | None]]:
    return [[None if value != value else float(value) for value in row] for row in values]


def together(share: np.ndarray) -> list[list[int]]:
    """The division of K targets into groups with the highest total gain; of equals the one with the fewest networks for
    two targets or more.

    share: [K,K], row i on column j. A target's gain in a group is the mean share that the others' steps have; 0 alone.
    """
    share = np.nan_to_num(np.asarray(share, dtype=np.float64))
    count = len(share)
    if count > LARGEST:
        return _merged(share)
    return max(_divisions(list(range(count))), key=lambda groups: _worth(share, groups))


def _worth(share: np.ndarray, groups: Sequence[Sequence[int]]) -> tuple[float, int]:
    return round(_gain(share, groups), 9), -sum(len(group) > 1 for group in groups)


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
        best = max(tries, key=lambda division: _worth(share, division))
        if _worth(share, best) <= _worth(share, groups):
            break
        groups = best
    return sorted(groups)
