"""MCD: two heads that differ on target rows wherever the features let them, and features that do not let them.

Saito, Watanabe, Ushiku & Harada 2018, Maximum Classifier Discrepancy for Unsupervised Domain Adaptation,
arXiv:1712.02560. The three steps of the paper are one here: a layer that turns gradients round lets the heads raise
their discrepancy while the network lowers it (its appendix has the same variant). The first head predicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from headstart.methods.deep_adaptation import DeepAdaptation, Sides
from headstart.nn.adversary import reverse
from headstart.nn.disparity import head_discrepancy
from headstart.tasks.base import Task


@dataclass(frozen=True)
class Mcd(DeepAdaptation):
    """Two heads that differ on target rows, and features that do not let them."""

    name: ClassVar[str] = "mcd"
    ramped: ClassVar[bool] = False
    paper: ClassVar[str] = "Saito et al. 2018, arXiv:1712.02560"

    def parts(self, width: int, task: Task) -> dict[str, nn.Module]:
        """Two heads of their own, as the one that predicts would become worse by differing."""
        return {"one": _head(width, task), "other": _head(width, task)}

    def between(self, sides: Sides, parts: dict[str, Any], ramp: float) -> torch.Tensor:
        """The heads' own loss on labelled rows, less their discrepancy on target rows behind the reversal."""
        one, other = parts["one"], parts["other"]
        fit = sum(
            (nn.functional.cross_entropy(head(sides.ours), sides.target) for head in (one, other)),
            start=sides.ours.new_zeros(()),
        )
        theirs = reverse(sides.theirs, ramp)
        return fit - head_discrepancy(one(theirs), other(theirs))


def _head(width: int, task: Task) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, task.width))
