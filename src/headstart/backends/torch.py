"""Plain torch: the network frozen, fused, channels-last and in bf16 where that helps.

On a CPU two ways of using the cores are tried: all of them on one batch, or one each on as many batches, which spares
the threads from waiting for each other after every small operation (MobileNetV2 on 2 cores: 357 -> 488 images a second
in bf16; MiniLM: 258 -> 298 texts).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from headstart.backends.base import Backend, Rows, Runner, Variant, cuts_of, rows
from headstart.nn.fuse import fuse_batchnorm
from headstart.sources.base import Source
from headstart.types import Batch


class Torch(Backend):
    """Eager torch; runs everything, and is what the others are measured against."""

    name: ClassVar[str] = "torch"

    def variants(self, source: Source, device: torch.device, precisions: Sequence[str], cores: int) -> list[Variant]:
        """Every precision, fused where there is a batch norm; on CPUs one stream a core first."""
        fused = fusible(source)
        streams = [cores, 1] if device.type == "cpu" and cores > 1 else [1]
        return [Variant(self.name, precision, n, fused) for precision in precisions for n in streams]

    def open(self, source: Source, device: torch.device, variant: Variant, outputs: Sequence[str]) -> Runner:
        """Each stream has modules of its own over the same weights, since cuts are read by hooks."""
        frozen = freeze(source, device, variant.precision, variant.fused)
        frozen.layers()
        cuts = cuts_of(outputs)

        def run(stream: Source, batch: Batch) -> dict[str, Rows]:
            with torch.inference_mode():
                return rows(stream.features(cast(batch.to(device), stream.network), cuts), outputs)

        slots = [frozen, *(shared(frozen) for _ in range(variant.streams - 1))]
        if variant.streams == 1:
            return Runner(slots, run)
        before = torch.get_num_threads()
        return Runner(slots, run, lambda: torch.set_num_threads(1), lambda: torch.set_num_threads(before))


def fusible(source: Source) -> bool:
    """Whether the network has a batch norm that may be folded away."""
    return any(isinstance(module, nn.BatchNorm2d) for module in source.network.modules())


def freeze(source: Source, where: torch.device, precision: str, fused: bool) -> Source:
    """A copy of the source for inference: fused, channels-last, bf16 as asked; its parameters take no gradients."""
    frozen = source.clone()
    network = frozen.network
    if fused:
        fuse_batchnorm(network, lambda: frozen.forward(frozen.example()))
    if any(isinstance(module, nn.Conv2d) for module in network.modules()):
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    frozen.network = network.eval().requires_grad_(False)
    layers = frozen.layers()  # found in fp32 on the CPU, where the example is
    frozen.network.to(where, torch.bfloat16 if precision == "bf16" else torch.float32)
    frozen._layers = layers
    return frozen


def shared(frozen: Source) -> Source:
    """The same frozen source with modules of its own around the same tensors."""
    tensors = [*frozen.network.parameters(), *frozen.network.buffers()]
    memo: dict[int, Any] = {id(tensor): tensor for tensor in tensors}
    network, layers = copy.deepcopy((frozen.network, frozen.layers()), memo)
    other = frozen.with_network(network)
    other._layers = layers
    return other


def cast(batch: Batch, network: nn.Module) -> Batch:
    """Floating inputs in the type of the network's weights, images channels-last."""
    kind = next((p.dtype for p in network.parameters()), torch.float32)
    inputs = {}
    for name, tensor in batch.inputs.items():
        if tensor.is_floating_point():
            tensor = tensor.to(kind)
        inputs[name] = tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
    return Batch(inputs)
