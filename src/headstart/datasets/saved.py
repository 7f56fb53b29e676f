"""A folder written by ``datasets``' ``save_to_disk``, one dataset or a dictionary of splits; also such objects.

Class labels become their names, images their bytes or paths; other columns stay memory-mapped where they lie.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.datasets import plain
from headstart.datasets.folder import SPLITS
from headstart.datasets.parsed import Options, Parsed
from headstart.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


def matches(path: Path) -> bool:
    """A folder with the files that ``save_to_disk`` leaves."""
    return path.is_dir() and any((path / name).is_file() for name in ("state.json", "dataset_dict.json"))


def parse(path: Path, options: Options) -> Parsed:
    """The rows of a saved dataset. Raises DataError HS-DATA-013 where its files are damaged or missing."""
    import pyarrow as pa
    from datasets import load_from_disk

    try:
        return from_object(load_from_disk(str(path)), path)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        if isinstance(error, DataError):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise DataError(
            "HS-DATA-013", f"{path}: the saved dataset is damaged ({reason}).", "Save it again with save_to_disk."
        ) from error


def from_object(value: Any, root: Path | None = None) -> Parsed:
    """The rows of a ``datasets.Dataset`` or ``DatasetDict`` (whose keys become the column ``split``)."""
    import pyarrow as pa

    if not isinstance(value, dict):
        table = _plain(value)
        return Parsed(table, list(range(1, len(table) + 1)), root=root)
    tables = []
    for name, part in value.items():
        table = _plain(part)
        if "split" not in table.column_names:
            split = pa.repeat(SPLITS.get(name.lower(), name), len(table))
            table = table.append_column("split", split)
        tables.append(table)
    table = pa.concat_tables(tables, promote_options="default")
    return Parsed(table, list(range(1, len(table) + 1)), root=root)


def _plain(dataset: Any) -> pa.Table:
    """The Arrow table behind a ``datasets.Dataset``, labels by name and types as in `plain.py`."""
    from datasets import ClassLabel

    if dataset._indices is not None:
        dataset = dataset.flatten_indices(keep_in_memory=True)
    table = dataset.data.table
    for name, feature in dataset.features.items():
        inner = getattr(feature, "feature", None)
        position = table.column_names.index(name)
        if isinstance(feature, ClassLabel):
            table = table.set_column(position, name, _named(table.column(name), feature.names))
        elif isinstance(inner, ClassLabel):
            table = table.set_column(position, name, _named_lists(table.column(name), inner.names))
    return plain.table(table.replace_schema_metadata(None))


def _named(values: pa.ChunkedArray, names: list[str]) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    known = pc.if_else(pc.greater_equal(values, 0), values, pa.scalar(None, values.type))  # -1: no label
    return pc.take(pa.array(names, pa.string()), known)


def _named_lists(values: pa.ChunkedArray, names: list[str]) -> pa.ChunkedArray:
    import pyarrow as pa

    lists = [None if row is None else [names[i] for i in row] for row in values.to_pylist()]
    return pa.chunked_array([pa.array(lists, pa.list_(pa.string()))])
