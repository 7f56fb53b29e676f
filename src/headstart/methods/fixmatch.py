"""FixMatch: what the network is sure of in a target row it has to find in the augmented row as well.

Sohn et al. 2020, FixMatch, arXiv:2001.07685, across domains. The label of a target row is the network's own for the row
as it is; where its chance is over ``threshold`` the augmented row is to be classified so. The chances are first divided
by the mean chance of each class among the rows of the step (distribution alignment, Berthelot et al. 2020,
ReMixMatch, arXiv:1911.09785, section 3.1, towards equal shares), so that a class that is easy to take
others for does not swallow them. Where inputs have no augmentation, dropout is all that differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch.nn.functional import cross_entropy

from headstart.methods.base import hyper
from headstart.methods.deep_adaptation import DeepAdaptation, Sides


@dataclass(frozen=True)
class Fixmatch(DeepAdaptation):
    """What the network is sure of in a target row it has to find in the augmented row as well."""

    name: ClassVar[str] = "fixmatch"
    reads_plain: ClassVar[bool] = True
    paper: ClassVar[str] = "Sohn et al. 2020, arXiv:2001.07685"

    beside: float = hyper(2.0, "rows of the target domain in a step, for each labelled one", low=0.01, high=100.0)
    threshold: float = hyper(0.9, "chance from which a label of its own is believed", low=0.0, high=1.0)
    aligned: bool = hyper(True, "whether the labels of its own are drawn to equal shares", paper="arXiv:1911.09785")

    def between(self, sides: Sides, parts: dict[str, Any], ramp: float) -> torch.Tensor:
        """Cross-entropy of the augmented rows to the sure labels, a mean over all target rows."""
        assert sides.plain is not None
        chances = torch.softmax(sides.plain, dim=1)
        if self.aligned:
            chances = chances / chances.mean(dim=0).clamp_min(1e-3)
            chances = chances / chances.sum(dim=1, keepdim=True)
        sure, label = chances.max(dim=1)
        each = cross_entropy(sides.theirs_out, label, reduction="none")
        return (each * (sure > self.threshold)).mean()
