"""Deep CORAL: features of the same covariance in both domains.

Sun & Saenko 2016, Deep CORAL: Correlation Alignment for Deep Domain Adaptation, arXiv:1607.01719. The covariances are
those of the features that feed the head and of its outputs, where the paper takes the outputs alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from headstart.methods.base import hyper
from headstart.methods.deep_adaptation import DeepAdaptation, Sides
from headstart.nn.matching import coral_loss


@dataclass(frozen=True)
class Deepcoral(DeepAdaptation):
    """Features of the same covariance in both domains."""

    name: ClassVar[str] = "deepcoral"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")
    paper: ClassVar[str] = "Sun & Saenko 2016, arXiv:1607.01719"

    trade_off: float = hyper(8.0, "weight of the loss between the domains in the end", low=0.0, high=1000.0)

    def between(self, sides: Sides, parts: dict[str, Any], ramp: float) -> torch.Tensor:
        """How far the covariances are apart."""
        return coral_loss(sides.ours, sides.theirs) + coral_loss(sides.ours_out, sides.theirs_out)
