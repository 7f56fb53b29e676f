"""What users took elsewhere: histories in another catalogue, of the same users.

They stand in the table of users (columns of the role ``feature`` and the kind ``items``). A history becomes features
f [D] of unit length: the 0/1 of its items, or, where a source knows these, the sum of the source's rows for them. EASE
(`headstart.nn.ease`) has the features beside the items of the target, with a ridge t of their own:

    W, V = argmin |X - X W - F V|^2 + s |W - B|^2 + t |V|^2,      diag W = 0

so that a user is ranked by both, and one without a history here by the other one alone. Users in common are what
carries knowledge from one domain to another (Berkovsky, Kuflik & Ricci 2007, Cross-domain mediation in collaborative
filtering).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from headstart.datasets.base import Column, Dataset
from headstart.nn.item_weights import matrix
from headstart.sources.items import Items
from headstart.types import Json

Array = np.ndarray

MOST, WIDEST = 1000, 256
"""Items elsewhere that are read as they are: the most popular ones; numbers that a source's vectors are brought to."""

FEWEST = 2
"""Users from whom an item elsewhere is read."""

TABLE = "elsewhere.table"
"""The name of the array."""


@dataclass(frozen=True, eq=False)
class Elsewhere:
    """column: that holds the histories. ids: items elsewhere [K]. table: [K,D] what a source makes of them, or None for
    the items as they are. told: what it is, in a few words.
    """

    column: str
    ids: tuple[str, ...]
    table: Array | None
    told: str

    @property
    def width(self) -> int:
        """D, the numbers of a row."""
        return len(self.ids) if self.table is None else int(self.table.shape[1])

    def read(self, rows: Dataset) -> Any:
        """The features of the rows' users [N,D], sparse; zeros for a user of whom nothing is known."""
        place = {item: number for number, item in enumerate(self.ids)}
        known = [
            np.array([place[item] for item in each if item in place], np.int64) for each in taken(rows, self.column)
        ]
        F = matrix(known, len(self.ids))
        if self.table is not None:
            F = sparse.csr_array(F @ self.table)
        size = np.sqrt(np.asarray(F.multiply(F).sum(axis=1))).ravel()
        return sparse.csr_array(sparse.diags_array(1 / np.maximum(size, 1e-9)) @ F, dtype=np.float32)

    def knows(self, rows: Dataset) -> Array:
        """Whether anything is known of the user of each row [N]."""
        ids = set(self.ids)
        return np.array([not ids.isdisjoint(each) for each in taken(rows, self.column)], bool)

    def state(self) -> tuple[Json, dict[str, Array]]:
        """Words and arrays."""
        arrays = {} if self.table is None else {TABLE: np.ascontiguousarray(self.table)}
        return {"column": self.column, "ids": list(self.ids), "told": self.told}, arrays

    @classmethod
    def restore(cls, facts: Json, arrays: dict[str, Array]) -> Elsewhere:
        """What `state` gave. Raises KeyError or ValueError where something is missing or misshapen."""
        ids, table = tuple(str(item) for item in facts["ids"]), arrays.get(TABLE)
        if table is not None and (table.ndim != 2 or len(table) != len(ids)):
            raise ValueError(f"misshapen vectors of items elsewhere {list(table.shape)} for {len(ids)}")
        return cls(str(facts["column"]), ids, table, str(facts["told"]))


def plain(rows: Dataset) -> list[Elsewhere]:
    """The histories elsewhere as they are, for each column of them."""
    found = []
    for column in columns(rows):
        counts = Counter(item for each in taken(rows, column.name) for item in set(each))
        ids = sorted(item for item, count in counts.most_common(MOST) if count >= FEWEST)
        if ids:
            found.append(Elsewhere(column.name, tuple(ids), None, column.name))
    return found


def by_source(rows: Dataset, source: Items) -> list[Elsewhere]:
    """The histories elsewhere as the source reads them, for each column of whose items it knows some."""
    found, table = [], None
    for column in columns(rows):
        histories = [source.known(sorted(set(each)))[0] for each in taken(rows, column.name)]
        if sum(len(known) > 0 for known in histories) < FEWEST:
            continue
        table = _narrow(source.table.table.numpy()) if table is None else table
        found.append(Elsewhere(column.name, source.ids, table, f"{column.name} by {source.card.name}"))
    return found


def columns(rows: Dataset) -> list[Column]:
    """The columns that hold histories elsewhere."""
    return [column for column in rows.with_role("feature") if column.kind == "items"]


def taken(rows: Dataset, column: str) -> list[Sequence[str]]:
    """What the user of each row took elsewhere; nothing where that is not known."""
    if column not in {each.name for each in rows.columns}:
        return [()] * len(rows)
    return [[str(item) for item in each or ()] for each in rows.values(column)]


def beside(X: Any, elsewhere: Elsewhere | None, rows: Dataset) -> Any:
    """Histories [N,I] with what these users took elsewhere beside them, [N,I+D]."""
    return X if elsewhere is None else sparse.csr_array(sparse.hstack([X, elsewhere.read(rows)], format="csr"))


def _narrow(table: Array) -> Array:
    """Vectors [K,D] in the `WIDEST` directions in which they differ most: products with them stay nearly the same."""
    if table.shape[1] <= WIDEST:
        return np.asarray(table, np.float32)
    from sklearn.utils.extmath import randomized_svd

    U, S, _ = randomized_svd(np.asarray(table, np.float32), WIDEST, random_state=0)
    return np.asarray(U * S, np.float32)
