"""Contrastive: the few labels are compared with each other, the backbone learns what makes them alike.

Rows of one class are drawn together and rows of different classes pushed apart (SetFit, Tunstall et al. 2022); then a
linear head is fitted on the tuned features. SetFit passes both texts of every pair through the network. Here one
pass of a batch serves all of its pairs: B rows give B (B - 1) ordered pairs (SupCon, Khosla et al. 2020, equation 2),

    loss = mean over i of  -1/|P(i)| sum over p in P(i) of  log(exp(z_i z_p / t) / sum over a != i of exp(z_i z_a / t))

with z the features at unit length and P(i) the other rows of i's class. Batches hold as many rows of each class and
are drawn as they are needed, each from the seed and its number alone: memory grows with the rows, not with the pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import nn

from headstart.engine import Group, Schedule, Trainer, train_only
from headstart.errors import MethodError
from headstart.methods.base import Method, Problem, hyper
from headstart.methods.network import GradientMethod, Network, NetworkFitted, Rows, identity, layer_rows
from headstart.methods.probe import Probe
from headstart.nn.linear import fit_linear
from headstart.runtime import Extractor
from headstart.tasks.base import Array, Task
from headstart.types import Batch, LayerRow

if TYPE_CHECKING:
    from headstart.sources.base import Source


@dataclass(frozen=True)
class Contrastive(GradientMethod):
    """The backbone learns which of the few labelled rows are alike; a linear head on the tuned features."""

    name: ClassVar[str] = "contrastive"
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    paper: ClassVar[str] = "Tunstall et al. 2022, arXiv:2209.11055; Khosla et al. 2020, arXiv:2004.11362"

    epochs: int = hyper(0, "passes over the training rows; 0 = by their number", low=0, high=1000)
    learning_rate: float = hyper(3e-5, "highest learning rate of the last layer", low=1e-8, high=1.0)
    layer_decay: float = hyper(1.0, "factor on the rate for each layer towards the input", low=0.0, high=1.0)
    temperature: float = hyper(0.2, "of the similarities; small = the nearest rows count most", low=0.01, high=10.0)
    strength: float = hyper(1.0, "inverse regularisation of the head", low=1e-9, high=1e9)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.accumulate != 1:
            raise MethodError(
                "HS-METHOD-002",
                "contrastive: accumulate has to be 1, since the rows of a batch are compared with each other.",
                "Set --batch-size lower to save memory.",
            )

    def rows_trained(self, rows: int) -> float:
        """Every row comes about ``epochs`` times."""
        return float((self.epochs or passes(rows)) * rows)

    def table(self, source: Source, task: Task) -> list[LayerRow]:
        """What would train; the head comes after it, in closed form."""
        rows = super().table(source, task)
        return [*rows[:-1], replace(rows[-1], share=1.0, rate=None)]

    def ablation(self) -> Method | None:
        """The same head on the source as it is."""
        return Probe()

    def prepare(self, problem: Problem) -> tuple[Source, nn.Module, Sequence[str]]:
        """A copy of the source; its features themselves are compared."""
        assert problem.source is not None
        return problem.source.clone(), nn.Identity(), ("pooled",)

    def groups(self, source: Source, head: nn.Module) -> list[Group]:
        """Rates fall from the output to the input. Batch norms keep the source's statistics: few rows tell none."""
        layers, found = source.layers(), []
        for depth, layer in enumerate(layers):
            norms = {
                id(p)
                for module in layer.module.modules()
                if isinstance(module, nn.modules.batchnorm._BatchNorm)
                for p in module.parameters()
            }
            parameters = [p for p in layer.module.parameters() if id(p) not in norms]
            rate = self.learning_rate * self.layer_decay ** (len(layers) - 1 - depth)
            if parameters:
                found.append(Group(layer.name, parameters, rate, self.weight_decay))
        return found

    def loss(self, network: Network, batch: Batch, target: torch.Tensor, problem: Problem) -> dict[str, torch.Tensor]:
        """`supcon` of the batch's features."""
        return {"loss": supcon(network(batch).float(), target, self.temperature, batch.weight)}

    def fit(self, problem: Problem) -> NetworkFitted:
        """Tune on ``problem.train``, then fit the head; ``problem.valid`` is not read."""
        if problem.source is None:
            raise MethodError("HS-METHOD-003", "contrastive needs a source.", "Name one with --source.")
        task, train = problem.task, problem.train
        source, embedding, outputs = self.prepare(problem)
        network, groups = Network(source, embedding, outputs), self.groups(source, embedding)
        train_only(network, groups)
        rows = Rows(train, task, source)
        draw = Draw(rows.targets, self.batch_size, problem.seed)
        steps = max(1, round((self.epochs or passes(len(train))) * len(train) / draw.size))
        trainer = Trainer(
            network,
            groups,
            Schedule(1, 1, 1, self.warmup, self.clip, self.patience, self.ema, bucket=False),
            costs=np.ones(steps),  # what the engine orders are not rows but numbers of batches
            loss=lambda model, batch, target: self.loss(model, batch, target, problem),  # type: ignore[arg-type]
            prepare=lambda numbers, training: rows.batch(draw(int(numbers[0])), training),
            validate=None,
            seed=problem.seed,
            key=identity(self, problem),
            folder=problem.folder,
            deadline=problem.deadline,
            report=problem.report,
            stage=self.name,
            precision=problem.precision,
        )
        history = trainer.run()
        problem.notes += trainer.notes
        precision = "bf16" if trainer.bf16 else "fp32"
        source.card = replace(source.card, digest=source.digest())
        extractor = Extractor(source, precision=precision, cache=False)
        fit = fit_linear(
            task, extractor.matrix(train.without("target")), rows.targets, strengths=[self.strength],
            groups=train.groups(), weights=rows.weights, seed=problem.seed,
        )  # fmt: skip
        head = nn.Linear(fit.weight.shape[1], task.width)
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(fit.weight))
            head.bias.copy_(torch.from_numpy(fit.bias))
        table = layer_rows(source, head, groups)
        table[-1] = replace(table[-1], share=1.0)
        return NetworkFitted(
            self, task, source, head, outputs, changed=True, precision=precision, extractor=extractor,
            history=[{**row, "steps": steps} for row in history], layers=table,
        )  # fmt: skip


