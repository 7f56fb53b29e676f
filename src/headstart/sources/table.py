"""table: rows of a table whose columns have names, read by what ``headstart pretrain TABLE --target y`` has learned.

A table is unlike other inputs in that its columns are its own. So the source keeps what its columns looked like
(`headstart.sources.schema_matching`), and is *settled* for other rows by finding which of theirs is which. Features of
a row, side by side: what the source's boosted trees and its network predict, the last layer of the network, an
embedding of the leaves (`headstart.nn.leaves`), and the columns themselves, standardised by the source's rows. A column
that the other table lacks is missing, for which trees and network were trained; so is one whose numbers lie outside
those of the source, where neither knows anything. Columns that the source has never seen do not pass through it; the
method ``boosting`` reads them beside.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from headstart.errors import DataError, SourceError
from headstart.nn.boosting import Boosted
from headstart.nn.leaves import leaves, tables
from headstart.nn.tables import TableFeatures, coded
from headstart.nn.tabular import Sizes, Tabular
from headstart.sources import weights
from headstart.sources.base import Card, Source
from headstart.sources.schema_matching import INSIDE, Pair, Profile, inside, match, told
from headstart.types import Batch, Features, Json, Sample

if TYPE_CHECKING:
    from headstart.datasets.base import Dataset

TREES, ROWS = "trees.json", "rows.parquet"
MASKED = 0.1
"""Share of the cells that the network does not see in training."""

SHOWN = 3
"""Values that a note names."""


class Table(Source):
    """A network and trees over named columns.

    profiles: of the source's columns. reader: how they become numbers. trees: the boosted trees. names: column of the
    source -> the one of the rows that stands for it, or None where there is none. target: the column that was
    predicted. rows_at: the file of the rows that it learned from, where they are kept.
    """

    provider = "table"
    exact = True

    def __init__(
        self, network: nn.Module, card: Card, sizes: Sizes, profiles: Sequence[Profile], reader: TableFeatures,
        trees: Boosted, target: str, names: Mapping[str, str | None] | None = None, rows_at: Path | None = None,
    ) -> None:  # fmt: skip
        super().__init__(card, network)
        self.sizes, self.profiles, self.reader, self.trees = sizes, tuple(profiles), reader, trees
        self.target, self.rows_at = target, rows_at
        self.names = dict(names) if names is not None else {plan.name: plan.name for plan in reader.plans}
        self._starts = tables(trees)[0]
        self._levels = {
            plan.name: {level.strip().lower(): level for level in reversed(plan.levels)} for plan in reader.plans
        }

    # --- columns -------------------------------------------------------------------------------------------------

    def settled(self, dataset: Dataset, align: Mapping[str, str] | None = None) -> Table:
        """With the columns of these rows in the place of its own; notes say which, and what it knows nothing of.

        align: column of the source -> column of the rows, or empty for none, over what is found. Raises what
        `schema_matching.match` raises, DataError HS-DATA-017 where no column is known.
        """
        found = [Profile.of(dataset, column) for column in dataset.inputs]
        pairs = match(self.profiles, found, align)
        theirs = {profile.name: profile for profile in found}
        ours = {profile.name: profile for profile in self.profiles}
        away = [pair for pair in pairs if not pair.said and inside(ours[pair.source], theirs[pair.target]) < INSIDE]
        if len(pairs) == len(away):
            raise DataError(
                "HS-DATA-017", f"{dataset.origin}: no input column is one that {self.card.name} has learned from.",
                f"It knows: {', '.join(ours)}. Say which is which with --align \"SOURCE'S=YOURS\".",
            )  # fmt: skip
        other = self._copy()
        other.names = {**dict.fromkeys(ours), **{p.source: p.target for p in pairs if p not in away}}
        other.notes = (told(pairs, list(ours), list(theirs), away=away), *(
            note for pair in pairs if (note := _unseen(pair, self, theirs[pair.target])) is not None
        ))  # fmt: skip
        return other

    def _copy(self) -> Table:
        other = self.with_network(self.network)
        other.classifier, other.classes = self.classifier, self.classes
        assert isinstance(other, Table)
        other.rows_at = self.rows_at
        return other

    def with_network(self, network: nn.Module) -> Source:
        """See `Source.with_network`; without the rows, which belong to the source alone."""
        other = super().with_network(network)
        assert isinstance(other, Table)
        other.rows_at = None
        return other

    def rows(self) -> Mapping[str, Sequence[Any]] | None:
        """See `Source.rows`; the target is called as it was in the source."""
        if self.rows_at is None:
            return None
        own = _columns(self.rows_at, self.rows_at.stat().st_mtime_ns)
        return {self.names[plan.name] or plan.name: own[plan.name] for plan in self.reader.plans} | {
            self.target: own[self.target]
        }

    # --- features ------------------------------------------------------------------------------------------------

    def preprocess(self, samples: Sequence[Sample], train: bool = False) -> Batch:
        """Rows to ``numbers`` [B,K], ``codes`` [B,J], ``leaves`` [B,T] and ``columns`` [B,W].

        Raises DataError HS-DATA-015 where a row lacks a column, HS-DATA-020 for a value of another kind.
        """
        blocks = [self._coded(plan, samples) for plan in self.reader.plans]
        return self.batch(blocks, train)

    def batch(self, blocks: Sequence[np.ndarray], train: bool = False) -> Batch:
        """The same from columns that are coded already (`TableFeatures`)."""
        rows = len(blocks[0])
        matrix = np.hstack(blocks)
        columns = self.reader.standard(blocks)
        hidden = torch.rand(rows, len(blocks)).numpy() < MASKED if train else np.zeros((rows, len(blocks)), bool)
        seen = [np.where(lost[:, None], np.nan, block) for lost, block in zip(hidden.T, blocks)]
        number = [plan.kind != "category" for plan in self.reader.plans]
        mean, spread = self._scale()
        numbers = [block for block, is_number in zip(seen, number) if is_number]
        codes = [np.nan_to_num(block + 1, nan=0.0) for block, is_number in zip(seen, number) if not is_number]
        empty = np.zeros((rows, 0))
        return Batch(
            {
                "numbers": torch.from_numpy(((np.hstack([empty, *numbers]) - mean) / spread).astype(np.float32)),
                "codes": torch.from_numpy(np.hstack([empty, *codes]).astype(np.int64)),
                "leaves": torch.from_numpy(leaves(self.trees, matrix, self._starts)),
                "columns": torch.from_numpy(columns),
            }
        )

    def _coded(self, plan: Any, samples: Sequence[Sample]) -> np.ndarray:
        name = self.names[plan.name]
        if name is None:
            return np.full((len(samples), plan.columns), np.nan)
        if any(name not in sample for sample in samples):
            raise DataError("HS-DATA-015", f'a row lacks the column "{name}", which the model reads.')
        values = [sample[name] for sample in samples]
        if plan.kind == "category":
            known = self._levels[plan.name]
            values = [None if value is None else known.get(str(value).strip().lower()) for value in values]
        try:
            return coded(plan, values, "the data", range(1, len(values) + 1))
        except (TypeError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            wrong = next(value for value in values if value is not None and not _is(plan.kind, value))
            raise DataError(
                "HS-DATA-020", f'the column "{name}" holds {wrong!r:.60}; expected {plan.kind}.', "Correct the cell."
            ) from error

    def _scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and spread of the numbers, in the order of ``numbers``."""
        parts = self.reader.parts()
        at = [
            place
            for plan in self.reader.plans
            if plan.kind != "category"
            for place in range(parts[plan.name].start, parts[plan.name].stop - 1)  # the last says what is missing
        ]
        return self.reader.mean[at], self.reader.spread[at]

    def forward(self, batch: Batch) -> Features:
        """pooled [B,D]."""
        given = batch.inputs
        return Features(self.network(given["numbers"], given["codes"], given["leaves"], given["columns"]))

    def example(self) -> Batch:
        """Two rows of which nothing is known."""
        return self.batch([np.full((2, plan.columns), np.nan) for plan in self.reader.plans])

    def fresh_network(self) -> nn.Module:
        """See `Source.fresh_network`; the tables of the trees are empty, so that nothing of them is left."""
        return Tabular(self.sizes)

    # --- saving --------------------------------------------------------------------------------------------------

    def settings(self) -> Json:
        """Columns, and how they are read."""
        state, arrays = self.reader.state()
        return {
            "sizes": self.sizes.to_json(), "profiles": [asdict(each) for each in self.profiles], "features": state,
            "arrays": {name: value.tolist() for name, value in arrays.items()}, "target": self.target,
            "names": self.names, "trees": _digest(self.trees),
        }  # fmt: skip

    def save(self, folder: Path) -> None:
        """See `Source.save`; besides, ``trees.json`` and, where they are kept, ``rows.parquet``."""
        weights.write(folder, self)
        (folder / TREES).write_text(json.dumps(vars(self.trees)), encoding="utf-8")
        if self.rows_at is not None and self.rows_at != folder / ROWS:
            shutil.copyfile(self.rows_at, folder / ROWS)

    @classmethod
    def load(cls, folder: Path) -> Table:
        """See `Source.load`."""
        card, settings, tensors = weights.read(folder)
        sizes = Sizes.from_json(settings["sizes"])
        with torch.random.fork_rng(devices=[]):
            network = Tabular(sizes)
        arrays = {name: np.array(value) for name, value in settings["arrays"].items()}
        reader = TableFeatures.restore(settings["features"], arrays)
        found = json.loads((folder / TREES).read_text(encoding="utf-8"))
        trees = Boosted(**{**found, "texts": tuple(found["texts"]), "constants": tuple(found["constants"])})
        if _digest(trees) != settings["trees"]:
            raise SourceError(
                "HS-SOURCE-002", f"{folder / TREES} was changed: its digest is not the one that was saved.",
                "Copy the whole folder again.",
            )  # fmt: skip
        rows_at = folder / ROWS if (folder / ROWS).is_file() else None
        profiles = [Profile.from_json(each) for each in settings["profiles"]]
        filled = weights.fill(network, tensors, card.name)
        source = cls(filled, card, sizes, profiles, reader, trees, settings["target"], settings["names"], rows_at)
        source.classifier, source.classes = weights.read_classifier(folder)
        return source


