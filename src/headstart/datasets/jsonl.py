"""JSON Lines: one object a line. A line that is no object costs only itself.

Two passes: the first learns the columns and their types from all lines, the second writes them batch by batch. A
column that mixes types becomes strings (JSON for what was none). Objects with ``text`` and ``spans`` become words
with one tag each; see `spans.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.datasets import encoding, spans, store
from headstart.datasets.base import Reject
from headstart.datasets.parsed import Options, Parsed
from headstart.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".jsonl", ".ndjson", ".jsonlines")
ROWS = 8192  # rows a batch


def matches(path: Path) -> bool:
    """A file called ``.jsonl`` or ``.ndjson``, perhaps with ``.gz`` behind it."""
    return path.is_file() and path.name.lower().removesuffix(".gz").endswith(SUFFIXES)


def parse(path: Path, options: Options) -> Parsed:
    """The rows of a JSON Lines file. Raises DataError HS-DATA-002, -004, -013."""
    words = "tokens" in options.inputs
    key = store.digest("jsonl", [path], [options.strings, words])
    table, rejects, numbers = store.keep(key, lambda rejects: _batches(path, options, words, rejects))
    parsed = Parsed(table, numbers, rejects, root=path.parent)
    if _is_list(table, "tokens") and _is_list(table, "tags"):
        parsed.target, parsed.inputs, parsed.kinds = "tags", ("tokens",), {"tokens": "tokens", "tags": "tags"}
    return parsed


def _is_list(table: pa.Table, name: str) -> bool:
    import pyarrow as pa

    return name in table.column_names and bool(pa.types.is_list(table.schema.field(name).type))


def _batches(path: Path, options: Options, words: bool, rejects: list[Reject]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    codec = encoding.detect(path)
    kinds: dict[str, set[str]] = {}
    count = 0
    for count, value in enumerate(_lines(path, codec), 1):
        if isinstance(value, str):
            rejects.append(Reject(str(path), count, value))
        else:
            for name, item in value.items():
                kinds.setdefault(name, set()).add(_kind(item))
    if not count:
        raise DataError("HS-DATA-002", f"{path}: the file is empty.", "It needs one JSON object a line.")
    types = {name: pa.string() if name in options.strings else _type(found) for name, found in kinds.items()}
    spanned = "text" in kinds and "spans" in kinds and kinds["spans"] <= {"objects", "empty", "null"}
    tokenised = words and "text" in kinds and "tokens" not in kinds
    if spanned or tokenised:
        types.pop("spans", None)
        types["tokens"] = pa.list_(pa.string())
        if spanned:
            types["tags"] = pa.list_(pa.string())
    if not types:
        return
    rows: list[dict[str, Any]] = []
    for number, value in enumerate(_lines(path, codec), 1):
        if isinstance(value, str):
            continue
        if spanned or tokenised:
            reason = spans.add_words(value)
            if reason:
                rejects.append(Reject(str(path), number, reason))
                continue
        rows.append(value)
        if len(rows) == ROWS:
            yield _batch(rows, types)
            rows = []
    if rows:
        yield _batch(rows, types)


def _lines(path: Path, codec: str) -> Iterator[dict[str, Any] | str]:
    """Each line that is not blank: its object, or the reason why it is none."""
    with encoding.open_text(path, codec) as text:
        for number, line in enumerate(text, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                yield f"line {number} is not JSON ({str(error).split(':')[0]})"
                continue
            yield value if isinstance(value, dict) else f"line {number} is not a JSON object"


def _kind(value: Any) -> str:
    """A word for the type of one JSON value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if -(2**63) <= value < 2**63 else "str"
    if isinstance(value, float):
        return "float"
    if isinstance(value, list):
        inner = {_kind(item) for item in value} - {"null"}
        if not value:
            return "empty"
        if inner == {"str"}:
            return "words"
        if inner and inner <= {"int", "float"}:
            return "ints" if inner == {"int"} else "floats"
        return "objects" if inner == {"dict"} else "other"
    return "dict" if isinstance(value, dict) else "str"


def _type(kinds: set[str]) -> pa.DataType:
    import pyarrow as pa

    present = kinds - {"null"}
    table = [
        ({"bool"}, pa.bool_()),
        ({"int"}, pa.int64()),
        ({"int", "float"}, pa.float64()),
        ({"words", "empty"}, pa.list_(pa.string())),
        ({"ints", "empty"}, pa.list_(pa.int64())),
        ({"ints", "floats", "empty"}, pa.list_(pa.float64())),
    ]
    return next((type_ for allowed, type_ in table if present and present <= allowed), pa.string())


def _batch(rows: list[dict[str, Any]], types: dict[str, pa.DataType]) -> pa.RecordBatch:
    import pyarrow as pa

    columns = []
    for name, type_ in types.items():
        values = [row.get(name) for row in rows]
        if pa.types.is_string(type_):
            values = [v if v is None or isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values]
            values = [v.encode("utf-8", "replace").decode() if v else None for v in values]  # lone surrogates
        elif pa.types.is_float64(type_):
            values = [None if v is None or v != v else float(v) for v in values]
        columns.append(pa.array(values, type_))
    return pa.RecordBatch.from_arrays(columns, names=list(types))
