"""Rows of any size, a part at a time: what is larger than memory becomes one `Dataset` after another.

stream("shards/")  stream("shards/*.parquet")  stream("big.parquet")    Parquet: about 65 000 rows a part
stream("logs/*.csv")                                                    other tables: a part a file
stream("photos/")  stream("photos/**/*.jpg")  stream("calls/*.wav")     one part, by `read`
stream("reviews.csv")                                                   one part, memory-mapped by `read`

The rows need no target. The first part decides which columns are the input and what they hold.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.datasets import parquet, plain, read
from headstart.datasets.base import IMAGE_SUFFIXES, Dataset, Kind
from headstart.datasets.clip import SOUND_SUFFIXES
from headstart.datasets.parsed import Options, Parsed
from headstart.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

ROWS, BYTES = 1 << 16, 256 << 20  # of a part: the lesser of both
_SAVED = ("state.json", "dataset_dict.json")


def stream(
    data: Any,
    *,
    input: str | Sequence[str] | None = None,
    kinds: Mapping[str, str] | None = None,
    limit: int | None = None,
    passing: Path | None = None,
) -> Iterator[Dataset]:
    """Datasets whose rows, one after another, are those of ``data``: a path, a pattern, or an object for `read`.

    input, kinds, limit: as for `read`. passing: a file that is no input although it lies among them.
    Raises what `read` raises, and DataError HS-DATA-015 or -020 for a file that does not fit the first.
    """
    wanted = _Wanted([input] if isinstance(input, str) else list(input or ()), dict(kinds or {}), limit)
    files = _files(data, passing) if isinstance(data, str | os.PathLike) else None
    if files is None:
        yield wanted.read(data)
    elif kind := _files_of(files):
        wanted.kinds.setdefault(kind, kind)
        yield wanted.read({kind: [str(file) for file in files]})
    else:
        for file in files:
            parts = wanted.parquet(file) if parquet.matches(file) else iter([wanted.read(file)])
            for part in parts:
                yield wanted.checked(part)
                if wanted.limit == 0:
                    return


def count(data: Any, limit: int | None = None) -> int:
    """The number of rows that `stream` will give, where Parquet files say so beforehand; else 0."""
    import pyarrow.parquet as pq

    files = _files(data, None) if isinstance(data, str | os.PathLike) else None
    if not files or not all(parquet.matches(file) for file in files):
        return 0
    try:
        rows = sum(int(pq.read_metadata(file).num_rows) for file in files)
    except (OSError, ValueError):
        return 0  # the reader will say what is wrong
    return rows if limit is None else min(rows, limit)


def _files(data: str | os.PathLike[str], passing: Path | None) -> list[Path] | None:
    """The files of a pattern or of a folder of tables, a Parquet file alone; None for what `read` takes as a whole."""
    path = Path(data).expanduser()
    if path.is_file():
        return [path] if parquet.matches(path) else None
    if path.is_dir():
        if any((path / name).is_file() for name in _SAVED):
            return None
        if any(file.suffix.lower() in IMAGE_SUFFIXES | SOUND_SUFFIXES for file in path.rglob("*")):
            return None
        found = [file for file in sorted(path.rglob("*")) if _is_visible(file, path) and _is_table(file)]
        alone = len(found) < 2 and not any(map(parquet.matches, found))
        return None if alone else _others(found, passing)
    if not path.exists() and any(mark in str(path) for mark in "*?["):
        files = sorted(Path(name) for name in glob.glob(str(path), recursive=True))  # noqa: PTH207 - may be absolute
        files = _others([file for file in files if file.is_file()], passing)
        if not files:
            raise DataError("HS-DATA-001", f"{path}: no file fits the pattern.", "Check its folder and its suffix.")
        odd = next((file for file in files if not _is_table(file)), None)
        if not _files_of(files) and odd is not None:
            raise DataError(
                "HS-DATA-011",
                f"{path}: {odd} is no table like the others.",
                "A pattern takes pictures, sounds, or tables of one kind alone.",
            )
        return files
    return None


def _files_of(files: Sequence[Path]) -> Kind | None:
    """``image`` or ``audio`` where all files are such; else None."""
    known: dict[Kind, frozenset[str]] = {"image": IMAGE_SUFFIXES, "audio": SOUND_SUFFIXES}
    return next((kind for kind, endings in known.items() if all(f.suffix.lower() in endings for f in files)), None)


def _is_table(path: Path) -> bool:
    return path.is_file() and (parquet.matches(path) or path.name.lower().endswith(read.TABLES))


def _is_visible(path: Path, root: Path) -> bool:
    return not any(part.startswith((".", "_")) for part in path.relative_to(root).parts)


def _others(files: list[Path], passing: Path | None) -> list[Path]:
    return [file for file in files if passing is None or file.resolve() != passing.resolve()]


@dataclass
class _Wanted:
    """What the caller asked for, and what the first part has settled for the others."""

    inputs: list[str]
    kinds: dict[str, str]
    limit: int | None
    names: list[str] = field(default_factory=list)
    origin: str = ""

    def read(self, data: Any) -> Dataset:
        """All rows of one file or object."""
        dataset = read.read(
            data,
            input=self.inputs or None,
            kinds=self.kinds,
            limit=self.limit,
            for_prediction=True,
        )
        return self._settle(dataset)

    def parquet(self, path: Path) -> Iterator[Dataset]:
        """The rows of a Parquet file, some row groups at a time, without a copy on the disk."""
        number = 0
        for table in parquet.tables(path, ROWS, BYTES):
            numbers = list(range(number + 1, number + len(table) + 1))
            number += len(table)
            yield self._settle(self._typed(table, numbers, path))
            if self.limit == 0:
                return

    def _typed(self, table: pa.Table, numbers: list[int], path: Path) -> Dataset:
        """One part with roles and kinds; of the first, what is found without them."""

        def typed(roles: Mapping[str, str]) -> Dataset:
            rows = Parsed(plain.table(table), list(numbers), root=path.parent)
            options = Options(self.kinds, tuple(self.inputs), for_prediction=True)
            return read.typed(rows, str(path), None, options, roles, self.limit)

        if not self.names:
            self._adopt(typed({}))
        return typed({name: "unused" for name in table.column_names if name not in self.inputs})

    def _adopt(self, dataset: Dataset) -> None:
        self.names, self.origin = list(dataset.table.column_names), dataset.origin
        self.inputs = [column.name for column in dataset.inputs]
        self.kinds |= {column.name: column.kind for column in dataset.inputs}

    def _settle(self, dataset: Dataset) -> Dataset:
        """Note the columns of the first part, and the rows that are still wanted."""
        known = [column.name for column in dataset.columns]
        for name in self.kinds:
            if name not in known:
                raise UsageError("HS-USAGE-001", f'there is no column "{name}" for a kind.', did_you_mean(name, known))
        if not self.names:
            self._adopt(dataset)
        if self.limit is not None:
            self.limit -= len(dataset) + len(dataset.rejects)
        return dataset

    def checked(self, dataset: Dataset) -> Dataset:
        """The part, if it has the columns of the first. Raises DataError HS-DATA-015."""
        names = dataset.table.column_names
        if lacking := [name for name in self.names if name not in names]:
            raise DataError(
                "HS-DATA-015",
                f'{dataset.origin}: lacks the column "{lacking[0]}", which {self.origin} has.',
                "All files need the same columns.",
            )
        return dataset
