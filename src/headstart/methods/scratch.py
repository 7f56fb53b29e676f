"""Scratch: the control that has the source's network and none of its knowledge.

The same architecture with fresh weights is trained on the same rows under the same budget. What a transfer gains over
this is what the *weights* brought, apart from the architecture. A fresh network wants a larger learning rate and more
passes than a pretrained one, so two rates are tried for a few steps and the better one on the validation loss is kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from torch import nn

from headstart.engine import Group, batches
from headstart.methods.base import Problem, hyper
from headstart.methods.network import GradientMethod, Network, NetworkFitted, Rows
from headstart.runtime import bf16_is_native, device

if TYPE_CHECKING:
    from headstart.sources.base import Source


@dataclass(frozen=True)
class Scratch(GradientMethod):
    """The same network from fresh weights."""

    name: ClassVar[str] = "scratch"
    role: ClassVar[Literal["transfer", "control"]] = "control"
    shares: ClassVar[bool] = True
    paper: ClassVar[str] = "He, Girshick & Dollár 2019, Rethinking ImageNet pre-training"

    epochs: int = hyper(6, "passes over the training rows", low=1, high=1000)
    learning_rate: float = hyper(
        0.0, "highest learning rate; 0 = the better of two on a short trial", low=0.0, high=1.0
    )
    trial: int = hyper(15, "steps of the trial of each learning rate", low=1, high=10_000)

    def prepare(self, problem: Problem) -> tuple[Source, nn.Module, Sequence[str]]:
        """Fresh weights everywhere."""
        assert problem.source is not None
        source = problem.source.untrained(problem.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(problem.seed + 1)
            head = problem.task.head(source.card.width)
        return source, head, (problem.task.needs,)

    def groups(self, source: Source, head: nn.Module) -> list[Group]:
        """Everything trains, at one rate."""
        parts = [*((layer.name, layer.module) for layer in source.layers()), ("head", head)]
        return [Group(name, list(part.parameters()), self.learning_rate, self.weight_decay) for name, part in parts]

    def fit(self, problem: Problem) -> NetworkFitted:
        """Choose the learning rate on a short trial, then train."""
        if self.learning_rate > 0:
            return super().fit(problem)
        losses = {rate: self._trial(problem, rate) for rate in (1e-3, 2e-4)}
        rate = min(losses, key=lambda rate: (losses[rate], rate))
        return replace(self, learning_rate=rate).fit(problem)

    def _trial(self, problem: Problem, rate: float) -> float:
        """Mean validation loss after a few steps at this rate."""
        source, head, outputs = self.prepare(problem)
        where = device()
        network = Network(source, head, outputs).train().to(where)
        rows = Rows(problem.train, problem.task, source)
        optimiser = torch.optim.AdamW(network.parameters(), lr=rate, fused=True)
        bf16 = problem.precision != "fp32" and bf16_is_native()
        left = problem.seconds_left
        until = math.inf if left is None else time.monotonic() + left / 4
        torch.manual_seed(problem.seed)
        order = batches(rows.costs, self.batch_size, problem.seed, 0)[: self.trial]
        for step, at in enumerate(order):
            for settings in optimiser.param_groups:
                settings["lr"] = rate * min(1.0, (step + 1) / (0.3 * len(order)))
            batch, target = rows.batch(at, True)
            with torch.autocast(where.type, torch.bfloat16, enabled=bf16):
                loss = self.loss(network, batch.to(where), target.to(where), problem)["loss"]
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), self.clip)
            optimiser.step()
            optimiser.zero_grad()
            if time.monotonic() > until:  # two trials take no more than half of the time
                break
        network.eval()
        judged = Rows(problem.valid if problem.valid is not None else problem.train, problem.task, source)
        chosen = np.random.default_rng(problem.seed).permutation(len(judged.costs))[:64]
        with torch.no_grad():
            batch, target = judged.batch(chosen, False)
            value = float(self.loss(network, batch.to(where), target.to(where), problem)["loss"])
        return value if math.isfinite(value) else math.inf