def passes(rows: int) -> int:
    """Passes over the rows by their number: 10 up to 48 rows, then fewer by its root (384 rows: 4).

    More of them tear the few rows apart and new rows with them: with 8 labels a class, on shortened reviews of other
    rows than the benchmark's, 10 passes gain 4.1 points on the probe, 20 gain 3.3 (4 draws), 40 lose 3.6 (2 of them).
    """
    return int(np.clip(round(10 * np.sqrt(48 / rows)), 1, 10))


class Draw:
    """Batches of row numbers, several rows of several classes each: ``draw(number)`` gives the batch of that number.

    targets: classes int [N]. batch: rows of a batch, about. size: rows that the batches hold on average. Every class
    comes as often, and its rows come in turn. Memory: one number a row.
    """

    def __init__(self, targets: Array, batch: int, seed: int) -> None:
        order = np.argsort(targets, kind="stable")
        found, starts = np.unique(targets[order], return_index=True)
        self.classes = np.split(order, starts[1:])
        self.seed = seed
        self.rounds = max(1, len(found) // max(2, batch // 2))  # batches in which every class has come once
        self.each = max(2, batch * self.rounds // len(found))
        self.size = sum(min(self.each, len(rows)) for rows in self.classes) / self.rounds

    def __call__(self, number: int) -> Array:
        """Rows [b] of one batch; those of a class stand together."""
        turn, part = divmod(number, self.rounds)
        order = np.random.default_rng([self.seed, 0, turn]).permutation(len(self.classes))
        return np.concatenate([self._of(label, turn) for label in np.array_split(order, self.rounds)[part]])

    def _of(self, label: int, turn: int) -> Array:
        """The next rows of a class: its permutations, one after the other, cut into pieces."""
        rows = self.classes[label]
        take = min(self.each, len(rows))
        pieces = max(1, len(rows) // take)
        cycle, piece = divmod(turn, pieces)
        shuffled = np.random.default_rng([self.seed, 1, label, cycle]).permutation(rows)
        return shuffled[piece * take : (piece + 1) * take]


def supcon(
    features: torch.Tensor, target: torch.Tensor, temperature: float, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """The supervised contrastive loss of features [B,D] and classes [B]: Khosla et al. 2020, equation 2 (L_out).

    weight: [B] of the rows as anchors. Rows without another of their class are no anchors; 0 where there is none.
    """
    z = nn.functional.normalize(features, dim=1)
    alike = z @ z.T / temperature  # [B,B]
    self_ = torch.eye(len(z), dtype=torch.bool, device=z.device)
    chance = alike - torch.logsumexp(alike.masked_fill(self_, -torch.inf), dim=1, keepdim=True)
    positive = (target[:, None] == target[None, :]) & ~self_
    count = positive.sum(dim=1)
    losses = -(chance * positive).sum(dim=1) / count.clamp(min=1)
    counted = (count > 0).to(losses.dtype) if weight is None else (count > 0).to(losses.dtype) * weight.to(losses.dtype)
    return (losses * counted).sum() / counted.sum().clamp(min=1e-9)
