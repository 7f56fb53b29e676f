"""What is known of items before the first interaction of the target: weights between them, or vectors of what they are.

``headstart pretrain`` learns the weights from the interactions of other users (EASE, `headstart.nn.ease`), or factors
of the items (`headstart.nn.item_factors`) with such weights beside them: a source folder with an identifier for each
item, by which the items of a target are matched. A text source becomes a source of items by reading the texts of the
items once (`of_texts`). Beside weights the texts of their items are kept: by these items of another catalogue, which
share no identifier, are known (`Reading`). The features of a row are the mean, over the items of its history that are
known, of the item's row in the table: zeros for a user of whom nothing is known.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import torch
from torch import nn

from headstart.errors import DataError, SourceError
from headstart.sources import weights
from headstart.sources.base import Card, Source
from headstart.types import Batch, Features, Json, Sample

if TYPE_CHECKING:
    from headstart.datasets.base import Dataset
    from headstart.datasets.base import Items as Listed

Array = np.ndarray
IDS, TEXTS = "items.json", "texts.json"

BESIDE = "items"
"""The folder of the weights between items, beside what else the same interactions taught."""

Holds: TypeAlias = Literal["weights", "vectors", "factors"]

KNOWN = 0.9
"""Share of the target's items from which identifiers are enough, and texts are not asked."""

ALIKE = 0.3
"""Share of common words from which two texts may speak of one item."""


@dataclass(frozen=True)
class Reading:
    """What a text source makes of the items. by: its name. own: vectors [I,D] of the items that the source knows.
    others: vectors [J,D] of the items ``ids`` of a target. All are centred by catalogue and of unit length.
    """

    by: str
    own: Array
    ids: tuple[str, ...]
    others: Array


