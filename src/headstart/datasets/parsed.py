"""What every format hands over: an Arrow table (memory-mapped where it came from a file) and the rows left out.

A format is a module of this folder with ``matches(path) -> bool`` and ``parse(path, options) -> Parsed``; `read.py`
finds it by that, so that a new format is a new file and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.datasets.base import Items, Kind, Reject

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Options:
    """What the caller asked for, as far as a parser needs it.

    kinds: column -> kind, so that a column read as text keeps its characters. inputs: named input columns.
    for_prediction: the rows need no target. stepwise: every step of a series is to be judged (`points.py`). horizon:
    steps ahead, where rows are to be windows of series (`windows.py`); season: steps of a season, 0 = inferred.
    """

    kinds: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    for_prediction: bool = False
    stepwise: bool = False
    horizon: int | None = None
    season: int = 0

    @property
    def strings(self) -> list[str]:
        """Columns whose characters must be kept although they may look like numbers."""
        return sorted(name for name, kind in self.kinds.items() if kind not in ("number", "category", "items"))


@dataclass
class Parsed:
    """Rows of one path before anyone has said what its columns are for.

    numbers: 1-based row number of each row. target, inputs: what the format itself knows (a class folder is the
    target ``label``). kinds: kinds that the format knows. root: where relative image paths start.
    items: those that the rows speak of. folded: rows of the path that were folded into these, by which rejects are
    measured.
    """

    table: pa.Table
    numbers: list[int]
    rejects: list[Reject] = field(default_factory=list)
    target: str | None = None
    inputs: tuple[str, ...] = ()
    kinds: dict[str, Kind] = field(default_factory=dict)
    root: Path | None = None
    items: Items | None = None
    folded: int = 0
