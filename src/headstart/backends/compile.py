"""torch.compile: the network compiled by Inductor. It takes long to start, so it is tried for long jobs alone.

On a GPU the mode is ``reduce-overhead``, which replays CUDA graphs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from headstart.backends.base import Backend, Rows, Runner, Variant, cuts_of, rows
from headstart.backends.torch import cast, freeze, fusible
from headstart.backends.trace import silence
from headstart.sources.base import Source
from headstart.types import Batch, Features


class Compile(Backend):
    """The eager network through torch.compile, with shapes left free."""

    name: ClassVar[str] = "compile"
    setup: ClassVar[float] = 40.0

    def gain(self, source: Source, native: bool) -> float:
        """Measured with AMX: 1.1 for MobileNetV2 in bf16."""
        return 1.1

    def variants(self, source: Source, device: torch.device, precisions: Sequence[str], cores: int) -> list[Variant]:
        """The first precision alone; on a CPU only where a C++ compiler is there."""
        import shutil

        if device.type == "cpu" and not any(shutil.which(name) for name in ("c++", "g++", "clang++", "cl")):
            return []
        return [Variant(self.name, precision, 1, fusible(source)) for precision in precisions[:1]]

    def open(self, source: Source, device: torch.device, variant: Variant, outputs: Sequence[str]) -> Runner:
        """One stream on all cores; cuts are read by hooks, which the compiler would break on, so they are refused."""
        cuts = cuts_of(outputs)
        if cuts:
            raise NotImplementedError("layers before the last are read from the eager network")
        frozen = freeze(source, device, variant.precision, variant.fused)
        mode = {"mode": "reduce-overhead"} if device.type == "cuda" else {}
        with silence():
            compiled = torch.compile(frozen.forward, dynamic=device.type == "cpu", **mode)  # type: ignore[call-overload]

        def run(stream: None, batch: Batch) -> dict[str, Rows]:
            with torch.inference_mode(), silence():
                features: Features = compiled(cast(batch.to(device), frozen.network))
                return rows(features, outputs)

        return Runner([None], run)
