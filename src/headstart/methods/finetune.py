"""Fine-tune: the whole network moves, gently, from the source's weights to the target.

The head starts from the probe (linear probing then fine-tuning, Kumar et al. 2022, arXiv:2202.10054), so that the
first gradients are not those of a random head. Layers nearer the input learn more slowly: layer l of L has the rate
lr * decay^(L - l) (Howard & Ruder 2018, arXiv:1801.06146). Optional: the first layers frozen, layers unfrozen one
epoch after the other from the output down, and a pull (alpha / 2) ||w - w_source||^2 towards the source (L2-SP, Li et
al. 2018, arXiv:1802.01483).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from headstart.engine import Group
from headstart.errors import MethodError
from headstart.methods.base import Problem, hyper
from headstart.methods.network import GradientMethod, Network
from headstart.methods.probe import Probe
from headstart.types import Batch

if TYPE_CHECKING:
    from headstart.sources.base import Source


@dataclass(frozen=True)
class Finetune(GradientMethod):
    """Every layer trains from the source's weights; the head starts from the probe."""

    name: ClassVar[str] = "finetune"
    paper: ClassVar[str] = "Howard & Ruder 2018, arXiv:1801.06146; Kumar et al. 2022, arXiv:2202.10054"

    layer_decay: float = hyper(0.9, "factor on the rate for each layer towards the input", low=0.0, high=1.0)
    head_rate: float = hyper(5.0, "factor on the rate of the head", low=0.0, high=1000.0)
    freeze: int = hyper(0, "how many of the first layers stay as they are", low=0, high=10_000)
    gradual: bool = hyper(False, "unfreeze one layer an epoch, from the output down", paper="arXiv:1801.06146")
    l2sp: float = hyper(0.0, "pull towards the source's weights (L2-SP)", low=0.0, high=1e6, paper="arXiv:1802.01483")

    def prepare(self, problem: Problem) -> tuple[Source, nn.Module, Sequence[str]]:
        """The probe's head on a copy of the source."""
        assert problem.source is not None
        head = Probe(layers="last").fit(problem.replace(valid=None)).head
        return problem.source.clone(), head, (problem.task.needs,)

    def groups(self, source: Source, head: nn.Module) -> list[Group]:
        """Rates fall from the output to the input. Raises MethodError where more layers are frozen than there are."""
        layers = source.layers()
        if self.freeze > len(layers):
            raise MethodError(
                "HS-METHOD-002", f"finetune: freeze is {self.freeze}; the source has {len(layers)} layers."
            )
        groups = []
        for depth, layer in enumerate(layers[self.freeze :], start=self.freeze):
            distance = len(layers) - 1 - depth
            groups.append(
                Group(
                    layer.name,
                    list(layer.module.parameters()),
                    self.learning_rate * self.layer_decay**distance,
                    self.weight_decay,
                    start=1 + distance if self.gradual else 0,
                )
            )
        head_rate = self.learning_rate * self.head_rate
        return [*groups, Group("head", list(head.parameters()), head_rate, self.weight_decay)]

    def loss(self, network: Network, batch: Batch, target: torch.Tensor, problem: Problem) -> dict[str, torch.Tensor]:
        """The task's loss, plus the pull towards the source where it is on."""
        losses = super().loss(network, batch, target, problem)
        if self.l2sp:
            assert problem.source is not None
            origin = dict(problem.source.network.named_parameters())
            pull = [
                (p - origin[name].to(p.device)).square().sum()
                for name, p in network.backbone.named_parameters()
                if p.requires_grad
            ]
            if pull:
                losses = {**losses, "loss": losses["loss"] + 0.5 * self.l2sp * torch.stack(pull).sum()}
        return losses
