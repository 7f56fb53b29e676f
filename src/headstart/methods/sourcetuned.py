"""Source-tuned: the network trained on the labelled domain alone. The control of every adaptation of a backbone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from headstart.methods.deep_adaptation import DeepAdaptation, Sides


@dataclass(frozen=True)
class Sourcetuned(DeepAdaptation):
    """The network trained on the labelled domain alone."""

    name: ClassVar[str] = "sourcetuned"
    role: ClassVar[Any] = "control"
    looks: ClassVar[bool] = False

    def between(self, sides: Sides, parts: dict[str, Any], ramp: float) -> torch.Tensor:
        """Nothing."""
        return sides.ours_out.new_zeros(())
