"""Fine-tune: the whole network moves, gently, from the source's weights to the target.

The head starts from the probe (linear probing then fine-tuning, Kumar et al. 2022, arXiv:2202.10054), so that the
first gradients are not those of a random head. Layers nearer the input learn more slowly: layer l of L has the rate
lr * decay^(L - l), where Howard & Ruder 2018 (ULMFiT, arXiv:1801.06146) take decay = 1 / 2.6. Optional:

- the first layers frozen, or one block of layers alone tuned, chosen by validation: surgical fine-tuning, Lee et al.
  2022, arXiv:2210.11466. The head, which is the target's own here, always trains.
- layers unfrozen one epoch after the other from the output down, the head alone first (ULMFiT).
- a pull (alpha / 2) ||w - w_source||^2 + (beta / 2) ||head||^2 in place of weight decay (L2-SP, Li et al. 2018,
  arXiv:1802.01483, equation 2).
- a learning rate found by a sweep (Smith 2015, arXiv:1506.01186; `headstart.nn.learning_rate`).
"""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import nn

from headstart.engine import Group
from headstart.errors import MethodError
from headstart.methods.base import Problem, hyper
from headstart.methods.network import GradientMethod, Network, NetworkFitted, identity
from headstart.methods.probe import Probe
from headstart.methods.remember import once
from headstart.methods.selection import validation_part
from headstart.nn.learning_rate import SHARE
from headstart.nn.linear import assign_folds, strata_of
from headstart.types import Batch, Json

if TYPE_CHECKING:
    from headstart.sources.base import Source

TRIALS = 0.5
"""All trials of blocks together see about this part of the rows that the full training sees."""

LEAST = 64
"""Rows that a trial sees at least, where there are as many."""


