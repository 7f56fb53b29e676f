"""How far training moved a network: in its weights, and in what it makes of the same rows.

For each layer, from its weights w_0 before and w after, and from its pooled outputs F_0 before and F after [N,D]:

    change = ||w - w_0|| / ||w_0||          drift = 1 - CKA(F_0, F)

The two differ: a small change near the input can turn the features of every later layer, and a frozen layer drifts
where the layers before it move. CKA is the unbiased one of `headstart.nn.alignment`, so noise in many dimensions does
not pass for likeness. Kornblith et al. 2019, arXiv:1905.00414.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import torch
from torch import nn

from headstart.nn.alignment import linear_cka
from headstart.nn.spectrum import centred
from headstart.sources.base import Source
from headstart.types import LayerRow, Sample

Array: TypeAlias = np.ndarray

ROWS = 256
"""The most rows whose features are compared."""

BATCH = 32


class Origin:
    """A source and its head as they are before training; `moved` says afterwards how far each layer went.

    samples: at most `ROWS` inputs whose features are compared, or none to leave the drift out. where: the device that
    runs them. Of the weights only those that train are copied.
    """

    def __init__(self, source: Source, head: nn.Module, samples: Sequence[Sample], where: torch.device | str) -> None:
        self.source, self.samples, self.where = source, list(samples), where
        parts = [*((layer.name, layer.module) for layer in source.layers()), ("head", head)]
        self._sizes = {name: _norm(list(part.parameters())) for name, part in parts}
        self._moving = {name: [p for p in part.parameters() if p.requires_grad] for name, part in parts}
        self._weights = {name: [p.detach().cpu().clone() for p in own] for name, own in self._moving.items()}
        self._features = pooled(source, self.samples, where)

    def moved(self, rows: Sequence[LayerRow]) -> list[LayerRow]:
        """The table of what trained with change and drift filled in; the copies are dropped."""
        after = pooled(self.source, self.samples, self.where)
        drifts = {name: drift(self._features[name], after[name]) for name in after}
        changes = {name: self._change(name) for name in self._moving}
        self._weights, self._features = {}, {}
        return [replace(row, change=changes.get(row.layer), drift=drifts.get(row.layer)) for row in rows]

    def _change(self, name: str) -> float | None:
        if self._sizes[name] == 0:
            return None
        gone = [p.detach().cpu() - old for p, old in zip(self._moving[name], self._weights[name], strict=True)]
        return _norm(gone) / self._sizes[name]


def pooled(source: Source, samples: Sequence[Sample], where: torch.device | str) -> dict[str, Array]:
    """The pooled output [N,D_l] of every layer by its name, in evaluation mode; empty without samples."""
    if not samples:
        return {}
    names = [layer.name for layer in source.layers()]
    found: dict[str, list[Array | None]] = {name: [None] * len(samples) for name in names}
    home = next(source.network.parameters()).device
    network = source.network.to(where).eval()
    with torch.no_grad():
        for at, make in source.batches(samples, BATCH):
            cuts = source.features(make().to(where), names).cuts
            for name in names:
                for place, row in zip(at, cuts[name].float().cpu().numpy()):
                    found[name][place] = row
    network.to(home)
    return {name: np.stack([row for row in rows if row is not None]) for name, rows in found.items()}


def drift(before: Array, after: Array) -> float | None:
    """1 - CKA of features [N,D] before and after, in 0..1; None where it does not exist (few rows, no variance)."""
    if np.array_equal(before, after):
        return 0.0
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        return None
    likeness = linear_cka(centred(before), centred(after))
    return None if likeness is None else float(np.clip(1.0 - likeness, 0.0, 1.0))


def _norm(tensors: Sequence[torch.Tensor]) -> float:
    return float(sum(float(t.detach().double().square().sum()) for t in tensors) ** 0.5)
