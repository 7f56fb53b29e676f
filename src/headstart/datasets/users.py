"""The table of users: what is known of each, as columns of the role ``feature`` beside the histories.

A row of interactions (`headstart.datasets.interactions`) gets the numbers, categories and dates that the table has for
its user; a user who is not in the table has none. Columns of words and identifiers are left out. Lists of identifiers
are what the user took in another catalogue (kind ``items``). A table with a row for each thing that a user took there
is folded to such lists where ``kinds`` calls its column of things ``items``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from headstart.datasets import infer
from headstart.datasets.base import Kind
from headstart.datasets.items import identifiers
from headstart.datasets.parsed import Options, Parsed
from headstart.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

LOG = 2
"""Rows for each user from which a table of users is taken for a log."""

KINDS = ("number", "category", "datetime", "items")


def joined(
    parsed: Parsed, origin: str, roles: Mapping[str, str], users: Parsed, options: Options
) -> tuple[Parsed, dict[str, str], list[str]]:
    """The rows with the features of their users, the roles of all columns, and what is to be told.

    Features that the roles name already are those, and no others. Raises UsageError HS-USAGE-001 where no column says
    who the user is, a feature is called as another column is, or users have many rows each, DataError HS-DATA-003 where
    the table names none of the users of labelled rows, HS-DATA-015 where it lacks a named feature.
    """
    import pyarrow as pa

    who = next((name for name, role in roles.items() if role == "user"), None)
    if who is None:
        raise UsageError("HS-USAGE-001", "a table of users was given, and no column says who a row is about.",
                         "Name it with --user.")  # fmt: skip
    users, key, notes = _folded(users, who, options.kinds)
    place = places(users, key)
    named = identifiers(parsed.table.column(who), who)[0].to_pylist()
    rows = np.array([place.get(name, -1) for name in named], np.int64)
    labelled = not options.for_prediction
    if labelled and not (rows >= 0).any():
        raise DataError(
            "HS-DATA-003", f'the table of users: the column "{key}" names none of the users that there are '
            f'("{named[0]}", ...).', f'Call its column of identifiers "{who}".',
        )  # fmt: skip
    table, asked = parsed.table, [name for name, role in roles.items() if role == "feature"]
    for name in asked:
        if name not in users.table.column_names:
            raise DataError(
                "HS-DATA-015", f'the table of users lacks the column "{name}" that the model reads.',
                did_you_mean(name, users.table.column_names),
            )  # fmt: skip
    names = asked or features(users, key)
    if clash := [name for name in names if name in table.column_names]:
        raise UsageError(
            "HS-USAGE-001", f'the table of users has a column "{clash[0]}", and so have the rows of {origin}.',
            "Rename it there.",
        )  # fmt: skip
    take = pa.array(rows, pa.int64(), mask=rows < 0)
    for name in names:
        table = table.append_column(name, users.table.column(name).take(take))
        kind = options.kinds.get(name) or _kind(name, users.table) or "category"
        parsed.kinds[name] = cast(Kind, kind)
    parsed.table = table
    lost = int((rows < 0).sum())
    if lost:
        notes.append(f"Users: {lost:,} of {len(rows):,} are not in the table of users.")
    return parsed, {**roles, **dict.fromkeys(names, "feature")}, notes if labelled else []


def identifying(users: Parsed, who: str) -> str:
    """The column of identifiers: called like ``who``, ``id`` or the like, else the first."""
    names = users.table.column_names
    return next((name for name in (who, "id", "user_id", "user") if name in names), names[0])


def places(users: Parsed, key: str) -> dict[str, int]:
    """The row of each user."""
    found: dict[str, int] = {}
    for row, name in enumerate(identifiers(users.table.column(key), key)[0].to_pylist()):
        if name is not None:
            found.setdefault(name, row)
    return found


def _folded(users: Parsed, who: str, kinds: Mapping[str, str]) -> tuple[Parsed, str, list[str]]:
    """One row for each user, the column of identifiers, and what is to be told. kinds: column -> kind.

    Raises UsageError HS-USAGE-001 for a log of which no column is called ``items``.
    """
    import pyarrow as pa

    key, table = identifying(users, who), users.table
    for name in table.column_names:
        if _is_list(table.column(name)) and "items" in (kinds.get(name), _kind(name, table)):
            table = table.set_column(table.column_names.index(name), name, _identified(table.column(name), name))
    single = [name for name in table.column_names if kinds.get(name) == "items" and not _is_list(table.column(name))]
    if not single:
        count = len(places(users, key))
        if len(table) > LOG * count:
            raise UsageError(
                "HS-USAGE-001", f"the table of users has {len(table):,} rows for {count:,} users; expected one each.",
                "If it tells what they took elsewhere, say which column holds that: --kind COLUMN=items.",
            )  # fmt: skip
        lost = len(table) - count
        told = f"Users: {lost:,} rows of the table of users have no user, or one who stands in it before; left out."
        return replace(users, table=table), key, [told] if lost else []
    owner = identifiers(table.column(key), key)[0].dictionary_encode()
    codes = np.asarray(owner.indices.fill_null(-1), np.int64)
    columns: dict[str, Any] = {key: owner.dictionary}
    lost = 0
    for name in single:
        items = identifiers(table.column(name), name)[0]
        there = np.flatnonzero((codes >= 0) & np.asarray(items.is_valid()))
        rows = there[np.argsort(codes[there], kind="stable")]
        lost = max(lost, len(table) - len(rows))
        ends = np.concatenate([[0], np.cumsum(np.bincount(codes[rows], minlength=len(owner.dictionary)))])
        columns[name] = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), items.take(pa.array(rows)))
    notes = [f"Users: {lost:,} rows of the table of users lack the user or the item."] if lost else []
    made = replace(users, table=pa.table(columns), numbers=list(range(1, len(owner.dictionary) + 1)))
    return made, key, notes


def _identified(values: pa.ChunkedArray, name: str) -> pa.Array:
    """Lists of identifiers as text; an empty list where there is none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = values.combine_chunks()
    sizes = np.asarray(pc.fill_null(pc.list_value_length(values), 0), np.int64)
    ends = pa.array(np.concatenate([[0], np.cumsum(sizes)]), pa.int32())
    return pa.ListArray.from_arrays(ends, identifiers(pc.list_flatten(values), name)[0])


def _is_list(values: pa.ChunkedArray) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(values.type) or pa.types.is_large_list(values.type))


def _kind(name: str, table: pa.Table) -> str | None:
    """The kind of a column: ``items`` for lists of words or whole numbers."""
    import pyarrow as pa

    values = table.column(name)
    if _is_list(values) and (pa.types.is_string(values.type.value_type) or pa.types.is_integer(values.type.value_type)):
        return "items"
    return infer.column_kind(name, values, table, None)


def features(users: Parsed, key: str) -> list[str]:
    """The columns that tell something of users which a model can use."""
    found = []
    for name in users.table.column_names:
        values: pa.ChunkedArray = users.table.column(name)
        kind = _kind(name, users.table)
        if name != key and kind in KINDS and (kind == "items" or not infer.is_identifier(name, values)):
            found.append(name)
    return found


def listed(table: Any, who: str) -> list[str]:
    """The users of a table, in its order. table: what `headstart.read` takes."""
    from headstart.datasets.read import parsed_table

    users = parsed_table(table)
    return list(places(users, identifying(users, who)))
