"""two_tower: a network that knows items by what is said of them (`headstart.nn.two_tower`), trained on others.

``headstart pretrain INTERACTIONS --items TABLE --objective two_tower`` makes it. A text source, frozen, turns what is
known of each item into a vector; everything that is learned goes through these, so that items of another catalogue,
and new ones, are known as soon as their texts are read. On a target items get terms of their own besides.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from headstart.nn.two_tower import TwoTower
from headstart.sources.history_network import HistoryNetwork
from headstart.types import Json

Array = np.ndarray
BY_ITEM = ("items.vectors", "items.own", "bias")
"""Tensors of the network that have a row for each item."""


class TwoTowers(HistoryNetwork):
    """Towers for items and users. sizes: of `TwoTower`; ``text_source``: what makes the vectors; ``own``:
    whether items have terms of their own; ``length``: items of a history that are read.
    """

    provider = "two_tower"
    architecture: ClassVar[str] = "two towers"
    defaults: ClassVar[Json] = {
        "text_source": "minilm", "told": 384, "width": 64, "dropout": 0.5, "own": False, "length": 100,
    }  # fmt: skip
    by_item: ClassVar[str] = "items.vectors"
    _others: dict[str, Array] | None = None

    @staticmethod
    def built(count: int, sizes: Json) -> TwoTower:
        """See `HistoryNetwork.built`."""
        return TwoTower(count, sizes["told"], sizes["width"], sizes["dropout"], sizes["own"])

    @classmethod
    def of_texts(cls, ids: Sequence[str], vectors: Array, name: str, text_source: str, seed: int) -> TwoTowers:
        """Towers that have learned nothing, for items of these vectors [I,V] by this text source."""
        made = cls.fresh(ids, name, seed, text_source=text_source, told=vectors.shape[1])
        _fill(made.network, vectors)
        made.card = replace(made.card, digest=made.digest())
        return made

    def read(self, ids: Sequence[str], vectors: Array) -> TwoTowers:
        """With vectors [J,V] of the items of a target, which count in place of its own."""
        made = copy.copy(self)
        made._others = dict(zip(ids, vectors))
        return made

    def vectors(self, ids: Sequence[str]) -> Array:
        """The vectors [K,V] of these items, zero where nothing is known."""
        table, known = self.network.get_buffer("items.vectors").numpy(), self._others
        if known is None:
            known = {item: table[row] for item, row in self._place.items()}
        nothing = np.zeros(table.shape[1], np.float32)
        return np.stack([known.get(item, nothing) for item in ids])

    def fresh_network(self) -> nn.Module:
        """See `Source.fresh_network`; what is said of the items stays."""
        network = super().fresh_network()
        network.get_buffer("items.vectors").copy_(self.network.get_buffer("items.vectors"))
        return network

    def tells(self, ids: Collection[str], fresh: bool) -> set[str]:
        """All items of which something is said, to whoever reads it."""
        names = list(ids)
        return {item for item, vector in zip(names, self.vectors(names)) if vector.any()}

    def lacks(self, ids: Sequence[str]) -> tuple[str, str] | None:
        """See `HistoryNetwork.lacks`: texts."""
        if self.tells(ids, True):
            return None
        return "what is known of the items in words", "Name their table with --items."

    def for_items(self, ids: Sequence[str], counts: Array, seed: int, fresh: bool = False) -> TwoTowers:
        """See `HistoryNetwork.for_items`. A source that has learned something is for targets, whose items get terms of
        their own: at first r_j = 0 and b_j = log(1 + users), as popularity has it of a user of whom nothing is known.
        """
        sizes = {**self.sizes, "own": self.pretrained}
        network = self.drawn(ids, sizes, seed)
        if not fresh:
            kept = {name: value for name, value in self.network.state_dict().items() if name not in BY_ITEM}
            network.load_state_dict({**network.state_dict(), **kept})
        if self.pretrained:
            network.get_parameter("bias").data.copy_(torch.from_numpy(np.log1p(counts)))
        _fill(network, self.vectors(ids))
        made = self.around(network, ids, sizes)
        made.pretrained = not fresh
        return made


def _fill(network: nn.Module, vectors: Array) -> None:
    network.get_buffer("items.vectors").copy_(torch.from_numpy(vectors))
