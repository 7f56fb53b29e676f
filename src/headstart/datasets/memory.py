"""Rows that are in memory already: a pandas DataFrame, a dict of lists, an Arrow table or a ``datasets`` object."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headstart.datasets import clip, plain, saved
from headstart.datasets.delimited import refuse_duplicates
from headstart.datasets.parsed import Parsed
from headstart.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


def parse(value: Any) -> Parsed:
    """The rows of an object. Raises DataError HS-DATA-005 (columns of unequal length), -011 (unknown type), -016."""
    import pyarrow as pa

    if hasattr(value, "save_to_disk"):
        return saved.from_object(value)
    if isinstance(value, pa.Table):
        columns = {name: value.column(name) for name in value.column_names}
        refuse_duplicates("the table", value.column_names)
    elif hasattr(value, "iloc") and hasattr(value, "columns"):
        refuse_duplicates("the data frame", [str(name) for name in value.columns])
        columns = {str(name): _column(value[name]) for name in value.columns}
    elif isinstance(value, Mapping):
        columns = {str(name): _column(list(items)) for name, items in value.items()}
    else:
        raise DataError(
            "HS-DATA-011",
            f"cannot read a {type(value).__name__}.",
            "Give a path, a pandas DataFrame, a dict of lists or a datasets.Dataset.",
        )
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError("HS-DATA-005", f"the columns have different lengths: {lengths}.", "Make them equally long.")
    table = plain.table(pa.table(columns))
    return Parsed(table, list(range(1, len(table) + 1)))


def _column(values: Any) -> pa.Array | pa.ChunkedArray:
    """An Arrow array; values of mixed types become strings, vectors become lists, numbers with a rate become sounds."""
    import numpy as np
    import pyarrow as pa

    if isinstance(values, list) and any(clip.numbers(value) is not None for value in values):
        values = [_sound(row, value) for row, value in enumerate(values, start=1)]
    if isinstance(values, list) and any(isinstance(value, np.ndarray) for value in values):
        values = [value.tolist() if isinstance(value, np.ndarray) else value for value in values]
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return pa.array([None if value is None or value != value else _text(value) for value in values], pa.string())


def _sound(row: int, value: Any) -> Any:
    """The bytes of a sound file for numbers with a rate; other values as they are."""
    given = clip.numbers(value)
    try:
        return value if given is None else clip.wav(*given)
    except ValueError as error:
        raise DataError("HS-DATA-020", f"row {row}: {error}.", "Give [n] or [n,C] numbers and their rate.") from error


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, default=str) if isinstance(value, list | dict | tuple) else str(value)
