"""Losses of two heads that a network makes agree while they try to differ on rows without labels.

- `head_discrepancy`: Saito, Watanabe, Ushiku & Harada 2018, Maximum Classifier Discrepancy, arXiv:1712.02560, eq. 2
- `margin_disparity`: Zhang, Liu, Long & Jordan 2019, Bridging Theory and Algorithm for Domain Adaptation,
  arXiv:1904.05801, equations 28 to 30

Each is to be computed on features behind `headstart.nn.adversary.reverse`: the heads then make it large (small), and
the network below makes it small (large).
"""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy


def head_discrepancy(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of the chances of two logits [B,C]; 0 to 2/C."""
    return (torch.softmax(one, dim=1) - torch.softmax(other, dim=1)).abs().mean()


def margin_disparity(
    ours: torch.Tensor, ours_second: torch.Tensor, theirs: torch.Tensor, theirs_second: torch.Tensor,
    margin: float = 4.0,
) -> torch.Tensor:  # fmt: skip
    """What the second head minimises: margin * (disagreement with the first on labelled rows) + agreement on others.

    ours, theirs: logits of the first head, [n,C] and [m,C]; no gradient goes into them. margin: exp of the margin.
    """
    there = cross_entropy(ours_second, ours.detach().argmax(dim=1))
    label = theirs.detach().argmax(dim=1)
    chance = torch.softmax(theirs_second, dim=1).gather(1, label[:, None]).squeeze(1)
    return margin * there - torch.log1p(-chance.clamp_max(1 - 1e-6)).mean()
