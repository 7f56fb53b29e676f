"""The Source contract: a pretrained network with its preprocessing, its layers in order, and a card.

A source gives `Features` for a batch. Everything that needs to know where a network begins and ends (freezing,
layer-wise learning rates, which depth to probe) derives from `layers()`, which finds the order by the structure of
the module tree and by running one batch through it; no per-model table exists.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from headstart.errors import SourceError
from headstart.types import Batch, Features, Json, Modality, Sample


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


@dataclass(frozen=True)
class Layer:
    """One step from input to output: its dotted name in ``network`` and its module."""

    name: str
    module: nn.Module

    @property
    def parameters(self) -> int:
        """Number of parameters in the layer."""
        return sum(p.numel() for p in self.module.parameters())


class Source(ABC):
    """A pretrained model. Subclasses are final; one provider a file.

    network: the backbone without its classifier, in eval mode, fp32. Subclasses supply `preprocess`, `forward`,
    `example`, `fresh_network`, `save` and the classmethod `load`.
    """

    provider: ClassVar[str]

    def __init__(self, card: Card, network: nn.Module) -> None:
        self.card = card
        self.network = network.eval()
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
        """Write ``source.json``, ``model.safetensors`` and what preprocessing needs; `load` reads it offline."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Source:
        """The source that `save` wrote. Raises SourceError HS-SOURCE-004 unless every tensor matches."""

    def settings(self) -> Json:
        """Everything besides the weights that determines the features (preprocessing, pooling), as JSON."""
        return {}

    def cost(self, sample: Sample) -> int:
        """A rough relative cost of one sample, by which batches are bucketed (text: characters). Default 1."""
        return 1

    def features(self, batch: Batch, cuts: Sequence[str] = ()) -> Features:
        """`forward` plus the pooled output [B,D_l] of each layer named in ``cuts``.

        Raises SourceError HS-SOURCE-007 for an unknown layer name.
        """
        if not cuts:
            return self.forward(batch)
        modules = {layer.name: layer.module for layer in self.layers()}
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
        """The layers from input to output. Together they hold every parameter of ``network`` that a pass uses."""
        if self._layers is None:
            with torch.no_grad():
                self._layers = ordered_layers(self.network, lambda: self.forward(self.example()))
        return self._layers

    def untrained(self, seed: int) -> Source:
        """The same network with fresh weights: the ``scratch`` control. Deterministic in ``seed``."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self.fresh_network()
        return self.with_network(network)

    def clone(self) -> Source:
        """A copy whose weights can be changed without touching this one."""
        return self.with_network(copy.deepcopy(self.network))

    def with_network(self, network: nn.Module) -> Source:
        """The same preprocessing around another network of the same structure."""
        other = copy.copy(self)
        other.network = network.eval()
        other._layers = None
        return other


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


def ordered_layers(network: nn.Module, run: Any) -> list[Layer]:
    """Cut a network into layers by structure, and put them in the order in which a pass reaches them.

    A module is opened while one of its children holds most of the parameters or it is a plain sequence of blocks;
    what is not opened is a layer. ``run()`` performs one pass; modules it never reaches, and modules without
    parameters, are left out.
    """
    units = [(name, module) for name, module in _open("", network) if any(True for _ in module.parameters())]
    order: dict[str, int] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: Any) -> None:
            order.setdefault(name, len(order))

        return hook

    hooks = [module.register_forward_pre_hook(note(name)) for name, module in units]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    reached = [(name, module) for name, module in units if name in order]
    return [Layer(name, module) for name, module in sorted(reached, key=lambda unit: order[unit[0]])]


def _open(prefix: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The units of a module: descend through containers and through a module that one child dominates."""
    children = list(module.named_children())
    own = sum(p.numel() for p in module.parameters(recurse=False))
    total = sum(p.numel() for p in module.parameters())
    sequence = isinstance(module, nn.Sequential | nn.ModuleList) and len(children) > 1
    largest = max((sum(p.numel() for p in child.parameters()) for _, child in children), default=0)
    root = prefix == ""
    wraps = own == 0 and len(children) > 0 and (largest > 0.5 * total or root)
    holds = any(isinstance(child, nn.Sequential | nn.ModuleList) and len(child) > 1 for _, child in children)
    if children and (root or sequence or (wraps and (holds or len(children) == 1))):
        units = []
        for name, child in children:
            units += _open(f"{prefix}.{name}" if prefix else name, child)
        return units
    return [(prefix, module)]


def _keep(outputs: dict[str, torch.Tensor], name: str) -> Any:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        outputs[name] = output[0] if isinstance(output, tuple | list) else output

    return hook