@lru_cache(maxsize=1)
def _columns(path: Path, changed: int) -> dict[str, list[Any]]:
    """The columns of a Parquet file. changed: when it was."""
    import pyarrow.parquet as pq

    with path.open("rb") as stream:
        read = pq.ParquetFile(stream).read()
    return {name: read.column(name).to_pylist() for name in read.column_names}


def _digest(trees: Boosted) -> str:
    return hashlib.sha256(json.dumps(vars(trees)).encode()).hexdigest()


def _is(kind: str, value: Any) -> bool:
    try:
        return kind != "number" or float(value) == float(value)
    except (TypeError, ValueError):
        return False


def _unseen(pair: Pair, source: Table, theirs: Profile) -> str | None:
    """A line on the categories of a column that the source has never seen."""
    known = source._levels[pair.source]
    lost = [(level, share) for level, share in theirs.levels if level.strip().lower() not in known]
    if not lost:
        return None
    shown = ", ".join(f'"{level}"' for level, _ in lost[:SHOWN]) + (" and others" if len(lost) > SHOWN else "")
    return (
        f'Column "{pair.target}": {shown} {"is" if len(lost) == 1 else "are"} unknown to the source '
        f"({sum(share for _, share in lost):.0%} of the rows); it reads them as missing."
    )
