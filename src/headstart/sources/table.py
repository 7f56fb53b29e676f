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
from safetensors.numpy import load_file, save_file
from torch import nn

from headstart.errors import DataError, SourceError
from headstart.nn.boosting import Boosted
from headstart.nn.leaves import leaves, tables
from headstart.nn.row_hashes import TRIES, among, cells, repeated, tries
from headstart.nn.row_hashes import rows as row_hashes
from headstart.nn.tables import MOST_LEVELS, TableFeatures, coded
from headstart.nn.tabular import Sizes, Tabular
from headstart.sources import weights
from headstart.sources.base import Card, Seen, Source
from headstart.sources.schema_matching import INSIDE, Pair, Profile, inside, match, told
from headstart.types import Batch, Features, Json, Sample

if TYPE_CHECKING:
    from headstart.datasets.base import Dataset

TREES, ROWS, HASHES = "trees.json", "rows.parquet", "hashes.safetensors"
MASKED = 0.1
"""Share of the cells that the network does not see in training."""

SHOWN = 3
"""Values that a note names."""


class Table(Source):
    """A network and trees over named columns.

    profiles: of the source's columns. reader: how they become numbers. trees: the boosted trees. names: column of the
    source -> the one of the rows that stands for it, or None where there is none. target: the column that was
    predicted. rows_at: the file of the rows that it learned from, where they are kept. hashes: of those rows, uint64
    [M] (`headstart.nn.row_hashes`), or None.
    """

    provider = "table"
    exact = True

    def __init__(
        self, network: nn.Module, card: Card, sizes: Sizes, profiles: Sequence[Profile], reader: TableFeatures,
        trees: Boosted, target: str, names: Mapping[str, str | None] | None = None, rows_at: Path | None = None,
        hashes: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        super().__init__(card, network)
        self.sizes, self.profiles, self.reader, self.trees = sizes, tuple(profiles), reader, trees
        self.target, self.rows_at, self.hashes = target, rows_at, hashes
        self.names = dict(names) if names is not None else {plan.name: plan.name for plan in reader.plans}
        self.pairs = {ours: theirs for ours, theirs in self.names.items() if theirs is not None}
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
        other.pairs = {p.source: p.target for p in pairs}  # those that it is not shown tell rows apart all the same
        other.notes = (told(pairs, list(ours), list(theirs), away=away), *(
            note for pair in pairs if (note := _unseen(pair, self, theirs[pair.target])) is not None
        ), *other._untold())  # fmt: skip
        return other

    def _copy(self) -> Table:
        other = self.with_network(self.network)
        other.classifier, other.classes = self.classifier, self.classes
        assert isinstance(other, Table)
        other.rows_at, other.hashes = self.rows_at, self.hashes
        return other

    def with_network(self, network: nn.Module) -> Source:
        """See `Source.with_network`; without the rows and their hashes, which belong to the source alone."""
        other = super().with_network(network)
        assert isinstance(other, Table)
        other.rows_at = other.hashes = None
        return other

    def rows(self) -> Mapping[str, Sequence[Any]] | None:
        """See `Source.rows`; the target is called as it was in the source."""
        if self.rows_at is None:
            return None
        own = _columns(self.rows_at, self.rows_at.stat().st_mtime_ns)
        return {self.names[plan.name] or plan.name: own[plan.name] for plan in self.reader.plans} | {
            self.target: own[self.target]
        }

    def seen(self, dataset: Dataset) -> Seen | None:
        """See `Source.seen`: by the columns that both have where rows are kept; else by the hashes of whole rows, with
        every category that a column which is missing here may hold."""
        kinds = {profile.name: profile.kind for profile in self.profiles}
        here = [cells(ours, kinds[ours], dataset.values(theirs)) for ours, theirs in self.pairs.items()]
        missing = [name for name in kinds if name not in self.pairs]
        if self.rows_at is not None and (missing or self.hashes is None):
            own = _columns(self.rows_at, self.rows_at.stat().st_mtime_ns)
            known = row_hashes([cells(ours, kinds[ours], own[ours]) for ours in self.pairs])
            return Seen(among(known, here), row_hashes(here), len(known), repeated(known))
        if self._untold() or self.hashes is None:
            return None
        tried = [self._possible(name) for name in missing]
        return Seen(among(self.hashes, here, tried), row_hashes(here), len(self.hashes), repeated(self.hashes))

    def _possible(self, name: str) -> np.ndarray:
        """The cells of every value that a column of categories may hold."""
        plan = next(plan for plan in self.reader.plans if plan.name == name)
        return np.unique(cells(name, plan.kind, [None, *plan.levels]))

    def _untold(self) -> list[str]:
        """A line where it cannot be told which rows it has learned from."""
        if self.rows_at is not None:
            return []
        plans = [plan for plan in self.reader.plans if plan.name not in self.pairs]
        many = [plan.name for plan in plans if plan.kind != "category" or len(plan.levels) >= MOST_LEVELS]
        if not many and tries([self._possible(plan.name) for plan in plans]) > TRIES:
            many = [plan.name for plan in plans]
        if self.hashes is not None and not many:
            return []
        lacks = f"it keeps no rows, and {', '.join(many)} is not here" if many else "it knows nothing of its rows"
        return [f"Rows: whether {self.card.name} has learned from some of these cannot be told: {lacks}."]

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
        """See `Source.save`; besides, ``trees.json``, ``hashes.safetensors`` and, of kept rows, ``rows.parquet``."""
        weights.write(folder, self)
        (folder / TREES).write_text(json.dumps(vars(self.trees)), encoding="utf-8")
        if self.rows_at is not None and self.rows_at != folder / ROWS:
            shutil.copyfile(self.rows_at, folder / ROWS)
        if self.hashes is not None:
            save_file({"rows": self.hashes}, folder / HASHES)

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
        hashes = load_file(folder / HASHES)["rows"] if (folder / HASHES).is_file() else None
        source = cls(
            filled, card, sizes, profiles, reader, trees, settings["target"], settings["names"], rows_at, hashes
        )
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
