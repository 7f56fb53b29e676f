"""CDAN: features that a classifier of domains cannot tell apart, given what is predicted of them.

Long, Cao, Wang & Jordan 2018, Conditional Adversarial Domain Adaptation, arXiv:1705.10667: the discriminator reads the
products of features and predictions, so that classes are matched with classes; rows of which the head is sure count
more (CDAN+E).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from headstart.methods.base import hyper
from headstart.methods.deep_adaptation import DeepAdaptation, Sides
from headstart.nn.adversary import Discriminator, Multilinear, certainty, domain_loss, reverse
from headstart.tasks.base import Task


@dataclass(frozen=True)
class Cdan(DeepAdaptation):
    """Features that a classifier of domains cannot tell apart, given what is predicted of them."""

    name: ClassVar[str] = "cdan"
    ramped: ClassVar[bool] = False
    paper: ClassVar[str] = "Long et al. 2018, arXiv:1705.10667"

    entropy: bool = hyper(True, "whether rows of which the head is sure count more")

    def parts(self, width: int, task: Task) -> dict[str, nn.Module]:
        """The products, and the classifier of domains."""
        products = Multilinear(width, task.width)
        return {"products": products, "discriminator": Discriminator(products.width)}

    def between(self, sides: Sides, parts: dict[str, Any], ramp: float) -> torch.Tensor:
        """How well it tells the domains; its gradient arrives at the features turned round, times the ramp."""
        logits, weights = [], []
        for features, out in ((sides.ours, sides.ours_out), (sides.theirs, sides.theirs_out)):
            chances = torch.softmax(out, dim=1).detach()
            logits.append(parts["discriminator"](reverse(parts["products"](features, chances), ramp)))
            weights.append(certainty(chances))
        return domain_loss(logits[0], logits[1], (weights[0], weights[1]) if self.entropy else None)