@dataclass(frozen=True)
class Finetune(GradientMethod):
    """Layers train from the source's weights; the head starts from the probe."""

    name: ClassVar[str] = "finetune"
    paper: ClassVar[str] = "Howard & Ruder 2018, arXiv:1801.06146; Kumar et al. 2022, arXiv:2202.10054"

    learning_rate: float = hyper(
        1e-4, "highest rate of the last layer; 0 = found by a sweep", low=0.0, high=1.0, paper="arXiv:1506.01186"
    )
    layer_decay: float = hyper(
        0.9, "factor on the rate for each layer towards the input; 0.385 is ULMFiT's 1/2.6", low=0.0, high=1.0,
        paper="arXiv:1801.06146",
    )  # fmt: skip
    head_rate: float = hyper(5.0, "factor on the rate of the head", low=0.0, high=1000.0)
    freeze: int = hyper(0, "how many of the first layers stay as they are", low=0, high=10_000)
    tune: str = hyper("all", "layers that train: all, or a block such as 2/3, the second third from the input")
    surgical: int = hyper(
        0, "tune the best of so many blocks, by trials on validation; 0 = off", low=0, high=1000,
        paper="arXiv:2210.11466",
    )  # fmt: skip
    gradual: bool = hyper(False, "unfreeze one layer an epoch, from the output down", paper="arXiv:1801.06146")
    l2sp: float = hyper(
        0.0, "pull of the layers towards the source's weights, in place of weight decay", low=0.0, high=1e6,
        paper="arXiv:1802.01483",
    )  # fmt: skip
    l2sp_head: float = hyper(
        0.0, "pull of the head towards zero, in place of weight decay", low=0.0, high=1e6, paper="arXiv:1802.01483"
    )

    def rows_trained(self, rows: int) -> float:
        """The epochs, the trials of blocks, and the sweep of rates."""
        return super().rows_trained(rows) * (1 + TRIALS * bool(self.surgical) + SHARE * (self.learning_rate == 0))

    def prepare(self, problem: Problem) -> tuple[Source, nn.Module, Sequence[str]]:
        """The probe's head, one that the task gives, or a copy of the one in the options, on a copy of the source."""
        assert problem.source is not None
        given = problem.options.get("head") or problem.task.start(problem.source.card.width)
        head = copy.deepcopy(given) if given is not None else probed(problem)
        return problem.source.clone(), head, (problem.task.needs,)

    def groups(self, source: Source, head: nn.Module) -> list[Group]:
        """Rates fall from the output, or from the end of the block that trains, to the input.

        Raises MethodError HS-METHOD-002 where more layers are frozen, or more blocks cut, than there are layers.
        """
        layers = source.layers()
        if self.freeze > len(layers):
            raise MethodError(
                "HS-METHOD-002", f"finetune: freeze is {self.freeze}; the source has {len(layers)} layers."
            )
        groups = []
        first, end = self._block(len(layers))
        for depth in range(max(first, self.freeze), end):
            distance = end - 1 - depth
            groups.append(
                Group(
                    layers[depth].name,
                    list(layers[depth].module.parameters()),
                    self.learning_rate * self.layer_decay**distance,
                    0.0 if self.l2sp else self.weight_decay,
                    start=1 + distance if self.gradual else 0,
                )
            )
        decay = 0.0 if self.l2sp_head else self.weight_decay
        return [*groups, Group("head", list(head.parameters()), self.learning_rate * self.head_rate, decay)]

    def _block(self, layers: int) -> tuple[int, int]:
        """The first layer that trains, and the one after the last."""
        if self.tune == "all":
            return 0, layers
        found = re.fullmatch(r"([0-9]+)/([0-9]+)", self.tune.strip())
        number, blocks = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 1 <= number <= blocks <= layers:
            raise MethodError(
                "HS-METHOD-002", f'finetune: tune is "{self.tune}"; expected all, or a block from 1/1 to '
                f"{layers}/{layers}, as the source has {layers} layers.",
            )  # fmt: skip
        parts = np.array_split(np.arange(layers), blocks)
        return int(parts[number - 1][0]), int(parts[number - 1][-1]) + 1

    def loss(self, network: Network, batch: Batch, target: torch.Tensor, problem: Problem) -> dict[str, torch.Tensor]:
        """The task's loss, plus the pulls where they are on."""
        losses = super().loss(network, batch, target, problem)
        if self.l2sp or self.l2sp_head:
            losses = {**losses, "loss": losses["loss"] + self.pull(network, problem)}
        return losses

    def pull(self, network: Network, problem: Problem) -> torch.Tensor:
        """(l2sp / 2) ||w - w_source||^2 of the layers that train now, plus (l2sp_head / 2) ||head||^2."""
        assert problem.source is not None
        origin = dict(problem.source.network.named_parameters())
        parts = [
            self.l2sp * (p - origin[name].detach().to(p.device)).square().sum()
            for name, p in network.backbone.named_parameters()
            if self.l2sp and p.requires_grad
        ]
        parts += [self.l2sp_head * p.square().sum() for p in network.head.parameters() if self.l2sp_head]
        return 0.5 * torch.stack(parts).sum() if parts else torch.zeros((), device=next(network.parameters()).device)

    # --- surgical ----------------------------------------------------------------------------------------------

    def fit(self, problem: Problem) -> NetworkFitted:
        """Train; with ``surgical`` on, the block that its trial on validation was best for. Its scores are history."""
        if not self.surgical or problem.source is None:
            return super().fit(problem)
        layers = len(problem.source.layers())
        if self.surgical > layers:
            raise MethodError(
                "HS-METHOD-002", f"finetune: surgical is {self.surgical}; the source has {layers} layers."
            )
        head = probed(problem)
        problem = problem.replace(options={**problem.options, "head": head})
        trials = once(problem.folder, "surgical", identity(self, problem), lambda: self._trials(problem))
        scores = [trials["scores"][block] for block in trials["scores"]]
        best = list(trials["scores"])[
            len(scores) - 1 - int(np.argmax(scores[::-1]))
        ]  # of equals the one nearest the output
        problem.notes.append(
            f"finetune: of {self.surgical} blocks of layers {best} was tuned, by trials on validation."
        )
        fitted = replace(self, surgical=0, tune=best).fit(problem)
        fitted.history = [
            {"trial": block, "score": score} for block, score in trials["scores"].items()
        ] + fitted.history
        return fitted

    def _trials(self, problem: Problem) -> Json:
        """The validation score of each block after one pass over some of the rows, from the input to the output."""
        begun = validation_part(problem)
        if begun.valid is None:
            raise MethodError(
                "HS-METHOD-003", f"finetune: {len(problem.train)} rows leave none to choose a block on.",
                "Give more rows, or set tune.",
            )  # fmt: skip
        rows = begun.train
        strata = strata_of(problem.task.encode(rows.targets()))
        wanted = max(LEAST, int(TRIALS * self.epochs * len(rows) / self.surgical))
        fold = assign_folds(
            strata, rows.groups(), max(1, len(rows) // wanted), np.random.default_rng([problem.seed, 3])
        )
        begun = begun.replace(
            train=rows.select(np.flatnonzero(fold == 0).tolist()),
            options={**problem.options, "drift": False},
        )
        scores = {}
        for number in range(1, self.surgical + 1):
            left, block = problem.seconds_left, f"{number}/{self.surgical}"
            share = 0.5 * TRIALS / (self.surgical + 1 - number)
            trial = replace(self, surgical=0, tune=block, epochs=1, gradual=False)
            fitted = trial.fit(
                begun.replace(
                    folder=None if problem.folder is None else problem.folder / f"trial-{number}",
                    deadline=None if left is None else time.monotonic() + max(1.0, share * left),
                    report=lambda stage, done, total, block=block: problem.report(
                        f"trial of block {block}", done, total
                    ),
                    notes=[],
                )
            )
            scores[block] = max(row["validation"] for row in fitted.history if "validation" in row)
        return {"scores": scores}


def probed(problem: Problem) -> nn.Module:
    """The head of the probe of the last features, fitted on the training rows."""
    return Probe(layers="last").fit(problem.replace(valid=None)).head