class Items(Source):
    """A table with a row for each item. holds: ``weights`` [I,I] between items, ``vectors`` [I,D] of what each is, or
    ``factors`` [I,D] of each; then learned: how (alpha, ridge, see `headstart.nn.item_factors`), and items: the weights
    between items that the same interactions taught, or None.

    popularity: [I], the share of users that dealt with an item; zeros where none were counted. texts: what is known of
    each item ("" for nothing), or empty. reading: how a text source reads the items here and those of a target.
    """

    provider = "items"

    def __init__(
        self, card: Card, network: Table, ids: Sequence[str], holds: Holds, texts: Sequence[str] = (),
        learned: Json | None = None, items: Items | None = None,
    ) -> None:  # fmt: skip
        super().__init__(card, network)
        self.learned, self.items = learned or {}, items
        self.ids, self.holds, self.texts = tuple(ids), holds, tuple(texts)
        self.reading: Reading | None = None
        self._place = {item: number for number, item in enumerate(self.ids)}

    @property
    def told(self) -> str:
        """What it is, in a few words."""
        if self.holds == "vectors":
            return f"contents by {self.card.name}"
        return f"the {self.holds} of {self.card.name}"

    @property
    def table(self) -> Table:
        """The network, which is a table."""
        assert isinstance(self.network, Table)
        return self.network

    def preprocess(self, samples: Sequence[Sample], train: bool = False) -> Batch:
        """Histories, or dicts with one, to ``items`` [B,T] and ``attention_mask`` [B,T]; unknown items are left out.

        Raises DataError HS-DATA-015 where a row has no list of items.
        """
        return padded([[self._place[item] for item in history(sample) if item in self._place] for sample in samples])

    def forward(self, batch: Batch) -> Features:
        """pooled [B,D]: the mean of the rows of the table."""
        return Features(self.network(batch.inputs["items"], batch.inputs["attention_mask"]))

    def example(self) -> Batch:
        """Two histories of two items."""
        return self.preprocess([{"items": list(self.ids[:2])}, {"items": list(self.ids[:1])}])

    def fresh_network(self) -> nn.Module:
        """A table of random numbers."""
        table, popularity = self.table.table, self.table.popularity
        return Table(torch.randn(table.shape) / table.shape[1] ** 0.5, torch.rand(popularity.shape))

    def settings(self) -> Json:
        """What the table holds, and digests of the identifiers and of the texts."""
        found: Json = {
            "holds": self.holds, "ids": digest_of(self.ids), "texts": digest_of(self.texts) if self.texts else None,
        }  # fmt: skip
        if self.holds == "factors":
            found |= {**self.learned, "items": None if self.items is None else self.items.card.digest}
        return found

    def save(self, folder: Path) -> None:
        """See `Source.save`; the identifiers stand in ``items.json``, the texts in ``texts.json``."""
        weights.write(folder, self)
        write_ids(folder, self.ids)
        if self.texts:
            write_ids(folder, self.texts, TEXTS)
        if self.items is not None:
            self.items.save(folder / BESIDE)

    @classmethod
    def load(cls, folder: Path) -> Items:
        """See `Source.load`; of identifiers and texts `read_ids`."""
        card, settings, tensors = weights.read(folder)
        try:
            table, popularity = tensors["table"], tensors["popularity"]
        except KeyError as error:
            raise SourceError("HS-SOURCE-007", f"{folder}: the tensor {error} is missing.") from error
        ids = read_ids(folder, settings["ids"], len(table))
        told = settings.get("texts")
        texts = read_ids(folder, told, len(table), TEXTS) if told else []
        items = Items.load(folder / BESIDE) if settings.get("items") else None
        learned: Json = {name: settings[name] for name in ("alpha", "ridge") if name in settings}
        return cls(card, Table(table, popularity), ids, settings["holds"], texts, learned, items)

    def settled(self, dataset: Dataset, align: Mapping[str, str] | None = None) -> Items:
        """For the items of these rows. Where most texts under the same identifier differ, the identifiers are numbers
        of two catalogues, and none is known by it.
        """
        self.refuse_names(align)
        if self.items is not None:
            items = self.items.settled(dataset)
            if items is self.items:
                return self
            made = self.beside(items)
            made._place, made.notes = {}, items.notes
            return made
        here = dataset.items
        texts = {} if here is None or not self.texts else dict(zip(here.ids, here.texts))
        pairs = [(self.texts[row], texts[item]) for item, row in self._place.items() if texts.get(item)]
        pairs = [pair for pair in pairs if pair[0]]
        if not pairs or np.mean([_common(*pair) >= ALIKE for pair in pairs]) >= 0.5:
            return self
        made = copy.copy(self)
        made._place = {}
        made.notes = (
            f"Items: {len(pairs):,} have an identifier that {self.card.name} knows for something else; they are "
            "matched by what is said of them.",
        )
        return made

    def foreign(self, here: Listed | None) -> bool:
        """Whether texts have to say which items are like which: they are there, and identifiers tell too little."""
        if here is None or not self.texts or self.holds != "weights" or not any(here.texts):
            return False
        return len(self.known(here.ids)[0]) < KNOWN * len(here.ids)

    def read(self, reading: Reading) -> Items:
        """With this reading of the texts."""
        made = copy.copy(self)
        made.reading = reading
        return made

    def beside(self, items: Items) -> Items:
        """The same factors with these weights between items beside them."""
        made = copy.copy(self)
        made.items = items
        return made

    def known(self, items: Sequence[str]) -> tuple[Array, Array]:
        """Which of these items the table has, as places among them [K], and their rows in the table [K]."""
        rows = np.array([self._place.get(item, -1) for item in items], np.int64)
        places = np.flatnonzero(rows >= 0)
        return places, rows[places]


