"""What sources that read histories share: items by identifier, the last steps of a history, weights beside them.

A network of `headstart.nn.histories` makes of each step of a history what the next item is told by. Its features are
those of the last step. Items are matched by identifier; `for_items` is the same network for the items of a target.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch
from torch import nn

from headstart.nn.histories import HistoryReader
from headstart.sources import weights
from headstart.sources.base import Card, Source
from headstart.sources.items import BESIDE, Items, digest_of, history, padded, read_ids, write_ids
from headstart.types import Batch, Features, Json, Sample

if TYPE_CHECKING:
    from headstart.datasets.base import Dataset


class HistoryNetwork(Source):
    """A network that reads histories. ids: of its items, in their order. sizes: what `built` takes besides their
    number; ``length`` says how many items of a history are read. items: the weights between items
    (`headstart.sources.items`) that were learned from the same interactions, or None.
    """

    architecture: ClassVar[str]
    defaults: ClassVar[Json]
    """Sizes of a network that `headstart pretrain` makes."""

    by_item: ClassVar[str]
    """A tensor of the network that has a row for each item."""

    def __init__(
        self, card: Card, network: nn.Module, ids: Sequence[str], sizes: Json, items: Items | None = None
    ) -> None:
        super().__init__(card, network)
        self.ids, self.sizes, self.items = tuple(ids), dict(sizes), items
        self._place = {item: number for number, item in enumerate(self.ids)}

    @staticmethod
    @abstractmethod
    def built(count: int, sizes: Json) -> HistoryReader:
        """A network for so many items, drawn from the global torch generator."""

    @abstractmethod
    def for_items(self, ids: Sequence[str], counts: np.ndarray, seed: int, fresh: bool = False) -> Self:
        """A copy for these items, in this order. counts: users [K] that are known to have dealt with each. fresh:
        without what the source has learned.
        """

    def tells(self, ids: Collection[str], fresh: bool) -> set[str]:
        """Of which of these items it can speak without any interaction of the target."""
        return set() if fresh else {item for item in ids if item in self._place}

    def lacks(self, ids: Sequence[str]) -> tuple[str, str] | None:
        """What is missing to speak of these items, and how to mend it."""
        return None

    @property
    def reader(self) -> HistoryReader:
        """The network, which is one."""
        assert isinstance(self.network, HistoryReader)
        return self.network

    def settled(self, dataset: Dataset, align: Mapping[str, str] | None = None) -> Self:
        """See `Items.settled`."""
        self.refuse_names(align)
        if self.items is None or (items := self.items.settled(dataset)) is self.items:
            return self
        made = self.beside(items)
        made._place, made.notes = {}, items.notes
        return made

    def beside(self, items: Items) -> Self:
        """The same network with these weights between items beside it."""
        made = copy.copy(self)
        made.items = items
        return made

    def codes(self, items: Sequence[str]) -> list[int]:
        """The numbers of the items that it knows, in their order."""
        return [self._place[item] for item in items if item in self._place]

    def preprocess(self, samples: Sequence[Sample], train: bool = False) -> Batch:
        """Histories, or dicts with one, to the last ``length`` known items ``items`` [B,T] and ``attention_mask``.

        Raises DataError HS-DATA-015 where a row has no list of items.
        """
        length = self.sizes["length"]
        return padded([self.codes(history(sample))[-length:] for sample in samples])

    def forward(self, batch: Batch) -> Features:
        """pooled [B,D]: of the last step; zeros for a history of which nothing is known."""
        mask = batch.inputs["attention_mask"]
        last = (mask.sum(dim=1) - 1).clamp(min=0)
        hidden = self.network(batch.inputs["items"])
        pooled = hidden[torch.arange(len(last), device=last.device), last]
        return Features(pooled * mask[:, :1].to(pooled.dtype))

    def example(self) -> Batch:
        """Two histories of two items and of one."""
        return self.preprocess([{"items": list(self.ids[:2])}, {"items": list(self.ids[:1])}])

    def fresh_network(self) -> nn.Module:
        """See `Source.fresh_network`."""
        return self.built(len(self.ids), self.sizes)

    def settings(self) -> Json:
        """Sizes, and digests of the identifiers and of what stands beside the network."""
        beside = None if self.items is None else self.items.card.digest
        return {**self.sizes, "ids": digest_of(self.ids), "items": beside}

    def cost(self, sample: Sample) -> int:
        """Items of the history."""
        return min(len(history(sample)), int(self.sizes["length"])) + 1

    def save(self, folder: Path) -> None:
        """See `Source.save`; the identifiers stand in ``items.json``, the weights between items in ``items``."""
        weights.write(folder, self)
        write_ids(folder, self.ids)
        if self.items is not None:
            self.items.save(folder / BESIDE)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """See `Source.load`; of the identifiers `read_ids`."""
        card, settings, tensors = weights.read(folder)
        sizes = {name: settings[name] for name in cls.defaults}
        items = Items.load(folder / BESIDE) if settings["items"] is not None else None
        ids = read_ids(folder, settings["ids"], len(tensors[cls.by_item]))
        with torch.random.fork_rng(devices=[]):
            network = cls.built(len(ids), sizes)
        weights.fill(network, tensors, card.name)
        return cls(card, network, ids, sizes, items)

    def drawn(self, ids: Sequence[str], sizes: Json, seed: int) -> HistoryReader:
        """A network for these items from fresh weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.built(len(ids), sizes)

    def around(self, network: HistoryReader, ids: Sequence[str], sizes: Json) -> Self:
        """A source of this network for these items, with the card of this one and nothing beside it."""
        parameters = sum(p.numel() for p in network.parameters())
        card = replace(self.card, parameters=parameters, digest=weights.digest(weights.state(network)))
        return type(self)(card, network, ids, sizes)

    @classmethod
    def fresh(cls, ids: Sequence[str], name: str, seed: int, **sizes: Any) -> Self:
        """A network for these items that has learned nothing. sizes: over `defaults`."""
        chosen = {**cls.defaults, **sizes}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = cls.built(len(ids), chosen)
        card = Card(
            name=name, modality="interactions", architecture=cls.architecture, width=int(chosen["width"]),
            parameters=sum(p.numel() for p in network.parameters()), origin="none", licence="none needed",
            digest=weights.digest(weights.state(network)), description="no knowledge before headstart pretrain",
        )  # fmt: skip
        made = cls(card, network, ids, chosen)
        made.pretrained = False
        return made


def items_of(source: Source | None) -> Items | None:
    """The weights or vectors of items that a source is, or that stand beside its network or its factors."""
    if isinstance(source, HistoryNetwork) or (isinstance(source, Items) and source.holds == "factors"):
        return source.items
    return source if isinstance(source, Items) else None
