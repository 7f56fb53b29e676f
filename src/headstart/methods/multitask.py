"""Multitask: several target columns learn on one network; what one target teaches the trunk may help another.

Every layer trains from the source's weights and is shared; each target has its rows of the linear head, which start
from its own probe (Caruana 1997, Multitask Learning). How the losses become one step: `headstart.nn.balancing`. While
it trains, every so many steps are looked ahead for each target (`headstart.nn.affinity`), which gives the table of what
the targets do for each other.

Learning together can harm as well. So the same training for each target alone is fitted beside it, and for each target
the better of the two on validation ships (`headstart.evidence.several`).
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from headstart.datasets.base import Dataset
from headstart.engine import Group
from headstart.errors import MethodError
from headstart.methods.base import Method, Need, Problem, hyper
from headstart.methods.finetune import Finetune
from headstart.methods.network import Companion, GradientMethod, Network
from headstart.methods.probe import Probe
from headstart.nn import affinity, balancing
from headstart.tasks.base import Task
from headstart.tasks.several import Several
from headstart.types import Batch, Json

if TYPE_CHECKING:
    from headstart.sources.base import Source


ROWS = 16
"""Rows of a step on which its affinity is measured: half of the usual batch, as it costs three passes a target."""


@dataclass(frozen=True)
class Multitask(GradientMethod):
    """One network for several targets, every layer trained on all of them."""

    name: ClassVar[str] = "multitask"
    tasks: ClassVar[tuple[str, ...]] = ("several",)
    shares: ClassVar[bool] = True
    paper: ClassVar[str] = "Caruana 1997, Multitask Learning"

    weighting: str = hyper(
        "equal", "how the targets' losses become one step", choices=("equal", "uncertainty", "gradnorm", "pcgrad"),
        paper="arXiv:1705.07115, arXiv:1711.02257, arXiv:2001.06782",
    )  # fmt: skip
    weight_rate: float = hyper(0.025, "learning rate of the weights (uncertainty, gradnorm)", low=0.0, high=1.0)
    alpha: float = hyper(1.5, "how much slower targets are pulled along (gradnorm)", low=0.0, high=10.0)
    affinity: int = hyper(
        10, "steps from one measurement of the affinity to the next; 0 = none", low=0, high=1_000_000,
        paper="arXiv:2109.04617",
    )  # fmt: skip
    layer_decay: float = hyper(0.9, "factor on the rate for each layer towards the input", low=0.0, high=1.0)
    head_rate: float = hyper(5.0, "factor on the rate of the head", low=0.0, high=1000.0)

    def admit(self, task: Task, source: Source | None, dataset: Dataset, given: Collection[Need] = ()) -> None:
        """Refuse one target by itself, and what every training of a network refuses."""
        if not isinstance(task, Several):
            raise MethodError(
                "HS-METHOD-003", "multitask needs two targets or more.", "Name them with --target A --target B."
            )
        super().admit(task, source, dataset, given)

    def ablation(self) -> Method:
        """The same training for each target alone."""
        names = (
            "epochs", "batch_size", "accumulate", "learning_rate", "weight_decay", "warmup", "clip", "patience", "ema",
            "layer_decay", "head_rate",
        )  # fmt: skip
        return Finetune(**{name: getattr(self, name) for name in names})

    def prepare(self, problem: Problem) -> tuple[Source, nn.Module, Sequence[str]]:
        """The probes' heads, one above the other, on a copy of the source."""
        assert problem.source is not None and isinstance(problem.task, Several)
        heads = []
        for column, part in problem.task.parts.items():
            own = problem.replace(train=problem.train.aim(column), valid=None, task=part)
            heads.append(Probe(layers="last").fit(own).head)
        weights = torch.cat([copy.deepcopy(head.weight.detach()) for head in heads])  # type: ignore[operator]
        joint = nn.Linear(weights.shape[1], weights.shape[0])
        with torch.no_grad():
            joint.weight.copy_(weights)
            joint.bias.copy_(torch.cat([head.bias.detach() for head in heads]))  # type: ignore[operator]
        return problem.source.clone(), joint, (problem.task.needs,)

    def groups(self, source: Source, head: nn.Module) -> list[Group]:
        """As in fine-tuning: rates fall from the output to the input."""
        single = self.ablation()
        assert isinstance(single, Finetune)
        return single.groups(source, head)

    def companion(self, problem: Problem, head: nn.Module) -> Companion:
        """What weighs the losses and measures the affinity."""
        assert isinstance(problem.task, Several)
        return Balance(problem.task, self)

    def loss(self, network: Network, batch: Batch, target: torch.Tensor, problem: Problem) -> dict[str, torch.Tensor]:
        """The weighted loss, and the loss of each target under its column after ``loss of``."""
        assert isinstance(problem.task, Several)
        losses = problem.task.losses(network(batch).float(), target, batch.weight)
        stacked = torch.stack(list(losses.values()))
        balance = network.companion
        total = balance.total(stacked) if isinstance(balance, Balance) else stacked.sum()
        return {"loss": total} | {f"loss of {column}": each for column, each in losses.items()}


