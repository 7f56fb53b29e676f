"""The table of users: what is known of each, as columns of the role ``feature`` beside the histories.

A row of interactions (`headstart.datasets.interactions`) gets the numbers, categories and dates that the table has for
its user; a user who is not in the table has none. Columns of words and identifiers are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from headstart.datasets import infer
from headstart.datasets.base import Kind
from headstart.datasets.items import identifiers
from headstart.datasets.parsed import Options, Parsed
from headstart.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

KINDS = ("number", "category", "datetime")


def joined(
    parsed: Parsed, origin: str, roles: Mapping[str, str], users: Parsed, options: Options
) -> tuple[Parsed, dict[str, str], list[str]]:
    """The rows with the features of their users, the roles of all columns, and what is to be told.

    Features that the roles name already are those, and no others. Raises UsageError HS-USAGE-001 where no column says
    who the user is, or a feature is called as another column is, DataError HS-DATA-003 where the table names none of
    the users of labelled rows, HS-DATA-015 where it lacks a named feature.
    """
    import pyarrow as pa

    who = next((name for name, role in roles.items() if role == "user"), None)
    if who is None:
        raise UsageError("HS-USAGE-001", "a table of users was given, and no column says who a row is about.",
                         "Name it with --user.")  # fmt: skip
    key, place = places(users, who)
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
        kind = infer.column_kind(name, users.table.column(name), users.table, None)
        parsed.kinds[name] = cast(Kind, options.kinds.get(name) or kind or "category")
    parsed.table = table
    lost = int((rows < 0).sum())
    notes = [f"Users: {lost:,} of {len(rows):,} are not in the table of users."] if lost and labelled else []
    return parsed, {**roles, **dict.fromkeys(names, "feature")}, notes


def places(users: Parsed, who: str) -> tuple[str, dict[str, int]]:
    """The column of identifiers (called like ``who``, ``id`` or the like, else the first), and the row of each user."""
    names = users.table.column_names
    key = next((name for name in (who, "id", "user_id", "user") if name in names), names[0])
    found: dict[str, int] = {}
    for row, name in enumerate(identifiers(users.table.column(key), key)[0].to_pylist()):
        if name is not None:
            found.setdefault(name, row)
    return key, found


def features(users: Parsed, key: str) -> list[str]:
    """The columns that tell something of users which a model can use."""
    found = []
    for name in users.table.column_names:
        values: pa.ChunkedArray = users.table.column(name)
        kind = infer.column_kind(name, values, users.table, None)
        if name != key and kind in KINDS and not infer.is_identifier(name, values):
            found.append(name)
    return found


def listed(table: Any, who: str) -> list[str]:
    """The users of a table, in its order. table: what `headstart.read` takes."""
    from headstart.datasets.read import parsed_table

    return list(places(parsed_table(table), who)[1])
