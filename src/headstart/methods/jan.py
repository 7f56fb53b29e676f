"""JAN: features and predictions with the same joint distribution.

Long, Zhu, Wang & Jordan 2017, Deep Transfer Learning with Joint Adaptation Networks, arXiv:1605.06636: the joint
maximum mean discrepancy of the features that feed the head and of its predictions, whose kernels are multiplied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from headstart.methods.deep_adaptation import DeepAdaptation, Sides
from headstart.nn.matching import joint_mmd_loss


@dataclass(frozen=True)
class Jan(DeepAdaptation):
    """Features and predictions with the same joint distribution."""

    name: ClassVar[str] = "jan"
    paper: ClassVar[str] = "Long et al. 2017, arXiv:1605.06636"

    def between(self, sides: Sides, parts: dict[str, Any], ramp: float) -> torch.Tensor:
        """The joint discrepancy."""
        ours, theirs = (torch.softmax(out, dim=1) for out in (sides.ours_out, sides.theirs_out))
        return joint_mmd_loss([sides.ours, ours], [sides.theirs, theirs])
