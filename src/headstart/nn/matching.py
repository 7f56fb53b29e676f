"""Losses that are small where two samples of features look alike.

- `coral_loss`: their covariances (Sun & Saenko 2016, Deep CORAL, arXiv:1607.01719, eq. 1)
- `mmd_loss`: their means in the space of a sum of Gaussian kernels (Gretton et al. 2012, JMLR 13; several widths as in
  Long et al. 2015, DAN, arXiv:1502.02791)
- `joint_mmd_loss`: the same of several layers at once, whose kernels are multiplied (Long et al. 2017, JAN,
  arXiv:1605.06636, eq. 8)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Widths of the kernels, as parts of the mean squared distance of the rows."""


def coral_loss(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """||cov(ours) - cov(theirs)||²_F / (4 D²) of [n,D] and [m,D]; 0 where one of them has a single row."""
    if min(len(ours), len(theirs)) < 2:
        return (ours.sum() + theirs.sum()) * 0.0
    gap = torch.cov(ours.T).reshape(-1) - torch.cov(theirs.T).reshape(-1)
    return gap.square().sum() / (4 * ours.shape[1] ** 2)


def mmd_loss(ours: torch.Tensor, theirs: torch.Tensor, widths: Sequence[float] = WIDTHS) -> torch.Tensor:
    """Squared maximum mean discrepancy of [n,D] and [m,D], a mean over the widths (the biased estimate, >= 0).

    Kernel: exp(-|x - z|² / (width * mean squared distance)).
    """
    return _discrepancy(_kernel(torch.cat([ours, theirs]), widths), len(ours))


def joint_mmd_loss(
    ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor], widths: Sequence[float] = WIDTHS
) -> torch.Tensor:
    """`mmd_loss` with the product of the kernels of several layers, [n,D_l] and [m,D_l] each."""
    product = torch.ones(())
    for place, (one, other) in enumerate(zip(ours, theirs)):
        kernel = _kernel(torch.cat([one, other]), widths)
        product = kernel if place == 0 else product * kernel
    return _discrepancy(product, len(ours[0]))


def _kernel(both: torch.Tensor, widths: Sequence[float]) -> torch.Tensor:
    squares = both.square().sum(dim=1)
    distances = (squares[:, None] + squares[None, :] - 2 * both @ both.T).clamp_min(0)
    middle = distances.detach().mean().clamp_min(1e-12)
    return torch.stack([torch.exp(-distances / (width * middle)) for width in widths]).mean(dim=0)


def _discrepancy(kernel: torch.Tensor, n: int) -> torch.Tensor:
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()
