"""SHOT: a fitted model goes on to another domain without a single row of the one that it was fitted on.

Liang, Hu & Feng 2020, Do We Really Need to Access the Source Data?, arXiv:2002.08546. The head stays as it is: it holds
what the classes were. The backbone learns to put the target rows where that head is sure of them,

    loss = mean entropy(p_i) - entropy(mean p_i) + w * cross-entropy(p_i, own label of i)

sure of each row, of many classes in all (equation 3), and in agreement with labels of its own, which are those of the
nearest class centre of all target rows, found anew before every epoch (equations 4 to 7; w is 0.3 there). Since no
labelled row exists there is no validation part: the rate falls to zero and the last weights are kept.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from headstart.datasets.base import Dataset
from headstart.engine import Group, training_mode
from headstart.errors import MethodError
from headstart.methods.base import Fitted, Method, Need, Problem, hyper
from headstart.methods.kept import Kept
from headstart.methods.network import Companion, GradientMethod, Network, NetworkFitted, Rows
from headstart.nn.centroids import centroid_labels
from headstart.nn.confusion import information
from headstart.types import Batch

if TYPE_CHECKING:
    from headstart.sources.base import Source


@dataclass(frozen=True)
class Shot(GradientMethod):
    """A fitted model goes on to another domain without a row of its own."""

    name: ClassVar[str] = "shot"
    kind: ClassVar[Any] = "transductive"
    needs: ClassVar[tuple[Need, ...]] = ("model", "network", "domain")
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    paper: ClassVar[str] = "Liang, Hu & Feng 2020, arXiv:2002.08546"

    epochs: int = hyper(15, "passes over the target rows", low=1, high=1000)
    batch_size: int = hyper(64, "rows a step sees", low=2, high=4096)
    learning_rate: float = hyper(3e-4, "highest learning rate of the last layer", low=1e-8, high=1.0)
    layer_decay: float = hyper(
        0.9, "factor on the rate for each layer towards the input", low=0.0, high=1.0, paper="arXiv:1801.06146"
    )
    own_labels: float = hyper(0.3, "weight of the labels of its own (w)", low=0.0, high=1000.0)

    def prepare(self, problem: Problem) -> tuple[Source, nn.Module, Sequence[str]]:
        """A copy of the model's backbone and head."""
        model = cast(NetworkFitted, problem.model)
        return model.source.clone(), copy.deepcopy(model.head), model.outputs_used

    def groups(self, source: Source, head: nn.Module) -> list[Group]:
        """Rates fall from the output to the input; the head has none."""
        layers = source.layers()
        return [
            Group(layer.name, list(layer.module.parameters()), rate, self.weight_decay)
            for at, layer in enumerate(layers)
            if (rate := self.learning_rate * self.layer_decay ** (len(layers) - 1 - at)) > 0
        ]

    def fit(self, problem: Problem) -> NetworkFitted:
        """Train on the target rows. Raises MethodError HS-METHOD-003 for a model that cannot, or under two rows."""
        trainable(self, problem.model)
        assert isinstance(problem.model, NetworkFitted)
        if problem.domain is None or len(problem.domain) < 2:
            raise MethodError("HS-METHOD-003", "shot needs two target rows or more.", "Give more of them.")
        rows = problem.domain.without("target")
        size = next((size for size in range(self.batch_size, 2, -1) if len(rows) % size != 1), 2)
        settled = replace(self, batch_size=size)  # no step on a single row, of which a batch norm has no variance
        fitted = super(Shot, settled).fit(
            problem.replace(train=rows, valid=None, domain=rows, source=problem.model.source)
        )
        fitted.method = self
        return fitted

    def rows(self, problem: Problem, source: Source) -> Rows:
        """The target rows, known by their numbers."""
        return Numbered(problem.train, source)

    def companion(self, problem: Problem, head: nn.Module) -> OwnLabels:
        """The labels of its own."""
        return OwnLabels(len(problem.train))

    def loss(self, network: Network, batch: Batch, target: torch.Tensor, problem: Problem) -> dict[str, torch.Tensor]:
        """Equation 7 on rows whose numbers are ``target`` [B]."""
        own = cast(OwnLabels, network.companion)
        if own.due:
            own.find(network, Numbered(problem.train, cast(NetworkFitted, problem.model).source))
        out = network(batch).float()
        own.seen += len(target)
        agree = cross_entropy(out, own.labels[target])
        return {"loss": self.own_labels * agree - information(out), "agreement": agree}

    def ablation(self) -> Method:
        """The model as it is."""
        return Kept()


def trainable(method: Method, model: Fitted | None) -> None:
    """Raise MethodError HS-METHOD-003 that says what a model lacks to be trained on by this method."""
    refit = "Fit one that has, such as `headstart fit PATH --method probe`, and give its run."
    if model is None:
        raise MethodError("HS-METHOD-003", f"{method.name} needs a fitted model.", refit)
    if not isinstance(model, NetworkFitted) or not any(True for _ in model.source.network.parameters()):
        raise MethodError(
            "HS-METHOD-003",
            f"{method.name} needs a network to train; the model of {model.method.name} has none.",
            refit,
        )
    if method.tasks and model.task.name not in method.tasks:
        raise MethodError(
            "HS-METHOD-003", f"{method.name} cannot do {model.task.name}; it does {', '.join(method.tasks)}.",
            "Give the run of such a task.",
        )  # fmt: skip


class OwnLabels(Companion):
    """The labels [N] that the rows have for an epoch, and how many rows went by. In the checkpoint as buffers."""

    labels: torch.Tensor
    seen: torch.Tensor

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.register_buffer("labels", torch.zeros(rows, dtype=torch.int64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    @property
    def due(self) -> bool:
        """Whether an epoch begins: each has every row once."""
        return int(self.seen) % len(self.labels) == 0

    def find(self, network: Network, rows: Numbered) -> None:
        """Label all rows by the network as it is now; afterwards it trains on."""
        features, chances = [], []
        network.eval()
        with torch.no_grad():
            for part in np.array_split(np.arange(len(rows.costs)), max(1, len(rows.costs) // 64)):
                batch, _ = rows.batch(part, False)
                found = network.features(batch.to(self.labels.device)).float()
                features.append(found)
                chances.append(torch.softmax(network.head(found).float(), dim=1))
            self.labels.copy_(centroid_labels(torch.cat(features), torch.cat(chances)))
        training_mode(network)


class Numbered(Rows):
    """Rows without labels; the target of each is its number."""

    def __init__(self, dataset: Dataset, source: Source) -> None:
        self.dataset, self.source, self.weights = dataset, source, None
        self.costs = np.array([source.cost(sample) for sample in dataset.samples()], dtype=np.int64)

    def batch(self, rows: np.ndarray, train: bool) -> tuple[Batch, torch.Tensor]:
        """The rows as a batch, and their numbers [B]."""
        return self.source.preprocess(self.dataset.samples(rows.tolist()), train), torch.from_numpy(rows.copy())
