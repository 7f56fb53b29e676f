"""MCC: predictions for the target rows that confuse no two classes.

Jin, Wang, Long & Wang 2020, Minimum Class Confusion for Versatile Domain Adaptation, arXiv:1912.03699. It compares no
domains: the loss is of the target rows' predictions alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from headstart.methods.base import hyper
from headstart.methods.deep_adaptation import DeepAdaptation, Sides
from headstart.nn.confusion import class_confusion


@dataclass(frozen=True)
class Mcc(DeepAdaptation):
    """Predictions for the target rows that confuse no two classes."""

    name: ClassVar[str] = "mcc"
    paper: ClassVar[str] = "Jin et al. 2020, arXiv:1912.03699"

    beside: float = hyper(2.0, "rows of the target domain in a step, for each labelled one", low=0.01, high=100.0)
    temperature: float = hyper(2.5, "softens the predictions that are compared", low=0.01, high=100.0)

    def between(self, sides: Sides, parts: dict[str, Any], ramp: float) -> torch.Tensor:
        """The share of confused pairs."""
        return class_confusion(sides.theirs_out, self.temperature)
