"""The Backend contract: a way to run a frozen network, and the runner that it opens.

A backend is asked only where its packages are installed and the source allows it. It names its variants (precision,
streams); each opens a `Runner`, which turns a batch into named outputs and may be called from several threads at once.
"""

from __future__ import annotations

import queue
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch

from headstart.sources.base import Source
from headstart.types import Batch, Features, Json

Rows: TypeAlias = list[np.ndarray]
"""One output of a batch, float32: B arrays [D], or for ``tokens`` B arrays [T_i,D] of the words that were seen."""


@dataclass(frozen=True)
class Variant:
    """One way to run: precision ``fp32`` or ``bf16``; fused: batch norm folded into convolutions.

    streams: batches that run at once, each on its share of the cores; 1 = one batch on all of them.
    """

    backend: str
    precision: str
    streams: int = 1
    fused: bool = False

    def to_json(self) -> Json:
        """The variant as plain JSON values."""
        return dict(vars(self))

    def __str__(self) -> str:
        fused = ", fused" if self.fused else ""
        return f"{self.backend} {self.precision}{fused}" + (f", {self.streams} streams" if self.streams > 1 else "")


class Runner:
    """A frozen network, ready. slots: one state a stream; run: (state, batch) -> the outputs by name.

    enter: called once in every thread that will run batches. leave: called when they are done.
    """

    def __init__(
        self,
        slots: Sequence[Any],
        run: Callable[[Any, Batch], dict[str, Rows]],
        enter: Callable[[], None] = lambda: None,
        leave: Callable[[], None] = lambda: None,
    ) -> None:
        self.streams = len(slots)
        self.enter, self.leave = enter, leave
        self._run = run
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for slot in slots:
            self._free.put(slot)

    def __call__(self, batch: Batch) -> dict[str, Rows]:
        """The outputs of a batch; waits for a free stream."""
        slot = self._free.get()
        try:
            return self._run(slot, batch)
        finally:
            self._free.put(slot)


@dataclass(frozen=True)
class Backend(ABC):
    """One way to run frozen networks.

    requires: packages it needs. extra: the extra of this project that installs them. setup: seconds it takes to open a
    source; with `gain` the search estimates from it whether trying the backend can pay.
    """

    name: ClassVar[str]
    requires: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""
    setup: ClassVar[float] = 0.0

    def gain(self, source: Source, native: bool) -> float:
        """How many times faster than the best of plain torch it is hoped to be. native: bf16 is, so torch uses it."""
        return 1.0

    @abstractmethod
    def variants(self, source: Source, device: torch.device, precisions: Sequence[str], cores: int) -> list[Variant]:
        """What is worth trying for this source, best hope first; empty where the backend cannot run it."""

    @abstractmethod
    def open(self, source: Source, device: torch.device, variant: Variant, outputs: Sequence[str]) -> Runner:
        """A runner for these outputs (``pooled``, ``tokens``, layer names).

        Raises RuntimeError, NotImplementedError, TypeError or ValueError where the network cannot be run this way.
        """


def is_convolutional(source: Source) -> bool:
    """Whether the network convolves images."""
    return any(isinstance(module, torch.nn.Conv2d) for module in source.network.modules())


def rows(features: Features, outputs: Sequence[str]) -> dict[str, Rows]:
    """The named outputs of a batch as float32 arrays, one a row."""
    found: dict[str, Rows] = {}
    for output in outputs:
        if output == "tokens":
            assert features.tokens is not None and features.mask is not None, "the source gives no word features"
            found[output] = seen(features.tokens.float().cpu().numpy(), features.mask.cpu().numpy())
        else:
            tensor = features.pooled if output == "pooled" else features.cuts[output]
            found[output] = list(tensor.float().cpu().numpy())
    return found


def seen(tokens: np.ndarray, mask: np.ndarray) -> Rows:
    """tokens [B,T,D] and mask [B,T] to B arrays [T_i,D]."""
    return [row[valid] for row, valid in zip(tokens, mask.astype(bool))]


def cuts_of(outputs: Sequence[str]) -> list[str]:
    """The layers among the outputs."""
    return [output for output in outputs if output not in ("pooled", "tokens")]
