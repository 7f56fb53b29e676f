"""What a column holds, from its Arrow type and a sample of its values.

Numbers are ``number``, true/false ``category``, timestamps ``datetime``, lists of numbers ``array``, lists of words
``tokens`` (where a column of tags has the same lengths), ``tags`` or ``labels``, encoded pictures ``image``, encoded
sounds ``audio``. Strings are, in this order:

- ``image``, ``audio``: nine in ten end like an image or a sound file and at least one of them exists;
- ``datetime``: all are ISO dates or times;
- ``text``: more than three words on average;
- ``category``: few distinct values (at most 20, or one in twenty), each seen twice or more on average;
- ``category``: single words that are mostly all different and hold digits, which are identifiers;
- ``text``: more than half of the values distinct;
- ``category`` otherwise.

A target is a ``number`` if it is decimal or a whole number with more than 20 distinct values (or mostly distinct
ones), ``labels`` if it is a list or separated labels (``drama|comedy``), and a ``category`` otherwise. A decimal
target that holds only whole numbers because some values are missing is made whole again first.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.datasets import clip
from headstart.datasets.base import IMAGE_SUFFIXES, Kind

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE = 2000
FEW = 20
SEPARATORS = ("|", ";", ",")
ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?$")
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")


def sample(values: pa.ChunkedArray, size: int = SAMPLE) -> list[Any]:
    """At most ``size`` of the values that are present, evenly spaced over the rows."""
    import pyarrow as pa

    if len(values) > 4 * size:
        values = values.take(pa.array(range(0, len(values), len(values) // (4 * size)), pa.int64()))
    present = values.drop_null()
    step = max(1, len(present) // size)
    return list(present.take(pa.array(range(0, len(present), step), pa.int64())[:size]).to_pylist())


def column_kind(name: str, values: pa.ChunkedArray, table: pa.Table, root: Path | None) -> Kind | None:
    """The kind of one column, or None where no model can use it (nested values, unknown bytes)."""
    import pyarrow as pa

    kind, is_ = values.type, pa.types
    if is_.is_boolean(kind):
        return "category"
    if is_.is_integer(kind) or is_.is_floating(kind):
        return "number"
    if is_.is_timestamp(kind):
        return "datetime"
    if is_.is_list(kind):
        return _list_kind(name, values, table)
    if is_.is_binary(kind):
        found = sample(values, 20)
        if found and all(clip.is_sound(value) for value in found):
            return "audio"
        return "image" if found and all(value.startswith(_PICTURES) for value in found) else None
    return string_kind(sample(values), root) if is_.is_string(kind) else None


def _list_kind(name: str, values: pa.ChunkedArray, table: pa.Table) -> Kind | None:
    import pyarrow as pa

    inner = values.type.value_type
    partner = _partner(name, values, table)
    if pa.types.is_string(inner):
        if partner is None:
            return "tokens" if name.lower() in ("tokens", "words") else "labels"
        mine, other = _distinct(values), _distinct(table.column(partner))
        first = table.column_names.index(name) < table.column_names.index(partner)
        return "tokens" if (mine > other or (mine == other and first)) else "tags"
    if pa.types.is_integer(inner) and partner is not None:
        return "tags"
    return "array" if pa.types.is_integer(inner) or pa.types.is_floating(inner) else None


def _partner(name: str, values: pa.ChunkedArray, table: pa.Table) -> str | None:
    """Another list column that has as many items in (nearly) every row, one of the two being words."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = pc.list_value_length(values)
    if not len(values) or not (pc.max(lengths).as_py() or 0) > 1:
        return None
    for other in table.column_names:
        kind = table.schema.field(other).type
        if other == name or not pa.types.is_list(kind):
            continue
        if not pa.types.is_string(kind.value_type) and not pa.types.is_string(values.type.value_type):
            continue
        same = pc.mean(pc.cast(pc.equal(lengths, pc.list_value_length(table.column(other))), pa.float64())).as_py()
        if same is not None and same > 0.8:
            return str(other)
    return None


def _distinct(values: pa.ChunkedArray) -> int:
    return len({item for row in sample(values) for item in row})


