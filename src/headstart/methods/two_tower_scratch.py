"""Two towers from fresh weights: the control that has the source's network and the same texts, and nothing it learned.

The same rows, the same start from popularity, the same choices and the same rate as ``two_tower``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from headstart.methods.base import hyper
from headstart.methods.sequences import SequenceMethod
from headstart.methods.two_tower import TwoTower
from headstart.sources.history_network import HistoryNetwork
from headstart.sources.two_tower import TwoTowers


@dataclass(frozen=True)
class TwoTowerScratch(SequenceMethod):
    """Towers for items, by their texts, and for users, from fresh weights."""

    name: ClassVar[str] = "two_tower_scratch"
    role: ClassVar[Literal["transfer", "control"]] = "control"
    way: ClassVar[tuple[float, ...]] = TwoTower.way
    close: ClassVar[float] = TwoTower.close
    enough: ClassVar[int] = TwoTower.enough
    paper: ClassVar[str] = TwoTower.paper

    epochs: int = hyper(20, "passes over the training rows", low=1, high=1000)

    @classmethod
    def trains(cls) -> type[HistoryNetwork]:
        """See `SequenceMethod.trains`."""
        return TwoTowers
