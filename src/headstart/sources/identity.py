"""Numbers as they are: table rows and vectors pass through, no knowledge is added.

For inputs that are features already. A row is a vector, or a table row whose numeric columns make one; which columns
are numeric is learned from the first batch and kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from headstart.errors import DataError, SourceError
from headstart.sources import weights
from headstart.sources.base import Card, Source
from headstart.types import Batch, Features, Json, Sample

if TYPE_CHECKING:
    from headstart.datasets.base import Dataset


class Identity(Source):
    """The identity on numeric columns. columns: (name, length) of each, in order; None until the first batch.

    A missing number counts as 0.
    """

    provider = "identity"

    def __init__(self, columns: Sequence[tuple[str, int]] | None = None) -> None:
        card = Card(
            name="identity",
            modality="table",
            architecture="identity",
            width=0,
            parameters=0,
            origin="none",
            licence="none needed",
            digest=weights.digest({}),
            description="numeric columns as they are; no knowledge",
        )
        super().__init__(card, nn.Identity())
        self.columns: list[tuple[str, int]] | None = None
        if columns is not None:
            self._fix([(str(name), int(length)) for name, length in columns])

    def preprocess(self, samples: Sequence[Sample], train: bool = False) -> Batch:
        """Rows or vectors to ``values`` [B,D] float32.

        Raises SourceError HS-SOURCE-005 where no column is numeric, DataError HS-DATA-015 where a row lacks one,
        DataError HS-DATA-020 for a value that is not a number.
        """
        if self.columns is None:
            self._fix(_numeric(samples))
        assert self.columns is not None
        return Batch({"values": torch.from_numpy(np.stack([_vector(sample, self.columns) for sample in samples]))})

    def forward(self, batch: Batch) -> Features:
        """pooled [B,D] is the input."""
        return Features(self.network(batch.inputs["values"]))

    def example(self) -> Batch:
        """Two rows of zeros."""
        return Batch({"values": torch.zeros(2, max(self.card.width, 1))})

    def fresh_network(self) -> nn.Module:
        """See `Source.fresh_network`."""
        return nn.Identity()

    def settled(self, dataset: Dataset, align: Mapping[str, str] | None = None) -> Identity:
        """With the numeric columns of these rows; the source itself where its columns are fixed already."""
        self.refuse_names(align)
        return self if self.columns is not None else Identity(_numeric(dataset.samples()))

    def settings(self) -> Json:
        """The columns."""
        return {"columns": [list(column) for column in self.columns] if self.columns is not None else None}

    def save(self, folder: Path) -> None:
        """See `Source.save`."""
        weights.write(folder, self)

    @classmethod
    def load(cls, folder: Path) -> Identity:
        """See `Source.load`."""
        _, settings, tensors = weights.read(folder)
        weights.fill(nn.Identity(), tensors, "identity")
        return cls(settings["columns"])

    def _fix(self, columns: list[tuple[str, int]]) -> None:
        self.columns = columns
        self.card = replace(self.card, width=sum(length for _, length in columns))


def _numeric(samples: Sequence[Sample]) -> list[tuple[str, int]]:
    """The numeric columns of these rows with their lengths; a vector is one column without a name."""
    rows = [sample if isinstance(sample, dict) else {"": sample} for sample in samples]
    columns = []
    for name in rows[0] if rows else ():
        values = [row.get(name) for row in rows]
        given = [value for value in values if value is not None]
        if given and all(_is_numeric(value) for value in given):
            columns.append((str(name), int(np.size(given[0]))))
    if not columns:
        raise SourceError(
            "HS-SOURCE-005",
            "the source identity needs numbers, and no input column is numeric.",
            "Give numeric columns or vectors, or choose a source for text or images.",
        )
    return columns


def _is_numeric(value: Any) -> bool:
    if isinstance(value, str | bytes | dict):
        return False
    array = np.asarray(value)
    return array.dtype.kind in "iufb" and array.ndim <= 1


def _vector(sample: Sample, columns: list[tuple[str, int]]) -> np.ndarray:
    """One row as float32 [D]."""
    row = sample if isinstance(sample, dict) else {"": sample}
    parts = []
    for name, length in columns:
        if name not in row:
            raise DataError("HS-DATA-015", f'a row lacks the column "{name}", which the model reads.')
        value = row[name]
        if value is None:
            parts.append(np.zeros(length, dtype=np.float32))
            continue
        if not _is_numeric(value) or np.size(value) != length:
            wanted = "a number" if length == 1 else f"{length} numbers"
            raise DataError("HS-DATA-020", f'the column "{name}" holds {value!r:.60}; expected {wanted}.')
        part = np.asarray(value, dtype=np.float32).reshape(-1)
        parts.append(np.where(np.isnan(part), np.float32(0), part))
    return np.concatenate(parts).astype(np.float32)
