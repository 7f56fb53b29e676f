"""sasrec: a causal transformer over histories (`headstart.nn.sasrec`) that was trained on the interactions of others.

``headstart pretrain INTERACTIONS --objective sasrec`` makes it. Items are matched by identifier: those that the source
knows bring their embedding along, and others, where the texts of both catalogues were read, that of the items that
stand in for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from headstart.nn.ease import stand_ins
from headstart.nn.sasrec import SASRec
from headstart.sources.history_network import HistoryNetwork
from headstart.types import Json

STAND_IN = 1.0
"""Shift of the kernel ridge by which items stand in for others."""


class Sequences(HistoryNetwork):
    """A transformer over histories. sizes: see `SASRec`."""

    provider = "sasrec"
    architecture: ClassVar[str] = "SASRec"
    defaults: ClassVar[Json] = {"width": 64, "blocks": 2, "heads": 2, "length": 100, "dropout": 0.2}
    by_item: ClassVar[str] = "bias"

    @staticmethod
    def built(count: int, sizes: Json) -> SASRec:
        """See `HistoryNetwork.built`."""
        return SASRec(count, **sizes)

    def for_items(self, ids: Sequence[str], counts: np.ndarray, seed: int, fresh: bool = False) -> Sequences:
        """See `HistoryNetwork.for_items`. Items that the source knows keep embedding and bias; the others have that of
        their stand-ins by text, or are drawn.
        """
        network = self.drawn(ids, self.sizes, seed)
        if not fresh:
            here = [place for place, item in enumerate(ids) if item in self._place]
            there = [self._place[ids[place]] for place in here]
            own = {name: value.clone() for name, value in self.network.state_dict().items()}
            for name in ("items.weight", "bias"):
                drawn = network.state_dict()[name]
                if (told := self._told(ids, own[name])) is not None:
                    drawn = told
                drawn[here] = own[name][there]
                own[name] = drawn
            network.load_state_dict(own)
        made = self.around(network, ids, self.sizes)
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
