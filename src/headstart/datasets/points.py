"""A long table as series whose every step is to be judged: stamps and labels of the steps stay beside the values.

Used where a task asks for something at every step (`headstart.read(..., stepwise=True)`). A row is one series as
everywhere (`series.py`), mended by the same rules; the target, where it is given, is a list of 0 and 1 for its steps,
and the column of steps the list of their stamps. Without a column that says which series a row is of, the whole table
is one. Labels that were brought to other steps count where they are nearer to 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from headstart.datasets import series
from headstart.datasets.base import Kind
from headstart.datasets.parsed import Options, Parsed
from headstart.errors import DataError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

WHOLE = "series"
"""The column that is added where a table is one series."""

STEP = "step"
"""The column of stamps that is added where there is none."""

TRUTH = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0, "no": 0.0, "yes": 1.0}


def arranged(
    parsed: Parsed, origin: str, roles: Mapping[str, str], options: Options, target: str | Sequence[str] | None
) -> tuple[Parsed, list[str], dict[str, str]]:
    """One row for each series, what was mended, and column -> role.

    Raises DataError HS-DATA-003 for a column that is not there, HS-DATA-017 where no column can be a channel,
    HS-DATA-020 where a label is neither 0 nor 1, and what `series.folded` raises.
    """
    import pyarrow as pa

    named = [target] if isinstance(target, str) else list(target or ())
    goals = [*named, *(name for name, role in roles.items() if role == "target")]
    roles = {name: role for name, role in roles.items() if role != "target"}
    if "series" not in roles.values():
        free = _free(WHOLE, parsed.table.column_names)
        parsed = replace(parsed, table=parsed.table.append_column(free, pa.array(["all"] * len(parsed.table))))
        roles = {**roles, free: "series"}
    names = parsed.table.column_names
    for name in [*goals, *options.inputs, *roles]:
        if name not in names:
            raise DataError("HS-DATA-003", f'{origin}: there is no column "{name}".', did_you_mean(name, names))
    table, when = parsed.table, next((name for name, role in roles.items() if role == "step"), None)
    for goal in goals:
        marks = _marks(table.column(goal), goal, origin, parsed.numbers)
        table = table.set_column(names.index(goal), goal, pa.chunked_array([pa.array(marks)]))
    channels = list(options.inputs) or _channels(table, {*goals, *roles})
    if not channels:
        raise DataError("HS-DATA-017", f"{origin}: no column of numbers changes.", "Name one with --input.")
    stamps = _free(STEP, table.column_names)
    dates = when is not None and not _numeric(table.column(when))
    table = table.append_column(stamps, pa.array(_stamps(table, when, roles, origin, parsed.numbers)))
    kinds: dict[str, Kind] = {**parsed.kinds, **dict.fromkeys((*channels, *goals), "number")}
    taken = replace(parsed, table=table, kinds=kinds)
    folded, notes = series.folded(taken, origin, roles, [*channels, *goals, stamps], ())
    kept = [name for name, role in roles.items() if role == "series"]
    table = folded.table.select([*kept, *channels, *goals, stamps])
    table = table.set_column(table.column_names.index(stamps), stamps, _texts(table.column(stamps), dates))
    if when is not None:
        table = table.rename_columns([when if name == stamps else name for name in table.column_names])
    folded.table, folded.inputs = table, tuple(channels)
    folded.kinds = {**dict.fromkeys((*channels, *goals), "series"), (when or stamps): "labels"}
    return folded, notes, {kept[0]: "series", (when or stamps): "step", **dict.fromkeys(goals, "target")}


def _free(name: str, taken: Sequence[str]) -> str:
    """The name, or one like it that no column has."""
    return next(each for each in (name, *(f"{name} {n}" for n in range(2, len(taken) + 3))) if each not in taken)


def _numeric(values: pa.ChunkedArray) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(values.type) or pa.types.is_floating(values.type))


def _channels(table: pa.Table, taken: set[str]) -> list[str]:
    """The columns of numbers that change."""
    import pyarrow.compute as pc

    free = [name for name in table.column_names if name not in taken and _numeric(table.column(name))]
    return [name for name in free if pc.count_distinct(table.column(name)).as_py() > 1]


def _marks(values: pa.ChunkedArray, name: str, origin: str, numbers: list[int]) -> np.ndarray:
    """Labels as 0.0 and 1.0. Raises DataError HS-DATA-020 that names the first row with another value."""
    cells = values.to_pylist()
    found = [TRUTH.get(_word(cell)) for cell in cells]
    wrong = next((row for row, value in enumerate(found) if value is None), None)
    if wrong is not None:
        raise DataError(
            "HS-DATA-020", f'{origin}: the target "{name}" holds {cells[wrong]!r} in row {numbers[wrong]}.',
            "Expected 1 where the step is an anomaly and 0 where it is none (or true and false, yes and no).",
        )  # fmt: skip
    return np.array(found, np.float64)


def _word(cell: object) -> str:
    whole = isinstance(cell, float) and cell.is_integer()
    return str(int(cell) if whole else cell).strip().lower()  # type: ignore[call-overload]


def _stamps(table: pa.Table, when: str | None, roles: Mapping[str, str], origin: str, numbers: list[int]) -> np.ndarray:
    """Times as `series` reads them; without a column of them 1, 2, ... within each series."""
    if when is not None:
        return series.stamps_of(table.column(when), when, origin, numbers)
    owner = next(name for name, role in roles.items() if role == "series")
    seen: dict[object, int] = {}
    found = []
    for name in table.column(owner).to_pylist():
        seen[name] = seen.get(name, 0) + 1
        found.append(float(seen[name]))
    return np.array(found)


def _texts(stamps: pa.ChunkedArray, dates: bool) -> pa.ChunkedArray:
    """Lists of stamps as lists of text."""
    import pyarrow as pa

    rows = list(series.arrays(stamps))
    days = dates and all((row % 86_400 == 0).all() for row in rows)
    made = [[_text(stamp, dates, days) for stamp in row.tolist()] for row in rows]
    return pa.chunked_array([pa.array(made, pa.list_(pa.string()))])


def _text(stamp: float, dates: bool, days: bool) -> str:
    if not dates:
        return str(int(stamp)) if stamp.is_integer() else repr(stamp)
    moment = datetime.fromtimestamp(stamp, UTC).replace(tzinfo=None)
    return moment.date().isoformat() if days else moment.isoformat(sep=" ")
