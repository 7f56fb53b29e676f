"""A column to the Arrow type that its kind promises; what is right already is not copied.

number: float or int. category: string, int or bool. labels, tokens, tags: lists (of strings). datetime: timestamp; a
month alone (2024-05) is its first day.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from headstart.datasets import infer
from headstart.datasets.base import Kind
from headstart.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


def column(values: pa.ChunkedArray, kind: Kind, name: str, origin: str, numbers: list[int]) -> pa.ChunkedArray:
    """The values as ``kind``. Raises DataError HS-DATA-020 naming the first row that cannot be one."""
    change: Callable[[pa.ChunkedArray], pa.ChunkedArray] = {
        "number": _number,
        "category": _category,
        "labels": _labels,
        "tokens": _words,
        "tags": _words,
        "text": _text,
        "image": _file,
        "audio": _file,
        "datetime": _datetime,
        "array": _array,
        "series": _series,
        "items": _items,
    }[kind]
    try:
        return change(values)
    except _Wrong as error:
        where = f", row {numbers[error.position]}" if error.position is not None else ""
        wanted = f"; expected {EXPECTED[kind]}" if error.position is not None and kind in EXPECTED else ""
        raise DataError(
            "HS-DATA-020",
            f'{origin}: the column "{name}" is not of kind {kind}{where}: {error}{wanted}.',
            "Mend the value or ask for another kind.",
        ) from error


EXPECTED = {
    "number": "a number", "datetime": "a date such as 2024-05-31, 2024-05 or 2024-05-31 12:00",
    "series": "numbers with commas between them",
}  # fmt: skip
MONTH = re.compile(r"\d{4}-\d\d")


class _Wrong(Exception):
    """A value that cannot be converted, and its position."""

    def __init__(self, reason: str, position: int | None = None) -> None:
        self.position = position
        super().__init__(reason)


def _number(values: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        return values
    if pa.types.is_boolean(values.type):
        return pc.cast(values, pa.int64())
    if pa.types.is_string(values.type):
        return _each(values, _float, pa.float64())
    raise _Wrong(f"it holds {values.type}")


def _float(value: str) -> float | None:
    from headstart.datasets.delimited import MISSING

    return None if value.strip() in MISSING else float(value)


def _category(values: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_floating(values.type):
        whole = pc.all(infer.is_whole(values)).as_py() is not False and (pc.max(pc.abs(values)).as_py() or 0) < 2**53
        return pc.cast(values, pa.int64() if whole else pa.string())
    if pa.types.is_timestamp(values.type):
        return pc.cast(values, pa.string())
    if pa.types.is_string(values.type) or pa.types.is_integer(values.type) or pa.types.is_boolean(values.type):
        return values
    raise _Wrong(f"it holds {values.type}")


def _labels(values: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    if pa.types.is_list(values.type):
        return values
    if not pa.types.is_string(values.type):
        raise _Wrong(f"it holds {values.type}; expected lists, or labels separated by | ; or ,")
    found = infer.sample(values)
    sign = infer.separator(found) or next((s for s in infer.SEPARATORS if any(s in value for value in found)), "|")
    return _each(values, lambda value: infer.split_labels(value, sign), pa.list_(pa.string()))


def _words(values: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_string(values.type):
        return _each(values, str.split, pa.list_(pa.string()))
    if not pa.types.is_list(values.type):
        raise _Wrong(f"it holds {values.type}; expected lists of words")
    if pa.types.is_string(values.type.value_type):
        return values
    if not pa.types.is_integer(values.type.value_type):
        raise _Wrong(f"it holds {values.type}; expected lists of words")
    return pc.cast(values, pa.list_(pa.string()))


def _text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_nested(values.type) or pa.types.is_binary(values.type):
        raise _Wrong(f"it holds {values.type}")
    return values if pa.types.is_string(values.type) else pc.cast(values, pa.string())


def _file(values: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    if pa.types.is_string(values.type) or pa.types.is_binary(values.type):
        return values
    raise _Wrong(f"it holds {values.type}; expected paths, or the bytes of files")


def _datetime(values: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_timestamp(values.type):
        return values
    if pa.types.is_string(values.type):
        return _each(values, _moment, pa.timestamp("us"))
    if pa.types.is_integer(values.type):  # seconds since 1970
        return pc.cast(pc.cast(values, pa.timestamp("s")), pa.timestamp("us"))
    raise _Wrong(f"it holds {values.type}; expected ISO dates such as 2024-05-31")


def _moment(value: str) -> Any:
    from datetime import UTC, datetime

    value = value.strip()
    moment = datetime.fromisoformat(f"{value}-01" if MONTH.fullmatch(value) else value)
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def _array(values: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    inner = values.type.value_type if pa.types.is_list(values.type) else None
    if inner is None or not (pa.types.is_integer(inner) or pa.types.is_floating(inner)):
        raise _Wrong(f"it holds {values.type}; expected lists of numbers")
    return values


def _series(values: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_string(values.type):
        return _each(values, _numbers, pa.list_(pa.float64()))
    return pc.cast(_array(values), pa.list_(pa.float64()))


def _items(values: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_list(values.type):
        raise _Wrong(f"it holds {values.type}; expected lists of identifiers, or the roles user and item")
    return pc.cast(values, pa.list_(pa.string()))


def _numbers(value: str) -> list[float | None]:
    """The numbers of ``1, 2.5, , 4`` or ``[1 2.5 nan 4]``; None for missing ones."""
    bare = value.strip().strip("[]()").strip()
    return [_float(part) for part in (bare.split(",") if "," in bare else bare.split())]


def _each(values: pa.ChunkedArray, change: Callable[[str], Any], kind: pa.DataType) -> pa.ChunkedArray:
    """Every string that is present, changed by a function whose ValueError names the wrong row."""
    import pyarrow as pa

    chunks, position = [], 0
    for chunk in values.chunks:
        changed = []
        for i, value in enumerate(chunk.to_pylist()):
            try:
                changed.append(None if value is None else change(value))
            except ValueError:
                raise _Wrong(f'"{value[:60]}"', position + i) from None
        chunks.append(pa.array(changed, kind))
        position += len(chunk)
    return pa.chunked_array(chunks, kind)
