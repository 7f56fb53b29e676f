"""A model of items: what a history says of each item, and how popular it is. Scores come in blocks of users.

    score(u, j) = (sum_{i in history(u)} W_ij) / scale + mix * popularity_j

Item-kNN, EASE and popularity (W = 0) are all of this form (Deshpande & Karypis 2004); of item factors
(`headstart.nn.item_factors`) the sum is what the user folded in says. The scale is the mean of the best
score over training histories, and the largest popularity is 1, so that one grid of mixtures fits every W. A user
without a known item is ranked by popularity alone. Items of the history are never recommended. Beside its items X [N,I]
a history may have further numbers [N,D], from which W then speaks as well (`headstart.methods.elsewhere`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse

from headstart.nn.item_factors import ItemFactors
from headstart.tasks.recommendation import Recommendation
from headstart.types import Json

Array = np.ndarray
BLOCK = 64
"""Users scored at once: their scores stay in the cache of the processor."""

TYPICAL = 500
"""Histories whose best score makes the scale."""


@dataclass(frozen=True)
class ItemWeights:
    """rows [R], columns [J]: the items that W speaks from and of; rows from I on are numbers beside the items. weights:
    [R,J], dense or sparse, or factors of the items, of which rows and columns are the same. popularity: [I].
    """

    rows: Array
    columns: Array
    weights: Any
    popularity: Array
    scale: float = 1.0
    mix: float = 0.0

    def scaled(self, X: Any) -> ItemWeights:
        """With the scale of these histories, [N,I]."""
        step = max(1, X.shape[0] // TYPICAL)
        told = self.told(X[::step])
        best = (told.toarray() if sparse.issparse(told) else told).max(axis=1, initial=0)
        known = best[best > 0]
        return replace(self, scale=float(known.mean()) if len(known) else 1.0)

    def mixed(self, popularity: Array, mix: float) -> ItemWeights:
        """With this popularity [I] and this share of it."""
        return replace(self, popularity=np.asarray(popularity, np.float32), mix=mix)

    def items_of(self, X: Any) -> Any:
        """The items of histories [n,I], without what stands beside them."""
        return X if X.shape[1] == len(self.popularity) else X[:, : len(self.popularity)]

    def told(self, X: Any) -> Any:
        """What histories [b,I] or [b,I+D] say of the columns, [b,J]; sparse where the weights are."""
        if not self.weights.shape[1]:
            return np.zeros((X.shape[0], 0), np.float32)
        whole = len(self.rows) == X.shape[1] and np.array_equal(self.rows, np.arange(len(self.rows)))
        part = X if whole else X[:, self.rows]
        if isinstance(self.weights, ItemFactors):
            return self.weights.told(part)
        return (part @ self.weights).astype(np.float32, copy=False)

    def scores(self, X: Any, added: Sequence[Array] = ()) -> Iterator[Array]:
        """Scores [b,I] of histories [b,I] or [b,I+D] (sparse); -inf for the items that they hold. added: [I] or [b,I]
        each, in place of the popularity and its share: then scores with each of them.
        """
        told, X = self.told(X), self.items_of(X)
        seen = X.nonzero()
        whole = len(self.columns) == X.shape[1] and np.array_equal(self.columns, np.arange(len(self.columns)))
        scale = np.float32(self.scale)
        if sparse.issparse(told):
            told = sparse.csr_array((told.data / scale, self.columns[told.indices], told.indptr), shape=X.shape)
        elif whole:
            told = told / scale
        else:
            ends = np.arange(len(told) + 1) * told.shape[1]
            told = sparse.csr_array((told.ravel() / scale, np.tile(self.columns, len(told)), ends), shape=X.shape)
        for more in added or [np.float32(self.mix) * self.popularity]:
            found = told + np.broadcast_to(np.asarray(more, np.float32), X.shape)  # one pass over the scores
            found[seen] = -np.inf
            yield found

    def outputs(self, X: Any, task: Recommendation, added: Callable[[slice], Array] | None = None) -> Array:
        """The best items of histories [N,I], see `Recommendation`; block by block. added: of a block of rows, [b,I], in
        place of the popularity and its share.
        """
        blocks = []
        for at in range(0, X.shape[0], BLOCK):
            part = slice(at, min(at + BLOCK, X.shape[0]))
            blocks.append(task.best(next(self.scores(X[part], () if added is None else [added(part)]))))
        return np.concatenate(blocks) if blocks else task.best(np.zeros((0, task.width), np.float32))

    # --- keeping -------------------------------------------------------------------------------------------------

    def state(self) -> tuple[Json, dict[str, Array]]:
        """Numbers and arrays."""
        arrays = {"rows": self.rows, "columns": self.columns, "popularity": self.popularity}
        facts: Json = {"scale": self.scale, "mix": self.mix}
        if isinstance(self.weights, ItemFactors):
            arrays["factors"] = self.weights.table
            facts |= {"alpha": self.weights.alpha, "ridge": self.weights.ridge}
        elif sparse.issparse(self.weights):
            W = self.weights.tocsr()
            arrays |= {"data": W.data, "indices": W.indices, "indptr": W.indptr}
        else:
            arrays["weights"] = self.weights
        return facts, {k: np.ascontiguousarray(v) for k, v in arrays.items()}

    @classmethod
    def restore(cls, facts: Json, arrays: dict[str, Array], items: int, beside: int = 0) -> ItemWeights:
        """What `state` gave. beside: numbers beside the items (D). Raises KeyError or ValueError where something is
        missing or misshapen.
        """
        rows, columns, popularity = (arrays[name] for name in ("rows", "columns", "popularity"))
        shape = (len(rows), len(columns))
        if "weights" in arrays:
            W: Any = arrays["weights"]
        elif "factors" in arrays:
            W = ItemFactors(arrays["factors"], float(facts["alpha"]), float(facts["ridge"]))
        else:
            W = sparse.csr_array((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape)
        if W.shape != shape or popularity.shape != (items,):
            raise ValueError(f"misshapen weights {list(W.shape)} for {shape}, popularity {list(popularity.shape)}")
        ends = (rows, items + beside), (columns, items)
        if any(len(part) and not 0 <= int(part.min()) <= int(part.max()) < end for part, end in ends):
            raise ValueError("items out of range")
        return cls(rows, columns, W, popularity, float(facts["scale"]), float(facts["mix"]))


def matrix(rows: Sequence[Array], items: int) -> Any:
    """The 0/1 of users and items [N,I], sparse, from item numbers; -1 (unknown) does not count."""
    place = np.repeat(np.arange(len(rows), dtype=np.int32), [len(row) for row in rows])
    item = np.concatenate([np.zeros(0, np.int32), *rows]).astype(np.int32)
    known = item >= 0
    ones = np.ones(int(known.sum()), np.float32)
    made = sparse.coo_array((ones, (place[known], item[known])), shape=(len(rows), items)).tocsr()
    made.data[:] = 1  # an item that is there twice counts once
    return made
