"""The table of items: identifiers, and what is known of each item in words.

What is known of an item is one text: the text and category columns of the table of items, else those of the
interactions that never differ for one item. A column ``split`` of the table says which items are new ones.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from headstart.datasets.base import Column, Items
from headstart.datasets.folder import SPLITS
from headstart.datasets.parsed import Parsed
from headstart.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

SPLIT = "split"
"""The column that says which part an item belongs to."""


def identifiers(values: pa.ChunkedArray, name: str) -> tuple[pa.Array, dict[int, str]]:
    """Identifiers as text, and row -> reason where there is none: missing, or a decimal."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    bad: dict[int, str] = {}
    if pa.types.is_floating(values.type):
        whole = pc.fill_null(pc.equal(values, pc.floor(values)), True)
        for row in np.flatnonzero(~np.asarray(whole)).tolist():
            value = values[row].as_py()
            if value == value:
                bad[row] = f'"{name}" is the decimal {value}; expected an identifier'
        whole = pc.and_(whole, pc.is_finite(values))
        values = pc.cast(pc.cast(pc.if_else(whole, values, None), pa.int64()), pa.string())
    elif not pa.types.is_string(values.type):
        values = pc.cast(values, pa.string())
    else:
        values = pc.replace_substring_regex(pc.utf8_trim_whitespace(values), r"^(-?[0-9]+)\.0+$", r"\1")
        values = pc.if_else(
            pc.is_in(values, value_set=pa.array(["", "nan", "NaN"])), pa.scalar(None, pa.string()), values
        )
    for row in np.flatnonzero(np.asarray(pc.is_null(values))).tolist():
        bad.setdefault(row, f'"{name}" is missing')
    return values, bad


def told(
    table: pa.Table, taken: Collection[str], ids: Sequence[str], items: np.ndarray, users: np.ndarray, rows: np.ndarray
) -> Items:
    """The items ``ids`` with what the columns of a table of interactions, but those ``taken``, say of them.

    items, users: codes of each interaction [n]. rows: its place in the table [n].
    """
    import pyarrow as pa

    columns = [
        name for name in table.column_names
        if name not in taken and _varies(table.column(name), rows, items, users)
    ]  # fmt: skip
    texts = [""] * len(ids)
    if columns:
        first = np.full(len(ids), -1)
        first[items[::-1]] = rows[::-1]
        seen = np.flatnonzero(first >= 0)
        part = table.select(columns).take(pa.array(first[seen]))
        for place, text in zip(seen.tolist(), _texts(part, columns)):
            texts[place] = text
    return Items(tuple(ids), tuple(texts))


def _varies(values: pa.ChunkedArray, rows: np.ndarray, items: np.ndarray, users: np.ndarray) -> bool:
    """Whether a column of words tells of the items: constant for each item, and not for each user."""
    import pyarrow as pa

    if not pa.types.is_string(values.type):
        return False
    codes = values.combine_chunks().dictionary_encode("encode").indices.to_numpy(zero_copy_only=False)[rows]

    def constant(owner: np.ndarray) -> bool:
        first = np.zeros(owner.max() + 1, codes.dtype)
        first[owner[::-1]] = codes[::-1]
        return bool((first[owner] == codes).all())

    return constant(items) and not constant(users)


def listed(known: Parsed, item: str, seen: Sequence[str] = ()) -> Items:
    """The items of a table of items, and those of ``seen`` that are not in it.

    The column of identifiers is called like the item's column, or ``id``, else it is the first. Raises DataError
    HS-DATA-003 where it holds none of ``seen``, HS-DATA-014 for an unknown name of a part.
    """
    names = known.table.column_names
    column = next((name for name in (item, "id", "item_id", "item") if name in names), names[0])
    ids, bad = identifiers(known.table.column(column), column)
    if seen and not set(seen) & set(ids.to_pylist()):
        raise DataError(
            "HS-DATA-003", f'the table of items: the column "{column}" names none of the items that there are '
            f'("{seen[0]}", ...).', "Call its column of identifiers as that of the interactions is called.",
        )  # fmt: skip
    parts: list[str] = []
    if SPLIT in names:
        for row, value in enumerate(known.table.column(SPLIT).to_pylist()):
            part = SPLITS.get(str(value or "train").strip().lower())
            if part is None:
                raise DataError(
                    "HS-DATA-014",
                    f'the table of items: the column "{SPLIT}" holds "{value}" in row {known.numbers[row]}.',
                    "Expected train, valid or test.",
                )  # fmt: skip
            parts.append(part)
    others = [name for name in names if name not in (column, SPLIT)]
    made: dict[str, tuple[str, str]] = {}
    for row, (name, text) in enumerate(zip(ids.to_pylist(), _texts(known.table, others))):
        if row not in bad:
            made.setdefault(name, (text, parts[row] if parts else "train"))
    for name in seen:
        made.setdefault(name, ("", "train"))
    divided = parts and len(set(parts)) > 1
    return Items(tuple(made), tuple(text for text, _ in made.values()),
                 tuple(part for _, part in made.values()) if divided else ())  # fmt: skip


def _texts(table: pa.Table, columns: Sequence[str]) -> list[str]:
    """What the columns of words say of each row, in one text."""
    import pyarrow as pa

    words = [name for name in columns if pa.types.is_string(table.schema.field(name).type)]
    cells = [table.column(name).to_pylist() for name in words]
    return [". ".join(value.strip() for value in row if value and value.strip()) for row in zip(*cells)] or [""] * len(
        table
    )


def of_lists(columns: Sequence[Column], table: pa.Table, known: Parsed | None) -> Items | None:
    """The items of rows that are lists already, and those of a table of items; None where no column holds items."""
    names = [column.name for column in columns if column.kind == "items" and column.role in ("input", "target")]
    if not names:
        return None
    found: dict[str, None] = {}
    for name in names:
        found.update(dict.fromkeys(table.column(name).combine_chunks().flatten().unique().drop_null().to_pylist()))
    return Items(tuple(found), ("",) * len(found)) if known is None else listed(known, names[0], list(found))
