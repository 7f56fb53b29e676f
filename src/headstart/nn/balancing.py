"""How the losses of several targets become one step on the network that they share.

equal        sum_k L_k
uncertainty  sum_k a_k exp(-s_k) L_k + s_k / 2        s_k = log sigma_k^2 is learned; a_k = 1/2 for squared errors,
             1 for cross-entropies (Kendall, Gal & Cipolla 2018, arXiv:1705.07115, equations 7 and 10)
gradnorm     sum_k w_k L_k                            the w_k follow the norms of the gradients (Chen et al. 2018,
             arXiv:1711.02257, algorithm 1)
pcgrad       gradients, not losses: what conflicts is projected away (Yu et al. 2020, arXiv:2001.06782, algorithm 1)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def uncertainty(losses: torch.Tensor, log_variance: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """The weighted sum of losses [K]. log_variance: s [K]. factors: a [K], 1/2 for squared errors, else 1."""
    return (factors * torch.exp(-log_variance) * losses + 0.5 * log_variance).sum()


def gradnorm(
    weights: torch.Tensor, norms: torch.Tensor, losses: torch.Tensor, initial: torch.Tensor, alpha: float, rate: float
) -> torch.Tensor:
    """The weights [K] after one step, which sum to K.

    norms: [K], of the gradients of the unweighted losses on the last shared layer. losses, initial: now and at the
    first step. A target whose loss fell less than the others' (relative to its first) is to get the larger gradient:
    the step descends sum_k | w_k norm_k - mean_j(w_j norm_j) r_k^alpha | with its second part held constant, where
    r_k = (L_k / L_k(0)) / mean_j(L_j / L_j(0)).
    """
    count = len(weights)
    progress = losses / initial.clamp(min=1e-12)
    inverse_rate = progress / progress.mean().clamp(min=1e-12)
    scaled = weights * norms
    gradient = torch.sign(scaled - scaled.mean() * inverse_rate**alpha) * norms
    stepped = (weights - rate * gradient).clamp(min=1e-3)
    return stepped * (count / stepped.sum())


def pcgrad(gradients: torch.Tensor, orders: Sequence[Sequence[int]]) -> torch.Tensor:
    """The sum [P] of gradients [K,P], each without its parts that go against one of the others.

    orders[k]: the other targets in the order (random in the paper) in which gradient k meets them. Where g_k . g_j < 0,
    g_k loses its projection on the original g_j: g_k <- g_k - (g_k . g_j / |g_j|^2) g_j.
    """
    total = torch.zeros_like(gradients[0])
    for number, others in enumerate(orders):
        own = gradients[number].clone()
        for other in others:
            against = torch.dot(own, gradients[other])
            if against < 0:
                own -= against / gradients[other].square().sum().clamp(min=1e-30) * gradients[other]
        total += own
    return total
