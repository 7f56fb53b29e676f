"""DAN: features with the same means in the spaces of several kernels.

Long, Cao, Wang & Jordan 2015, Learning Transferable Features with Deep Adaptation Networks, arXiv:1502.02791: the
multi-kernel maximum mean discrepancy of the features that feed the head and of its outputs, in full rather than by the
paper's linear-time estimate, with equal weights of the kernels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from headstart.methods.deep_adaptation import DeepAdaptation, Sides
from headstart.nn.matching import mmd_loss


@dataclass(frozen=True)
class Dan(DeepAdaptation):
    """Features with the same means in the spaces of several kernels."""

    name: ClassVar[str] = "dan"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")
    paper: ClassVar[str] = "Long et al. 2015, arXiv:1502.02791"

    def between(self, sides: Sides, parts: dict[str, Any], ramp: float) -> torch.Tensor:
        """The discrepancy of features and outputs."""
        return mmd_loss(sides.ours, sides.theirs) + mmd_loss(sides.ours_out, sides.theirs_out)
