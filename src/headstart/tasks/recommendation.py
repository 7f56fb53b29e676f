"""Which items come next for a user: the best of all items, those that the user knows already left out; NDCG@10.

Every item is ranked, none is drawn as a negative (Krichene & Rendle 2020, On sampled metrics for item recommendation).
A row with the set T of next items and the ranking r_1, r_2, ... has

    NDCG@10 = sum_{k <= 10} [r_k in T] / log2(k + 1)  /  sum_{k <= min(10, |T|)} 1 / log2(k + 1)
    recall@K = |{r_1 ... r_K} and T| / min(K, |T|)          (Liang et al. 2018, arXiv:1802.05814, section 4.2)

and the metric is the mean over rows. A next item that the model does not know counts as missed. Coverage is the share
of all items that stand in somebody's first ten.

Outputs are not one number for each item, which would be 100 000 x 20 000 of them, but the `TOP` best of each row:
[N,P,K,2], item and score, best first, item -1 where there are fewer. P is 1; where items are held out as new ones it is
3, a list among the items of each part, and a row is scored on the list of the part that its next items belong to: what
is asked there is which of the new items a user wants. Encoded targets are a list of N int arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import nn

from headstart.datasets.base import Column, Dataset
from headstart.errors import DataError, raise_all
from headstart.tasks.base import Array, Targets, Task, too_few, weighted, where
from headstart.types import Json, Outputs, Prediction

TOP, SHOWN = 50, 10
"""Items in the outputs of a row, and in a prediction."""

GROUPS = 256
"""Groups of items whose best scores tell which items may be among the best of a row."""

PARTS = ("train", "valid", "test")


class Recommendation(Task):
    """The next items of a user. items: identifiers in output order. parts: [I] of 0, 1, 2 (`PARTS`), or empty."""

    name: ClassVar[str] = "recommendation"
    metric: ClassVar[str] = "ndcg@10"
    needs: ClassVar[Literal["pooled", "tokens", "items"]] = "items"
    scratch: ClassVar[tuple[str, ...]] = ("sasrec_scratch", "two_tower_scratch")

    def __init__(self, items: Sequence[str], parts: Sequence[int] = ()) -> None:
        self.items = [str(item) for item in items]
        self.parts = np.array(parts, np.int8)
        self._place = {item: number for number, item in enumerate(self.items)}

    @classmethod
    def matches(cls, column: Column, values: Sequence[Any]) -> bool:
        """A column of lists of items."""
        return column.kind == "items"

    @classmethod
    def learn(cls, dataset: Dataset) -> Recommendation:
        """All items that are known. Raises DataError HS-DATA-012 (under two rows), -006 (one item)."""
        values = dataset.targets()
        known = dataset.items
        seen = sorted({item for row in values for item in row})
        problems = too_few(dataset, values)
        ids = list(known.ids) if known is not None else seen
        if len(ids) < 2:
            problems.append(
                DataError("HS-DATA-006", f"{where(dataset)}: there is one item only.", "Two are needed to rank them.")
            )
        raise_all(problems)
        parts = [PARTS.index(part) for part in known.parts] if known is not None else []
        return cls(ids, parts)

    def to_json(self) -> Json:
        """See `Task.to_json`."""
        return {"name": self.name, "items": self.items, "parts": self.parts.tolist()}

    @classmethod
    def from_json(cls, data: Json) -> Recommendation:
        """See `Task.from_json`."""
        return cls(data["items"], data["parts"])

    @property
    def width(self) -> int:
        """I, the number of items."""
        return len(self.items)

    def describe(self) -> str:
        """Such as ``recommendation (1,682 items)``."""
        new = f", {int((self.parts == 2).sum()):,} of them new" if len(self.parts) else ""
        return f"recommendation ({self.width:,} items{new})"

    def encode(self, values: Sequence[Any]) -> list[Array]:
        """Lists of items to their numbers; -1 for one that the model does not know, which nothing can hit."""
        return [np.array([self._place.get(str(item), -1) for item in dict.fromkeys(row)], np.int64) for row in values]

    # --- networks and linear heads -----------------------------------------------------------------------------

    def collate(self, targets: Targets, length: int | None = None) -> torch.Tensor:
        """0/1 floats [B,I]."""
        return torch.from_numpy(_indicators(targets, self.width))

    def loss(
        self, output: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Multinomial log-loss over all items [B,I], the mean over a row's next items (Liang et al. 2018, eq. 2)."""
        logs = nn.functional.log_softmax(output.float(), dim=1)
        return {"loss": weighted(-(logs * target).sum(1) / target.sum(1).clamp(min=1), weight)}

    def linear(self, X: Any, y: Targets, strength: float, start: Any = None) -> tuple[Array, Array]:
        """Ridge regression of the 0/1 of each item; W [I,D] and b [I]."""
        dense = np.asarray(X.todense() if hasattr(X, "todense") else X, np.float64)
        Y, mean = _indicators(y, self.width), dense.mean(axis=0)
        gram = (dense - mean).T @ (dense - mean) + np.eye(dense.shape[1]) / strength
        weight = np.linalg.solve(gram, (dense - mean).T @ (Y - Y.mean(axis=0))).T
        return weight, Y.mean(axis=0) - weight @ mean

    # --- scoring and decoding ----------------------------------------------------------------------------------

    def best(self, scores: Array, seen: Array | None = None) -> Array:
        """The outputs [N,P,K,2] of scores [N,I]. seen: bool of items that are left out, [N,I] or [1,I]; those with
        a score of -inf are too.
        """
        scores = np.where(seen, -np.inf, scores) if seen is not None else np.asarray(scores)
        if not len(self.parts):
            return _top(scores)[:, None]
        return np.stack([_top(np.where(self.parts == part, scores, -np.inf)) for part in range(len(PARTS))], axis=1)

    def statistics(self, output: Outputs, target: Targets) -> Array:
        """NDCG@10, recall@10, recall@50 of each row, and 1: [N,4]."""
        lists = self._scored(np.asarray(output), target)  # [N,K]
        sizes = np.array([len(row) for row in target])
        owner = np.repeat(np.arange(len(sizes)), sizes)
        wanted = np.concatenate(target) if len(target) else np.zeros(0, np.int64)
        span = self.width + 1
        keys = np.where(lists < 0, -1, np.arange(len(lists))[:, None] * span + lists)
        hits = np.isin(keys, (owner * span + wanted)[wanted >= 0])
        gains = 1 / np.log2(np.arange(2, SHOWN + 2))
        ideal = np.cumsum(gains)[np.clip(sizes, 1, SHOWN) - 1]
        found = [(hits[:, :SHOWN] * gains[: lists.shape[1]]).sum(axis=1) / ideal]
        found += [hits[:, :k].sum(axis=1) / np.clip(sizes, 1, k) for k in (SHOWN, TOP)]
        return np.stack([*found, np.ones(len(sizes))], axis=1)

    def _scored(self, output: Array, target: Targets) -> Array:
        """The ranking [N,K] on which each row is scored."""
        items: Array = output[..., 0].astype(np.int64)
        if items.shape[1] == 1:
            return items[:, 0]
        part = [int(self.parts[known[0]]) if len(known := row[row >= 0]) else 0 for row in target]
        return np.asarray(items[np.arange(len(items)), part])

    def combine(self, sums: Array) -> Array:
        """The mean NDCG@10."""
        return np.asarray(sums[..., 0] / np.maximum(sums[..., -1], 1e-12))

    def metrics(self, output: Outputs, target: Targets) -> dict[str, float]:
        """``ndcg@10``, ``recall@10``, ``recall@50`` and ``coverage@10``."""
        means = self.statistics(output, target).mean(axis=0)
        shown = self._scored(np.asarray(output), target)[:, :SHOWN]
        coverage = len(np.unique(shown[shown >= 0])) / self.width
        return dict(zip((self.metric, "recall@10", "recall@50", "coverage@10"), [*means[:3].tolist(), coverage]))

    def decode(self, output: Outputs) -> Prediction:
        """The ten best items of each row."""
        return Prediction([items for items, _ in self.ranked(output, SHOWN)])

    def ranked(self, output: Outputs, count: int) -> list[tuple[list[str], list[float]]]:
        """The ``count`` best items of each row (at most `TOP`), of whatever part, and their scores."""
        array = np.asarray(output)
        flat = array.reshape(len(array), -1, 2)
        order = np.argsort(-np.where(flat[..., 0] < 0, -np.inf, flat[..., 1]), axis=1, kind="stable")[:, :count]
        found = []
        for row, places in zip(flat, order):
            kept = [place for place in places if row[place, 0] >= 0]
            found.append(([self.items[int(row[place, 0])] for place in kept], [float(row[place, 1]) for place in kept]))
        return found


