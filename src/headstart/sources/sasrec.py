"""sasrec: a causal transformer over histories (`headstart.nn.sasrec`) that was trained on the interactions of others.

``headstart pretrain INTERACTIONS --objective sasrec`` makes it. Its features are what the last step of a history makes
of it. Items are matched by identifier: `for_items` is the same network for the items of a target, where those that the
source knows bring their embedding along, and others, where the texts of both catalogues were read, that of the items
that stand in for them. The weights between items (`headstart.sources.items`) that the same
interactions taught stand beside it, in the folder ``items``.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from headstart.nn.ease import stand_ins
from headstart.nn.sasrec import SASRec
from headstart.sources import weights
from headstart.sources.base import Card, Source
from headstart.sources.items import BESIDE, Items, digest_of, history, padded, read_ids, write_ids
from headstart.types import Batch, Features, Json, Sample

if TYPE_CHECKING:
    from headstart.datasets.base import Dataset

SIZES: Json = {"width": 64, "blocks": 2, "heads": 2, "length": 100, "dropout": 0.2}
"""Of a network that `headstart pretrain` makes."""

STAND_IN = 1.0
"""Shift of the kernel ridge by which items stand in for others."""


class Sequences(Source):
    """A network that reads histories. ids: of its items, in the order of their embeddings. sizes: of the network, see
    `SASRec`. items: the weights between items that were learned from the same interactions, or None.
    """

    provider = "sasrec"

    def __init__(self, card: Card, network: SASRec, ids: Sequence[str], sizes: Json, items: Items | None) -> None:
        super().__init__(card, network)
        self.ids, self.sizes, self.items = tuple(ids), dict(sizes), items
        self._place = {item: number for number, item in enumerate(self.ids)}

    @property
    def transformer(self) -> SASRec:
        """The network, which is one."""
        assert isinstance(self.network, SASRec)
        return self.network

    def settled(self, dataset: Dataset, align: Mapping[str, str] | None = None) -> Sequences:
        """See `Items.settled`."""
        self.refuse_names(align)
        if self.items is None or (items := self.items.settled(dataset)) is self.items:
            return self
        made = self.beside(items)
        made._place, made.notes = {}, items.notes
        return made

    def beside(self, items: Items) -> Sequences:
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
        return SASRec(len(self.ids), **self.sizes)

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
    def load(cls, folder: Path) -> Sequences:
        """See `Source.load`; of the identifiers `read_ids`."""
        card, settings, tensors = weights.read(folder)
        sizes = {name: settings[name] for name in SIZES}
        items = Items.load(folder / BESIDE) if settings["items"] is not None else None
        ids = read_ids(folder, settings["ids"], len(tensors["bias"]))
        with torch.random.fork_rng(devices=[]):
            network = SASRec(len(ids), **sizes)
        weights.fill(network, tensors, card.name)
        return cls(card, network, ids, sizes, items)

    def for_items(self, ids: Sequence[str], seed: int, fresh: bool = False) -> Sequences:
        """A copy for these items, in this order. Those that the source knows keep embedding and bias; the others have
        that of their stand-ins by text, or are drawn. ``fresh``: so is everything else.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = SASRec(len(ids), **self.sizes)
        if not fresh:
            here = [place for place, item in enumerate(ids) if item in self._place]
            there = [self._place[ids[place]] for place in here]
            own = {name: value.clone() for name, value in self.transformer.state_dict().items()}
            for name in ("items.weight", "bias"):
                drawn = network.state_dict()[name]
                if (told := self._told(ids, own[name])) is not None:
                    drawn = told
                drawn[here] = own[name][there]
                own[name] = drawn
            network.load_state_dict(own)
        card = replace(self.card, parameters=sum(p.numel() for p in network.parameters()))
        made = Sequences(replace(card, digest=weights.digest(weights.state(network))), network, ids, self.sizes, None)
        made.pretrained = not fresh
        return made

    def _told(self, ids: Sequence[str], table: torch.Tensor) -> torch.Tensor | None:
        """Rows [J,...] for these items by what the texts say of the rows [I,...] of a table; None without a reading."""
        items = self.items
        if items is None or items.reading is None:
            return None
        rows = {item: row for row, item in enumerate(self.ids)}
        both = [place for place, item in enumerate(items.ids) if item in rows]
        known = table[[rows[items.ids[place]] for place in both]]
        at = {item: row for row, item in enumerate(items.reading.ids)}
        A = torch.from_numpy(
            stand_ins(items.reading.own[both], items.reading.others[[at[item] for item in ids]], STAND_IN)
        )
        mean = known.mean(dim=0)
        told: torch.Tensor = mean + torch.tensordot(A.T, known - mean, dims=1)
        return told


def items_of(source: Source | None) -> Items | None:
    """The weights or vectors of items that a source is, or that stand beside its transformer or its factors."""
    if isinstance(source, Sequences) or (isinstance(source, Items) and source.holds == "factors"):
        return source.items
    return source if isinstance(source, Items) else None


def fresh(ids: Sequence[str], name: str, seed: int, **sizes: float) -> Sequences:
    """A network for these items that has learned nothing. sizes: over `SIZES`."""
    chosen = {**SIZES, **sizes}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = SASRec(len(ids), **chosen)
    card = Card(
        name=name, modality="interactions", architecture="SASRec", width=int(chosen["width"]),
        parameters=sum(p.numel() for p in network.parameters()), origin="none", licence="none needed",
        digest=weights.digest(weights.state(network)), description="no knowledge before headstart pretrain",
    )  # fmt: skip
    made = Sequences(card, network, ids, chosen, None)
    made.pretrained = False
    return made
