"""Two towers from a source: an adaptor of item texts and a reader of histories go on learning from those of the target.

The source has learned from another catalogue, or from the items here that are not new: of each item it knows what a
text source makes of its words (`headstart.nn.two_tower`). What the same network is worth from fresh weights on the same
texts is the control ``two_tower_scratch``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from headstart.methods.base import hyper
from headstart.methods.sequences import SequenceMethod
from headstart.sources.history_network import HistoryNetwork
from headstart.sources.two_tower import TwoTowers


@dataclass(frozen=True)
class TwoTower(SequenceMethod):
    """Towers for items, by their texts, and for users, on from the source's weights."""

    name: ClassVar[str] = "two_tower"
    way: ClassVar[tuple[float, ...]] = (0.0, 0.25, 0.5, 0.75, 1.0)
    close: ClassVar[float] = 1.0
    enough: ClassVar[int] = 100
    paper: ClassVar[str] = "Covington et al. 2016; Hou et al. 2022, arXiv:2206.05941"

    epochs: int = hyper(20, "passes over the training rows", low=1, high=1000)

    @classmethod
    def trains(cls) -> type[HistoryNetwork]:
        """See `SequenceMethod.trains`."""
        return TwoTowers
