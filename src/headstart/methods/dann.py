"""DANN: features that a classifier of domains cannot tell apart.

Ganin, Ustinova, Ajakan, Germain, Larochelle, Laviolette, Marchand & Lempitsky 2016, Domain-Adversarial Training of
Neural Networks, JMLR 17, arXiv:1505.07818: a discriminator learns to tell the domains by the features, and the network
takes its gradient with the opposite sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from headstart.methods.deep_adaptation import DeepAdaptation, Sides
from headstart.nn.adversary import Discriminator, domain_loss, reverse
from headstart.tasks.base import Task


@dataclass(frozen=True)
class Dann(DeepAdaptation):
    """Features that a classifier of domains cannot tell apart."""

    name: ClassVar[str] = "dann"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")
    ramped: ClassVar[bool] = False
    paper: ClassVar[str] = "Ganin et al. 2016, arXiv:1505.07818"

    def parts(self, width: int, task: Task) -> dict[str, nn.Module]:
        """The classifier of domains."""
        return {"discriminator": Discriminator(width)}

    def between(self, sides: Sides, parts: dict[str, Any], ramp: float) -> torch.Tensor:
        """How well it tells the domains; its gradient arrives at the network turned round, times the ramp."""
        tell = parts["discriminator"]
        return domain_loss(tell(reverse(sides.ours, ramp)), tell(reverse(sides.theirs, ramp)))
