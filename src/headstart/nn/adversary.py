"""Adversaries of domain adaptation: a classifier of domains behind a layer that turns gradients round.

- `reverse`: the identity, whose gradient is multiplied by -scale (Ganin et al. 2016, JMLR 17, arXiv:1505.07818, eq. 18)
- `Discriminator` and `domain_loss`: how well the domains are told apart, cross-entropy (eq. 9 there)
- `Multilinear`: features and predictions multiplied, which a conditional adversary reads (Long et al. 2018, CDAN,
  arXiv:1705.10667, section 3.2), on random directions where the product is too wide (eq. 6)
- `certainty`: rows of which the head is sure count more, w = 1 + exp(-H) (section 3.3)
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: float) -> torch.Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -ctx.scale * gradients[0], None


def reverse(x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
    """x as it is; its gradient times -scale."""
    return cast(torch.Tensor, _Reverse.apply(x, scale))  # type: ignore[no-untyped-call]


class Discriminator(nn.Module):
    """From features [B,D] to a logit [B] of being a row of the labelled domain: two hidden layers."""

    def __init__(self, width: int, hidden: int = 256) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """[B]."""
        return self.body(features).squeeze(-1)  # type: ignore[no-any-return]


def domain_loss(
    ours: torch.Tensor, theirs: torch.Tensor, weights: tuple[torch.Tensor, torch.Tensor] | None = None
) -> torch.Tensor:
    """Mean cross-entropy of logits ours [n] (the labelled domain) and theirs [m]; each domain counts one half.

    weights: [n] and [m], what the rows count within their domain.
    """
    parts = []
    for place, (logits, truth) in enumerate(((ours, 1.0), (theirs, 0.0))):
        each = binary_cross_entropy_with_logits(logits, torch.full_like(logits, truth), reduction="none")
        w = torch.ones_like(each) if weights is None else weights[place]
        parts.append((w * each).sum() / w.sum())
    return 0.5 * (parts[0] + parts[1])


def certainty(chances: torch.Tensor) -> torch.Tensor:
    """1 + exp(-H) of each row of chances [B,C], without gradient: [B]."""
    p = chances.detach()
    entropy = -(p * p.clamp_min(1e-12).log()).sum(dim=1)
    return 1 + torch.exp(-entropy)


class Multilinear(nn.Module):
    """The products of features [B,D] and chances [B,C]: [B,D*C], or ``most`` random ones of unit variance where that
    is wider, (f R_f) * (g R_g) / sqrt(most)."""

    def __init__(self, features: int, classes: int, most: int = 1024, seed: int = 0) -> None:
        super().__init__()
        self.random = features * classes > most
        self.width = most if self.random else features * classes
        if self.random:
            generator = torch.Generator().manual_seed(seed)
            self.register_buffer("left", torch.randn(features, most, generator=generator))
            self.register_buffer("right", torch.randn(classes, most, generator=generator))

    def forward(self, features: torch.Tensor, chances: torch.Tensor) -> torch.Tensor:
        """[B,width]."""
        if self.random:
            left, right = cast(torch.Tensor, self.left), cast(torch.Tensor, self.right)
            return (features @ left) * (chances @ right) / math.sqrt(self.width)
        return (features[:, :, None] * chances[:, None, :]).flatten(1)
