"""The Source contract: a pretrained network with its preprocessing, its layers in order, and a card.

A source gives `Features` for a batch. Everything that needs to know where a network begins and ends (freezing,
layer-wise learning rates, which depth to probe) derives from `layers()`, which finds the order by the structure of
the module tree and by running one batch through it; no per-model table exists.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import nn

from headstart.errors import SourceError, UsageError
from headstart.sources import weights
from headstart.sources.layers import Layer, is_channels_last, located, ordered_layers
from headstart.types import Batch, Features, Json, Modality, Sample

if TYPE_CHECKING:
    from headstart.datasets.base import Dataset
    from headstart.tasks.base import Task


@dataclass(frozen=True)
class Card:
    """Where a source comes from. width: D of ``Features.pooled``. digest: sha256 of the weights (hex)."""

    name: str
    modality: Modality
    architecture: str
    width: int
    parameters: int
    origin: str
    licence: str
    digest: str
    description: str = ""

    def to_json(self) -> Json:
        """The card as plain JSON values."""
        return asdict(self)


class Seen(NamedTuple):
    """rows: bool [N], which rows the source has learned from. hashes: uint64 [N] of what was compared of each row.
    among: of how many rows it has learned. repeated: the share of those that are equal to another of them."""

    rows: np.ndarray
    hashes: np.ndarray
    among: int
    repeated: float


class Context(NamedTuple):
    """Labelled rows that a source reads. X: [n,D] (`TableFeatures.codes`). y: encoded targets. categorical: columns of
    X that hold categories."""

    task: Task
    X: np.ndarray
    y: np.ndarray
    categorical: Sequence[int]


class Source(ABC):
    """A pretrained model. Subclasses are final; one provider a file.

    card.digest belongs to the weights as they were loaded; whoever changes the weights asks `digest` again.
    network: the backbone without its classifier, in eval mode, fp32. classifier: the one it was pretrained with, from
    ``Features.pooled`` to the logits of its own Z classes, [Z,D], where it has one. classes: the names of those Z
    classes, or empty where they are unknown. pretrained: whether its weights have learned anything. depths: whether
    the best layer differs so much from task to task that a probe ranks all of them (of sounds). besides: outputs of
    `features` that are no layers, which a probe may read beside the last one where that is better. exact: whether
    half precision spoils its output, so that it runs in torch and fp32 alone. in_context: tasks that it does by
    reading labelled rows (`with_context`). notes: what settling found, for the user.
    Subclasses supply `preprocess`, `forward`, `example`, `fresh_network`, `save` and the classmethod `load`.
    """

    provider: ClassVar[str]
    depths: ClassVar[bool] = False
    exact: ClassVar[bool] = False
    besides: tuple[str, ...] = ()
    pretrained: bool = True
    in_context: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __init__(self, card: Card, network: nn.Module) -> None:
        self.card = card
        self.network = network.eval()
        self.classifier: nn.Linear | None = None
        self.classes: tuple[str, ...] = ()
        self._layers: list[Layer] | None = None

    @abstractmethod
    def preprocess(self, samples: Sequence[Sample], train: bool = False) -> Batch:
        """Samples to tensors (tokenise, decode, resize, normalise). ``train`` allows random augmentation.

        Raises DataError HS-DATA-013 for a sample that cannot be decoded.
        """

    @abstractmethod
    def forward(self, batch: Batch) -> Features:
        """One forward pass through ``network``; keeps gradients where they are enabled."""

    @abstractmethod
    def example(self) -> Batch:
        """A small batch of valid input (for tracing the layers and checking backends)."""

    @abstractmethod
    def fresh_network(self) -> nn.Module:
        """The same architecture with newly drawn weights (from the global torch generator)."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write ``source.json``, ``model.safetensors`` and what preprocessing needs; `load` reads it offline.

        A classifier goes into ``classifier.safetensors`` beside them.
        """

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Source:
        """The source that `save` wrote. Raises SourceError HS-SOURCE-004 unless every tensor matches."""

    def settled(self, dataset: Dataset, align: Mapping[str, str] | None = None) -> Source:
        """This source for the inputs of these rows, where its features depend on what they are made of (which columns,
        how many channels). Most do not and give themselves.

        align: what the source calls a column -> what the rows call it. Raises UsageError HS-USAGE-001 where the source
        does not know columns by name.
        """
        self.refuse_names(align)
        return self

    def refuse_names(self, align: Mapping[str, str] | None) -> None:
        """Raise UsageError HS-USAGE-001 where columns are aligned for a source that does not know them by name."""
        if align:
            raise UsageError(
                "HS-USAGE-001", f"{self.card.name} does not know columns by name; --align says nothing to it.",
                "Leave --align out, or name a source that `headstart pretrain TABLE --target y` made.",
            )  # fmt: skip

    def rows(self) -> Mapping[str, Sequence[Any]] | None:
        """The labelled rows that it learned from, column by column, under the names of those it is settled for; None
        where it keeps none. The target column comes last.
        """
        return None

    def with_context(
        self, context: Context, members: int, seed: int, device: str
    ) -> Callable[[np.ndarray], np.ndarray]:
        """A model that reads labelled rows as its context: of new rows [m,D] it gives the task's outputs [m,C].

        members: views of the rows whose mean predicts. Sources without `in_context` have none.
        """
        raise NotImplementedError

    def seen(self, dataset: Dataset) -> Seen | None:
        """Which of these rows it has learned from, by their inputs; None where that cannot be told."""
        return None

    def settings(self) -> Json:
        """Everything besides the weights that determines the features (preprocessing, pooling), as JSON."""
        return {}

    def cost(self, sample: Sample) -> int:
        """A rough relative cost of one sample, by which batches are bucketed (text: characters). Default 1."""
        return 1

    def batches(self, samples: Sequence[Sample], size: int) -> list[tuple[np.ndarray, Callable[[], Batch]]]:
        """The samples cut into batches of like cost, the longest first: positions [b], and what makes the batch.

        size: samples in a batch of typical ones; fewer long and more short ones share a batch.
        """
        costs = np.array([self.cost(sample) for sample in samples])
        return [(rows, partial(self.preprocess, [samples[i] for i in rows])) for rows in by_cost(costs, size)]

    def features(self, batch: Batch, cuts: Sequence[str] = ()) -> Features:
        """`forward` plus the pooled output [B,D_l] of each layer named in ``cuts``.

        Raises SourceError HS-SOURCE-007 for an unknown layer name.
        """
        if not cuts:
            return self.forward(batch)
        modules = {layer.name: layer.last for layer in self.layers()}
        outputs: dict[str, torch.Tensor] = {}
        hooks = []
        for cut in cuts:
            if cut not in modules:
                raise SourceError(
                    "HS-SOURCE-007", f'{self.card.name} has no layer "{cut}".', f"Layers: {list(modules)}"
                )
            hooks.append(modules[cut].register_forward_hook(_keep(outputs, cut)))
        try:
            features = self.forward(batch)
        finally:
            for hook in hooks:
                hook.remove()
        features.cuts = {cut: self.pool_cut(outputs[cut], batch) for cut in cuts}
        return features

    def pool_cut(self, output: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The output of an earlier layer as [B,D_l]; see `pool`."""
        return pool(output, batch.inputs.get("attention_mask"))

    def layers(self) -> list[Layer]:
        """The layers from input to output; every parameter of ``network`` that a pass uses is in exactly one."""
        if self._layers is None:
            with torch.no_grad():
                self._layers = ordered_layers(self.network, lambda: self.forward(self.example()))
        return self._layers

    def untrained(self, seed: int) -> Source:
        """The same network with fresh weights: the ``scratch`` control. Deterministic in ``seed``."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self.fresh_network()
        other = self.with_network(network)
        digest = weights.digest(weights.state(network))  # so that no cache takes its features for the source's
        other.card = replace(self.card, name=f"{self.card.name} (untrained, seed {seed})", digest=digest)
        other.pretrained = False
        return other

    def digest(self) -> str:
        """The sha256 (hex) of the weights as they are now."""
        return weights.digest(weights.state(self.network))

    def clone(self) -> Source:
        """A copy whose weights can be changed without touching this one."""
        return self.with_network(copy.deepcopy(self.network))

    def with_network(self, network: nn.Module) -> Source:
        """The same preprocessing around another network of the same structure; without the classifier of this one."""
        other = copy.copy(self)
        other.classifier, other.classes = None, ()
        other.network = network.eval()
        other._layers = None
        return other

    def rewired(self, rewire: Callable[[nn.Module], object]) -> Source:
        """A copy in whose network ``rewire`` exchanged modules in place; its layers are those of this one, by name."""
        other = self.clone()
        rewire(other.network)
        other.keep_layers(self)
        return other

    def keep_layers(self, other: Source) -> None:
        """Take over the layers of a source with the same names of modules, instead of finding them by structure."""
        self._layers = [located(self.network, layer.name, layer.parts) for layer in other.layers()]


def by_cost(costs: np.ndarray, size: int) -> list[np.ndarray]:
    """Positions [b] of each batch, dearest first. costs: [N] (characters, tokens; equal ones give batches of ``size``).

    A batch holds as many as cost together, padded to its dearest, what ``size`` typical samples do; at most 4 ``size``.
    """
    order = np.argsort(-costs, kind="stable")
    budget = size * max(float(costs.mean()), 1.0) if len(costs) else 0.0
    found, start = [], 0
    while start < len(order):
        fit = int(budget / max(float(costs[order[start]]), 1e-9) + 1e-6)
        found.append(order[start : start + min(max(fit, 1), 4 * size)])
        start += len(found[-1])
    return found


def pool(output: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """[B,C,H,W] -> mean over H W; [B,T,D] -> mean over valid T (``mask`` [B,T]); [B,D] stays. Returns [B,D]."""
    if output.ndim == 4:
        return output.mean(dim=(2, 3))
    if output.ndim == 3:
        if mask is None or mask.shape[1] != output.shape[1]:
            return output.mean(dim=1)
        weight = mask.to(output.dtype).unsqueeze(-1)  # [B,T,1]
        return (output * weight).sum(1) / weight.sum(1).clamp(min=1)
    return output


def _keep(outputs: dict[str, torch.Tensor], name: str) -> Any:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        if hasattr(output, "last_hidden_state"):
            output = output.last_hidden_state
        output = output[0] if isinstance(output, tuple | list) else output
        outputs[name] = output.permute(0, 3, 1, 2) if is_channels_last(module, output) else output

    return hook
