"""A source as a function from tensors to tensors, for the backends that compile a graph.

A graph is made for one set of named inputs and outputs; all their axes may change from batch to batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from headstart.backends.base import Rows, cuts_of, seen
from headstart.backends.torch import freeze
from headstart.sources.base import Source
from headstart.types import Batch


class Traceable(nn.Module):
    """inputs: names of the tensors, in order. Returns the outputs in order; ``tokens`` gives two: values and mask."""

    def __init__(self, source: Source, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self.network = source.network
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self._source = [source]  # in a list: its network is registered once

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The named outputs."""
        features = self._source[0].features(Batch(dict(zip(self.inputs, tensors))), cuts_of(self.outputs))
        found: list[torch.Tensor] = []
        for output in self.outputs:
            if output == "tokens":
                assert features.tokens is not None and features.mask is not None
                found += [features.tokens, features.mask]
            else:
                found.append(features.pooled if output == "pooled" else features.cuts[output])
        return tuple(found)


def named(arrays: Sequence[np.ndarray], outputs: Sequence[str]) -> dict[str, Rows]:
    """What a graph returned, by output, one array a row."""
    values = iter(arrays)
    found: dict[str, Rows] = {}
    for output in outputs:
        first = np.asarray(next(values))
        found[output] = seen(first, np.asarray(next(values))) if output == "tokens" else list(first)
    return found


class Graphs:
    """Compiled graphs of one source, one for each set of input names, made when a batch first needs it.

    make: (traceable module, example tensors) -> whatever runs. recall: (input names, example tensors) -> the same as an
    earlier process made it, or None; without one the network is not even copied.
    """

    def __init__(
        self,
        source: Source,
        outputs: Sequence[str],
        make: Callable[[Traceable, tuple[torch.Tensor, ...]], Any],
        recall: Callable[[tuple[str, ...], tuple[torch.Tensor, ...]], Any] = lambda names, example: None,
    ) -> None:
        self._source, self._outputs = source, outputs
        self._make, self._recall = make, recall
        self._made: dict[tuple[str, ...], Any] = {}

    def of(self, batch: Batch) -> Any:
        """The graph for batches with these inputs."""
        names = tuple(batch.inputs)
        if names not in self._made:
            example = tuple(tensor[:2] for tensor in batch.inputs.values())  # tracing runs the network once
            found = self._recall(names, example)
            if found is None:
                with silence(), torch.no_grad():
                    found = self._make(Traceable(self._frozen, names, self._outputs).eval(), example)
            self._made[names] = found
        return self._made[names]

    @cached_property
    def _frozen(self) -> Source:
        return freeze(self._source, torch.device("cpu"), "fp32", fused=False)


@contextmanager
def silence() -> Iterator[None]:
    """Without the remarks of tracers and exporters; parity with fp32 is measured, not believed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