def _top(scores: Array) -> Array:
    """Item and score of the best `TOP` of each row of scores [N,I], float32 [N,K,2]; of equals the first item.

    Only items that are no worse than the best ones of `TOP` groups are sorted.
    """
    scores, width = np.ascontiguousarray(scores, dtype=np.float32), scores.shape[1]
    made = np.full((len(scores), TOP, 2), (-1, 0), np.float32)
    groups = min(GROUPS, width)
    best = scores[:, : width // groups * groups].reshape(len(scores), width // groups, groups).max(axis=1)
    least = np.partition(best, -min(TOP, groups), axis=1)[:, -min(TOP, groups)]
    places = np.flatnonzero(scores >= np.maximum(least, np.finfo(np.float32).min)[:, None])
    row, found = places // width, scores.ravel()[places]
    order = np.lexsort((-found, row))
    rank = np.arange(len(row)) - np.searchsorted(row, row)
    kept = rank < TOP
    row, rank, order = row[kept], rank[kept], order[kept]
    made[row, rank, 0], made[row, rank, 1] = places[order] - row * width, found[order]
    return made


def _indicators(targets: Targets, width: int) -> Array:
    made = np.zeros((len(targets), width), np.float32)
    for row, items in enumerate(targets):
        made[row, items[items >= 0]] = 1
    return made