class Balance(Companion):
    """The weights of K targets as they are learned, and the sums of the affinity as it is measured."""

    weights: torch.Tensor
    initial: torch.Tensor
    steps: torch.Tensor

    def __init__(self, task: Several, method: Multitask) -> None:
        super().__init__()
        count = len(task.parts)
        self.task, self.method = task, method
        self.register_buffer("weights", torch.ones(count))
        self.register_buffer("initial", torch.zeros(count))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.affinity = affinity.Affinity(count)
        factors = [0.5 if part.name == "regression" else 1.0 for part in task.parts.values()]
        self.register_buffer("factors", torch.tensor(factors), persistent=False)
        if method.weighting == "uncertainty":
            self.log_variance = nn.Parameter(torch.zeros(count))
        self._held: torch.Tensor | None = None  # gradients [K,P] of the pieces of a step, for pcgrad

    def groups(self) -> list[Group]:
        """The learned log variances."""
        if self.method.weighting != "uncertainty":
            return []
        return [Group("weights of the targets", [self.log_variance], self.method.weight_rate, 0.0)]

    def total(self, losses: torch.Tensor) -> torch.Tensor:
        """The loss of a step from the losses [K] of the targets."""
        if self.method.weighting == "uncertainty":
            return balancing.uncertainty(losses, self.log_variance, self.get_buffer("factors"))
        return (self.weights * losses).sum()

    # --- a step ------------------------------------------------------------------------------------------------

    def backward(
        self, network: Network, batch: Batch, target: torch.Tensor, losses: dict[str, torch.Tensor], last: bool
    ) -> None:
        """Gradients of a piece of a step; the affinity, every so many steps, on its last piece."""
        each = [losses[f"loss of {column}"] for column in self.task.parts]
        if self.method.weighting == "pcgrad":
            self._project(network, each, last)
        else:
            follow = self.method.weighting == "gradnorm" and last
            weights = self._by_norms(network, each) if follow else self.weights
            losses["loss"].backward()  # type: ignore[no-untyped-call]
            self.weights.copy_(weights)
        every = self.method.affinity
        if last and every and int(self.steps) % every == 0:
            self._measure(network, batch, target)
        self.steps += last

    def _project(self, network: Network, losses: Sequence[torch.Tensor], last: bool) -> None:
        shared = _training(network.backbone)
        heads = _training(network.head)
        rows = []
        for place, loss in enumerate(losses):
            found = torch.autograd.grad(
                loss, [*shared, *heads], retain_graph=place + 1 < len(losses), allow_unused=True
            )
            parts = zip(shared, found[: len(shared)])
            rows.append(torch.cat([torch.zeros_like(p).flatten() if g is None else g.flatten() for p, g in parts]))
            for parameter, gradient in zip(heads, found[len(shared) :]):
                if gradient is not None:
                    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        stacked = torch.stack(rows).float()
        self._held = stacked if self._held is None else self._held + stacked
        if not last:
            return
        count = len(losses)
        orders = [[j for j in torch.randperm(count).tolist() if j != i] for i in range(count)]
        merged = balancing.pcgrad(self._held, orders)
        self._held = None
        for parameter, part in zip(shared, torch.split(merged, [p.numel() for p in shared])):
            parameter.grad = part.view_as(parameter).to(parameter.dtype)

    def _by_norms(self, network: Network, losses: Sequence[torch.Tensor]) -> torch.Tensor:
        """The weights for the next step."""
        last_layer = _training(network.last_layer)
        norms = []
        for loss in losses:
            found = torch.autograd.grad(loss, last_layer, retain_graph=True, allow_unused=True)
            squares = [part.float().square().sum() for part in found if part is not None]
            norms.append(torch.stack(squares).sum().sqrt() if squares else torch.zeros((), device=loss.device))
        now = torch.stack([loss.detach() for loss in losses])
        if not self.initial.any():
            self.initial.copy_(now)
        rate, alpha = self.method.weight_rate, self.method.alpha
        return balancing.gradnorm(self.weights, torch.stack(norms), now, self.initial, alpha, rate)

    # --- affinity ----------------------------------------------------------------------------------------------

    def _measure(self, network: Network, batch: Batch, target: torch.Tensor) -> None:
        """Look one step ahead for each target; without dropout, so that nothing but the step differs."""
        few = slice(0, ROWS)
        weight = None if batch.weight is None else batch.weight[few]
        batch, target = Batch({name: value[few] for name, value in batch.inputs.items()}, weight), target[few]
        modes = {module: module.training for module in network.modules()}
        network.eval()

        def losses() -> torch.Tensor:
            found = self.task.losses(network(batch).float(), target, batch.weight)
            return torch.stack(list(found.values()))

        self.affinity.add(*affinity.lookahead(losses, _training(network.backbone), self.method.learning_rate))
        for module, mode in modes.items():
            module.training = mode

    def facts(self) -> Json:
        """The weights that were learned, and the affinity of the targets."""
        columns = list(self.task.parts)
        facts: Json = {}
        if self.method.weighting == "uncertainty":
            facts["weights"] = dict(zip(columns, torch.exp(-self.log_variance.detach()).tolist()))
        elif self.method.weighting == "gradnorm":
            facts["weights"] = dict(zip(columns, self.weights.tolist()))
        if (measured := self.affinity.to_json(columns)) is not None:
            facts["affinity"] = measured
        return facts


def _training(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]
