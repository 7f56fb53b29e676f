"""Parquet files (``.parquet``, ``.pq``, ``.parquet.brotli``, ...): types are kept, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

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
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.stat().st_size:
        raise DataError("HS-DATA-002", f"{path}: the file is empty.", "It needs columns and rows.")
    try:
        with path.open("rb") as stream:
            file = pq.ParquetFile(stream)
            refuse_duplicates(path, file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=16384):
                yield plain.batch(batch)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = str(error).splitlines()[0][:100]
        raise DataError(
            "HS-DATA-013", f"{path}: is damaged or not a Parquet file ({reason}).", "Copy or write it again."
        ) from error
