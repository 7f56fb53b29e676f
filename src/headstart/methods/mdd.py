"""MDD: a second head that agrees on labelled rows and differs on target rows, and features that do not let it.

Zhang, Liu, Long & Jordan 2019, Bridging Theory and Algorithm for Domain Adaptation, arXiv:1904.05801: the margin
disparity discrepancy, section 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from headstart.methods.base import hyper
from headstart.methods.deep_adaptation import DeepAdaptation, Sides
from headstart.nn.adversary import reverse
from headstart.nn.disparity import margin_disparity
from headstart.tasks.base import Task


@dataclass(frozen=True)
class Mdd(DeepAdaptation):
    """A second head that differs on target rows, and features that do not let it."""

    name: ClassVar[str] = "mdd"
    ramped: ClassVar[bool] = False
    paper: ClassVar[str] = "Zhang et al. 2019, arXiv:1904.05801"

    margin: float = hyper(4.0, "what agreement on labelled rows counts, exp of the margin", low=1.0, high=100.0)
    height: float = hyper(0.1, "largest factor of the turned gradient", low=0.0, high=10.0)

    def parts(self, width: int, task: Task) -> dict[str, nn.Module]:
        """The second head."""
        return {"second": nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, task.width))}

    def between(self, sides: Sides, parts: dict[str, Any], ramp: float) -> torch.Tensor:
        """The disparity; its gradient arrives at the network turned round, times the ramp."""
        second, scale = parts["second"], self.height * ramp
        ours, theirs = (second(reverse(features, scale)) for features in (sides.ours, sides.theirs))
        return margin_disparity(sides.ours_out, ours, sides.theirs_out, theirs, self.margin)