class Table(nn.Module):
    """Rows by item [I,D], and popularity [I]; nothing in it trains."""

    table: torch.Tensor
    popularity: torch.Tensor

    def __init__(self, table: torch.Tensor, popularity: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table.float().contiguous())
        self.register_buffer("popularity", popularity.float().contiguous())

    def forward(self, items: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The mean over T of the rows of items [B,T] under the mask [B,T]."""
        weight = mask.to(self.table.dtype).unsqueeze(-1)
        return (self.table[items] * weight).sum(1) / weight.sum(1).clamp(min=1)


ARCHITECTURE: dict[Holds, str] = {"weights": "EASE", "vectors": "item vectors", "factors": "ALS"}


def of_table(
    ids: Sequence[str], table: Array, *, name: str, holds: Holds,
    popularity: Array | None = None, origin: str, licence: str, description: str, texts: Sequence[str] = (),
    learned: Json | None = None, items: Items | None = None,
) -> Items:  # fmt: skip
    """A source of items from its table [I,D]. learned, items: of factors."""
    share = np.zeros(len(ids), np.float32) if popularity is None else popularity
    network = Table(torch.from_numpy(np.asarray(table, np.float32)), torch.from_numpy(np.asarray(share, np.float32)))
    card = Card(
        name=name, modality="interactions", architecture=ARCHITECTURE[holds],
        width=int(table.shape[1]), parameters=int(table.size), origin=origin, licence=licence,
        digest=weights.digest(weights.state(network)), description=description,
    )  # fmt: skip
    return Items(card, network, ids, holds, texts, learned, items)


def of_texts(source: Source, ids: Sequence[str], texts: Sequence[str], features: Array) -> Items:
    """A text source as a source of items. features: [I,D] that it makes of the texts; they are centred, and brought to
    unit length. An item without a text has none.
    """
    there = np.array([bool(text) for text in texts])
    made = of_table(
        ids, unit_vectors(features, texts),
        name=source.card.name, holds="vectors", origin=source.card.origin, licence=source.card.licence,
        description=f"{source.card.description} (of the texts of {int(there.sum()):,} items)",
    )  # fmt: skip
    made.card = replace(made.card, architecture=source.card.architecture, parameters=source.card.parameters)
    return made


def unit_vectors(features: Array, texts: Sequence[str]) -> Array:
    """Features [I,D] of texts, centred and at unit length; zero where there is no text."""
    there = np.array([bool(text) for text in texts])
    centred = np.asarray(features, np.float32) - features[there].mean(axis=0)
    vectors = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    vectors[~there] = 0
    return np.asarray(vectors, np.float32)


def _common(one: str, other: str) -> float:
    """The share of words that two texts have in common, of those in the shorter one."""
    words = [set(re.findall(r"\w+", text.lower())) for text in (one, other)]
    return len(words[0] & words[1]) / max(1, min(map(len, words)))


def history(sample: Sample) -> list[str]:
    """The items of a row. Raises DataError HS-DATA-015 where it has no list of them."""
    if isinstance(sample, dict):
        sample = next((value for value in sample.values() if isinstance(value, list | tuple)), None)
    if not isinstance(sample, list | tuple):
        raise DataError("HS-DATA-015", "a row lacks the list of items that the model reads.")
    return [str(item) for item in sample]


def padded(rows: Sequence[Sequence[int]]) -> Batch:
    """Numbers of items, row by row, as ``items`` [B,T] and ``attention_mask`` [B,T], padded at the end."""
    length = max([1, *map(len, rows)])
    items = torch.zeros(len(rows), length, dtype=torch.int64)
    mask = torch.zeros(len(rows), length, dtype=torch.int64)
    for place, row in enumerate(rows):
        items[place, : len(row)] = torch.tensor(row, dtype=torch.int64)
        mask[place, : len(row)] = 1
    return Batch({"items": items, "attention_mask": mask})


# --- identifiers on disk -------------------------------------------------------------------------------------------


def digest_of(ids: Sequence[str]) -> str:
    """The sha256 (hex) of identifiers in their order."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def write_ids(folder: Path, ids: Sequence[str], name: str = IDS) -> None:
    """``items.json``, or another list of words beside it."""
    (folder / name).write_text(json.dumps(list(ids), ensure_ascii=False), encoding="utf-8")


def read_ids(folder: Path, digest: str, count: int, name: str = IDS) -> list[str]:
    """What `write_ids` wrote. Raises SourceError HS-SOURCE-007 (missing), -004 (not ``count``), -002 (changed)."""
    try:
        ids: list[str] = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError("HS-SOURCE-007", f"{folder / name} is missing or damaged ({error}).") from error
    if len(ids) != count:
        raise SourceError("HS-SOURCE-004", f"{folder / name}: {len(ids)} items for {count} rows of the table.")
    if digest_of(ids) != digest:
        raise SourceError("HS-SOURCE-002", f"{folder / name} was changed.", "Pretrain the source again.")
    return ids
