"""Adaptation through the backbone: a network learns from labelled rows of one domain and looks at rows of another.

Every step sees labelled rows and, beside them, as many rows of the target domain without labels. A method says what the
two sets of features should have in common (`between`); that loss is added to the task's own, and its weight grows from
0 to ``trade_off`` as 2 / (1 + exp(-10 p)) - 1 with the share p of the training (Ganin et al. 2016, arXiv:1505.07818,
section 5.2.2), since features that mean nothing yet cannot be compared. What predicts is an ordinary network.

No label of the target domain is needed, and none can be seen: its rows are given without. So there is no validation
part either; the schedule ends at a small rate, and the last weights are kept. With ``checkpoint`` "information" it is
those of the epoch after which the predictions for target rows tell most (`headstart.nn.confusion.information`).
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

import numpy as np
import torch
from torch import nn

from headstart.datasets.base import Dataset
from headstart.engine import Group
from headstart.methods.base import Method, Need, Problem, hyper
from headstart.methods.finetune import probed
from headstart.methods.network import Companion, GradientMethod, Network, NetworkFitted, Rows
from headstart.nn.confusion import information
from headstart.tasks.base import Task
from headstart.types import Batch

if TYPE_CHECKING:
    from headstart.runtime import Extractor
    from headstart.sources.base import Source

STEPS, STEPS_FROM_NOTHING = 200, 800
"""Steps of a training whose passes are left open, of a pretrained network and of one that starts from nothing."""

RATE, RATE_FROM_NOTHING = 1e-4, 3e-3

LOOKED_AT = 1000
"""Target rows by which a checkpoint is chosen."""


class Sides(NamedTuple):
    """What a step sees. ours [n,D], theirs [m,D]: features of labelled and of target rows; the logits [n,C], [m,C] of
    the head on them. target: [n] encoded labels. plain: [m,C] logits of the same target rows without augmentation and
    gradient, where the method asks for them."""

    ours: torch.Tensor
    theirs: torch.Tensor
    ours_out: torch.Tensor
    theirs_out: torch.Tensor
    target: torch.Tensor
    plain: torch.Tensor | None


class Bridge(Companion):
    """What a method trains besides the network, and how far the training is. total: pieces of steps in all."""

    step: torch.Tensor

    def __init__(self, total: int, rate: float, decay: float, **parts: nn.Module) -> None:
        super().__init__()
        self.total, self.rate, self.decay = total, rate, decay
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.parts = nn.ModuleDict(parts)

    def groups(self) -> list[Group]:
        """All of it, at one rate."""
        found = list(self.parts.parameters())
        return [Group("bridge", found, self.rate, self.decay)] if found else []

    def ramp(self) -> float:
        """0 at first, 1 in the end."""
        return 2 / (1 + math.exp(-10 * min(1.0, int(self.step) / max(1, self.total)))) - 1


@dataclass(frozen=True)
class DeepAdaptation(GradientMethod):
    """Trains the network on labelled rows with a second loss between the domains. Subclasses say which (`between`)."""

    kind: ClassVar[Any] = "transductive"
    needs: ClassVar[tuple[Need, ...]] = ("labels", "network", "domain")
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    looks: ClassVar[bool] = True  # at rows of the target domain, in every step
    reads_plain: ClassVar[bool] = False  # the target rows also as they are, for labels of its own
    ramped: ClassVar[bool] = True  # the loss grows; an adversary has the ramp in its reversal instead

    epochs: int = hyper(0, "passes over the labelled rows; 0 = by their number", low=0, high=1000)
    batch_size: int = hyper(64, "labelled rows a step sees", low=1, high=4096)
    beside: float = hyper(1.0, "rows of the target domain in a step, for each labelled one", low=0.01, high=100.0)
    learning_rate: float = hyper(
        0.0, "highest rate; 0 = by whether the source is pretrained (1e-4) or not (3e-3)", low=0.0, high=1.0
    )
    layer_decay: float = hyper(
        0.9, "factor on the rate for each layer of a pretrained source towards the input", low=0.0, high=1.0,
        paper="arXiv:1801.06146",
    )  # fmt: skip
    head_rate: float = hyper(5.0, "factor on the rate of a pretrained source's head", low=0.0, high=1000.0)
    trade_off: float = hyper(1.0, "weight of the loss between the domains in the end", low=0.0, high=1000.0)
    checkpoint: str = hyper(
        "last", "which weights are kept: the last, or those whose predictions for target rows tell most",
        choices=("last", "information"), paper="Shi & Sha 2012",
    )  # fmt: skip

    def outputs_read(self, extractor: Extractor, task: Task) -> list[str]:
        """What the probe that the head starts from reads; nothing of a source that starts from fresh weights."""
        return super().outputs_read(extractor, task) if extractor.source.pretrained else []

    # --- what trains ---------------------------------------------------------------------------------------------

    def prepare(self, problem: Problem) -> tuple[Source, nn.Module, Sequence[str]]:
        """A copy of the source with the probe's head, or fresh weights where the source has learned nothing."""
        source, task = problem.source, problem.task
        assert source is not None
        if (given := problem.options.get("head")) is not None:
            return source.clone(), copy.deepcopy(given), (task.needs,)
        if source.pretrained:
            return source.clone(), probed(problem), (task.needs,)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(problem.seed + 1)
            head = task.head(source.card.width)
        fresh = source.untrained(problem.seed)
        fresh.card = replace(fresh.card, name=source.card.name)  # which will not be untrained any more
        return fresh, head, (task.needs,)

    def groups(self, source: Source, head: nn.Module) -> list[Group]:
        """Rates of a pretrained source fall from the output to the input; a fresh one has the same everywhere."""
        layers, top = source.layers(), self.rate(source)
        decay, factor = (self.layer_decay, self.head_rate) if source.pretrained else (1.0, 1.0)
        found = [
            Group(layer.name, list(layer.module.parameters()), top * decay ** (len(layers) - 1 - at), self.weight_decay)
            for at, layer in enumerate(layers)
        ]
        return [*found, Group("head", list(head.parameters()), top * factor, self.weight_decay)]

    def rate(self, source: Source) -> float:
        """The highest learning rate."""
        return self.learning_rate or (RATE if source.pretrained else RATE_FROM_NOTHING)

    def fit(self, problem: Problem) -> NetworkFitted:
        """Train; the number of passes and the rate are settled first."""
        source = problem.source
        if source is None or problem.domain is None:
            self.admit(problem.task, source, problem.train, problem.given)
        assert source is not None
        settled = replace(self, learning_rate=self.rate(source))
        if not self.epochs:
            steps = STEPS if source.pretrained else STEPS_FROM_NOTHING
            per_epoch = math.ceil(len(problem.train) / self.batch_size)
            settled = replace(settled, epochs=max(3, math.ceil(steps / per_epoch)))
        settled = replace(settled, patience=settled.epochs)  # the schedule is run to its end
        fitted = super(DeepAdaptation, settled).fit(problem.replace(valid=None))
        fitted.method = self
        return fitted

    def rows(self, problem: Problem, source: Source) -> Rows:
        """Labelled rows, each batch with rows of the target domain beside it."""
        if not self.looks:
            return super().rows(problem, source)
        assert problem.domain is not None
        return RowsBeside(problem, source, self.beside, self.reads_plain)

    def judge(self, problem: Problem, source: Source) -> Callable[[nn.Module, bool], float] | None:
        """None, so that the last weights are kept, or what the predictions for target rows tell, in nats."""
        if self.checkpoint == "last" or problem.domain is None:
            return None
        rows = problem.domain.without("target")
        order = np.random.default_rng(problem.seed).permutation(len(rows))[:LOOKED_AT]
        samples = rows.samples(np.sort(order).tolist())

        def told(network: nn.Module, bf16: bool) -> float:
            where, outputs = next(network.parameters()).device, []
            with torch.no_grad(), torch.autocast(where.type, torch.bfloat16, enabled=bf16):
                for start in range(0, len(samples), 64):
                    batch = source.preprocess(samples[start : start + 64])
                    outputs.append(network(batch.to(where)).float().cpu())
            return float(information(torch.cat(outputs)))

        return told

    def companion(self, problem: Problem, head: nn.Module) -> Bridge:
        """What trains besides the network."""
        total = self.epochs * math.ceil(len(problem.train) / self.batch_size) * self.accumulate
        width = next(head.parameters()).shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(problem.seed + 2)
            parts = self.parts(int(width), problem.task)
        assert problem.source is not None
        return Bridge(total, self.rate(problem.source), self.weight_decay, **parts)

    def ablation(self) -> Method | None:
        """The network of the labelled rows alone, in the same passes at the same rates."""
        from headstart.methods.sourcetuned import Sourcetuned

        shared = {name: value for name, value in self.hyperparameters().items() if name in SHARED}
        return None if isinstance(self, Sourcetuned) else Sourcetuned(**shared)

    # --- the loss ------------------------------------------------------------------------------------------------

    def parts(self, width: int, task: Task) -> dict[str, nn.Module]:
        """Modules that train along: a discriminator, a second head. width: D of the features."""
        return {}

    @abstractmethod
    def between(self, sides: Sides, parts: dict[str, Any], ramp: float) -> torch.Tensor:
        """The loss between the domains, in fp32. ramp: 0 to 1, how far the training is. See `Sides`, `parts`."""

    def loss(self, network: Network, batch: Batch, target: torch.Tensor, problem: Problem) -> dict[str, torch.Tensor]:
        """The task's loss on labelled rows plus the weighted one between the domains (``between``)."""
        bridge = network.companion
        ours = network.features(batch)
        out = network.head(ours).float()
        weight = () if batch.weight is None else (batch.weight,)
        fit = problem.task.loss(out, target, *weight)["loss"]
        if not self.looks or not isinstance(bridge, Bridge) or not batch.beside:
            return {"loss": fit}
        plain = None
        if self.reads_plain:
            with torch.no_grad():
                plain = network(batch.beside[1]).float()
        theirs = network.features(batch.beside[0])
        sides = Sides(ours.float(), theirs.float(), out, network.head(theirs).float(), target, plain)
        with torch.autocast(ours.device.type, enabled=False):
            between = self.between(sides, dict(bridge.parts.items()), bridge.ramp())
            if self.ramped:
                between = between * bridge.ramp()
        if network.training:
            bridge.step += 1
        return {"loss": fit + self.trade_off * between, "between": between}


SHARED = (
    "epochs", "batch_size", "accumulate", "learning_rate", "weight_decay", "warmup", "clip", "patience", "ema",
    "layer_decay", "head_rate", "checkpoint",
)  # fmt: skip
"""What a method and the network of the labelled rows alone have in common."""


class RowsBeside(Rows):
    """Labelled rows, with rows of the target domain beside each batch; these are drawn from torch's generator."""

    def __init__(self, problem: Problem, source: Source, share: float, plain: bool) -> None:
        super().__init__(problem.train, problem.task, source)
        self.domain = cast(Dataset, problem.domain).without("target")
        self.share, self.plain = share, plain

    def batch(self, rows: Any, train: bool) -> tuple[Batch, torch.Tensor]:
        """As `Rows.batch`; while training the batch has target rows beside it, augmented, then as they are."""
        batch, target = super().batch(rows, train)
        if train:
            count = min(len(self.domain), max(2, round(self.share * len(rows))))
            drawn = torch.randperm(len(self.domain))[:count].tolist()
            samples = self.domain.samples(drawn)
            batch.beside = [self.source.preprocess(samples, True)]
            if self.plain:
                batch.beside.append(self.source.preprocess(samples))
        return batch, target
