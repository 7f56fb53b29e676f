"""Parquet files (``.parquet``, ``.pq``, ``.parquet.brotli``, ...): types are kept, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.datasets import plain, store
from headstart.datasets.base import Reject
from headstart.datasets.delimited import refuse_duplicates
from headstart.datasets.parsed import Options, Parsed
from headstart.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

PACKED = (".brotli", ".br", ".gz", ".gzip", ".snappy", ".zst", ".zstd", ".lz4")


def matches(path: Path) -> bool:
    """A file called ``.parquet`` or ``.pq``, perhaps with the name of its inner compression behind it."""
    name = path.name.lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    return path.is_file() and name.endswith((".parquet", ".pq"))


def parse(path: Path, options: Options) -> Parsed:
    """The rows of a Parquet file. Raises DataError HS-DATA-002, -013, -016."""
    key = store.digest("parquet", [path])
    table, rejects, numbers = store.keep(key, lambda rejects: _batches(path, rejects))
    return Parsed(table, numbers, rejects, root=path.parent)


def _batches(path: Path, rejects: list[Reject]) -> Iterator[pa.RecordBatch]:
    with _opened(path) as file:
        for batch in file.iter_batches(batch_size=16384):
            yield plain.batch(batch)


def tables(path: Path, rows: int, size: int) -> Iterator[pa.Table]:
    """The rows a part at a time, straight from the file: at most ``rows``, and about ``size`` bytes at most.

    Raises DataError HS-DATA-002, -013, -016.
    """
    import pyarrow as pa

    with _opened(path) as file:
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        wide = sum(group.total_byte_size for group in groups) / max(file.metadata.num_rows, 1)
        for batch in file.iter_batches(batch_size=max(1, min(rows, int(size / max(wide, 1.0))))):
            yield pa.Table.from_batches([plain.batch(batch)])


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The ``pyarrow.parquet.ParquetFile``; what goes wrong with it in the block becomes a DataError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.stat().st_size:
        raise DataError("HS-DATA-002", f"{path}: the file is empty.", "It needs columns and rows.")
    try:
        with path.open("rb") as stream:
            file = pq.ParquetFile(stream)
            refuse_duplicates(path, file.schema_arrow.names)
            yield file
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = str(error).splitlines()[0][:100]
        raise DataError(
            "HS-DATA-013", f"{path}: is damaged or not a Parquet file ({reason}).", "Copy or write it again."
        ) from error