def string_kind(values: list[str], root: Path | None) -> Kind:
    """The kind of a column of strings, by the rules of the module."""
    if not values:
        return "category"
    if is_file_column(values, root, IMAGE_SUFFIXES):
        return "image"
    if is_file_column([clip.parted(value)[0] for value in values], root, clip.SOUND_SUFFIXES):
        return "audio"
    if all(ISO.match(value.strip()) for value in values):
        return "datetime"
    count, distinct = len(values), len(set(values))
    words = sum(len(value.split()) for value in values) / count
    if words > 3:
        return "text"
    if distinct <= max(FEW, count // 20) and distinct * 2 <= count:
        return "category"
    if words <= 1.2 and distinct > 0.5 * count and sum(any(c.isdigit() for c in v) for v in values) > 0.8 * count:
        return "category"
    return "text" if distinct > 0.5 * count else "category"


def is_file_column(values: list[str], root: Path | None, suffixes: Collection[str]) -> bool:
    """Whether nine in ten values end in one of the suffixes and one or more of the first hundred is a file."""
    named = [value for value in values if len(value) < 1024 and Path(value).suffix.lower() in suffixes]
    return len(named) > 0.9 * len(values) and any(((root or Path()) / value).is_file() for value in named[:100])


def is_identifier(name: str, values: pa.ChunkedArray) -> bool:
    """Whether a table column only numbers the rows: called so, or strings that are (nearly) all different."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if name.lower() in ("id", "index", "row", "row_id", "column 1", "unnamed: 0"):
        return bool(pc.count_distinct(values).as_py() > 0.95 * len(values))
    if not pa.types.is_string(values.type) or len(values) <= FEW:
        return False
    return bool(pc.count_distinct(values).as_py() > 0.9 * len(values))


def target_kind(values: pa.ChunkedArray, kind: Kind | None) -> Kind | None:
    """The kind of a column when it is what shall be predicted; ``kind`` is its kind as an ordinary column."""
    import pyarrow as pa
    import pyarrow.compute as pc

    type_ = values.type
    if pa.types.is_floating(type_):
        return "category" if whole_labels(values) else "number"
    if pa.types.is_integer(type_):
        distinct = pc.count_distinct(values).as_py()
        few = distinct <= 2 or (distinct <= FEW and distinct * 2 <= len(values))
        return "category" if few else "number"
    if pa.types.is_string(type_):
        return "labels" if separator(sample(values)) else "category"
    return kind


def whole_labels(values: pa.ChunkedArray) -> bool:
    """Few whole numbers stored as decimals for the sake of missing values."""
    import pyarrow.compute as pc

    present = values.drop_null()
    if not values.null_count or not len(present):
        return False
    distinct = pc.count_distinct(present).as_py()
    return bool(
        distinct <= FEW and (distinct <= 2 or distinct * 2 <= len(present)) and pc.all(is_whole(present)).as_py()
    )


def is_whole(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """True where a decimal is a whole number."""
    import pyarrow.compute as pc

    return pc.equal(values, pc.floor(values))


def separator(values: list[str]) -> str:
    """The sign that separates labels within values, or an empty string.

    It must stand in a fifth of the values; nine in ten labels (by occurrence) must be seen in two different values;
    and there must be fewer labels than values. ``City, State`` fails the last.
    """
    for sign in SEPARATORS:
        if sum(sign in value for value in values) < 0.2 * len(values):
            continue
        combinations = {value: split_labels(value, sign) for value in set(values)}
        seen = Counter(label for labels in combinations.values() for label in set(labels))
        used = [label for value in values for label in combinations[value]]
        if not used or any(len(label.split()) > 5 for label in seen):
            continue
        shared = sum(seen[label] > 1 for label in used)
        if shared >= 0.9 * len(used) and len(seen) < max(len(combinations), 3) and len(seen) * 2 <= len(used):
            return sign
    return ""


def split_labels(value: str, sign: str) -> list[str]:
    """The labels in one value, trimmed, each once, in order."""
    return list(dict.fromkeys(label.strip() for label in value.split(sign) if label.strip()))
