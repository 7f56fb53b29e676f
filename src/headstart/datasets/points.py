"""Series whose every step is to be judged: stamps and labels of the steps stay beside the values.

Used where a task asks for something at every step (`headstart.read(..., stepwise=True)`). A row is one series as
everywhere (`series.py`), mended by the same rules; the target, where it is given, is a list of 0 and 1 for its steps,
and the column of steps the list of their stamps.

Of a long table without a column that says which series a row is of, the whole is one. Labels that were brought to
other steps count where they are nearer to 1. Rows that are series already (``.ts``, lists in JSON Lines or Parquet, the
columns ``a..b`` of a wide table) stay as they are: names come from the column with the role ``series`` or are the
numbers of the rows, steps are 1, 2, ... What a format says of a whole series, such as the class in a ``.ts`` file, is
not read.

Columns that are added here have the role ``unused``: new rows need not have them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from headstart.datasets import convert, series
from headstart.datasets.base import Column, Kind
from headstart.datasets.parsed import Options, Parsed
from headstart.errors import DataError, did_you_mean, raise_all

if TYPE_CHECKING:
    import pyarrow as pa

    from headstart.datasets.base import Dataset

WHOLE = "series"
"""The column that is added where a table is one series."""

STEP = "step"
"""The column of stamps that is added where there is none."""

TRUTH = {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0, "no": 0.0, "yes": 1.0}


def arranged(
    parsed: Parsed, origin: str, roles: Mapping[str, str], options: Options, target: str | Sequence[str] | None
) -> tuple[Parsed, list[str], dict[str, str]]:
    """One row for each series, what was mended, and column -> role.

    Raises DataError HS-DATA-003 for columns that are not there, HS-DATA-017 where no column can be a channel,
    HS-DATA-020 where a label is neither 0 nor 1, and what `series.folded` raises.
    """
    named = [target] if isinstance(target, str) else list(target or ())
    goals = [*named, *(name for name, role in roles.items() if role == "target")]
    roles = {name: role for name, role in roles.items() if role != "target"}
    parsed = series.widened(parsed, options.kinds, origin)
    names = parsed.table.column_names
    raise_all([
        DataError("HS-DATA-003", f'{origin}: there is no column "{name}".', did_you_mean(name, names))
        for name in dict.fromkeys([*goals, *options.inputs, *roles]) if name not in names
    ])  # fmt: skip
    if channels := _lists(parsed, options, {*goals, *roles}):
        return _listed(parsed, origin, roles, goals, channels)
    return _folded(parsed, origin, roles, options, goals)


def _folded(
    parsed: Parsed, origin: str, roles: Mapping[str, str], options: Options, goals: Sequence[str]
) -> tuple[Parsed, list[str], dict[str, str]]:
    """The series of a long table."""
    import pyarrow as pa

    added = "series" not in roles.values()
    if added:
        free = _free(WHOLE, parsed.table.column_names)
        parsed = replace(parsed, table=parsed.table.append_column(free, pa.array(["all"] * len(parsed.table))))
        roles = {**roles, free: "series"}
    names = parsed.table.column_names
    table, when = parsed.table, next((name for name, role in roles.items() if role == "step"), None)
    for goal in goals:
        marks = _marks(table.column(goal), goal, origin, parsed.numbers)
        table = table.set_column(names.index(goal), goal, pa.chunked_array([pa.array(marks)]))
    channels = list(options.inputs) or _channels(table, {*goals, *roles}, origin, parsed.numbers)
    if not channels:
        raise DataError("HS-DATA-017", f"{origin}: no column of numbers changes.", "Name one with --input.")
    stamps = _free(STEP, table.column_names)
    dates = when is not None and not _numeric(table.column(when))
    table = table.append_column(stamps, pa.array(_stamps(table, when, roles, origin, parsed.numbers)))
    kinds: dict[str, Kind] = {**parsed.kinds, **dict.fromkeys((*channels, *goals), "number")}
    taken = replace(parsed, table=table, kinds=kinds)
    folded, notes = series.folded(taken, origin, roles, [*channels, *goals, stamps], ())
    kept = next(name for name, role in roles.items() if role == "series")
    table = folded.table.select([kept, *channels, *goals, stamps])
    table = table.set_column(table.column_names.index(stamps), stamps, _texts(table.column(stamps), dates))
    if when is not None:
        table = table.rename_columns([when if name == stamps else name for name in table.column_names])
    folded.table, folded.inputs = table, tuple(channels)
    folded.kinds = {**dict.fromkeys((*channels, *goals), "series"), (when or stamps): "labels"}
    if not options.inputs:
        told = ", ".join(channels)
        notes = [f"Columns: the channels are {told}; name others with --input, labels with --target.", *notes]
    asked = {} if added else {kept: "series"}
    return folded, notes, asked | ({when: "step"} if when else {}) | dict.fromkeys(goals, "target")


# --- rows that are series already ----------------------------------------------------------------------------------


def _lists(parsed: Parsed, options: Options, taken: set[str]) -> list[str]:
    """The columns of lists of numbers that are the channels; none where the table is a long one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def holds(name: str) -> bool:
        values = parsed.table.column(name)
        if pa.types.is_list(values.type):
            return _is_number(values.type.value_type)
        if options.kinds.get(name) != "series" or not pa.types.is_string(values.type):
            return False
        several = pc.match_substring_regex(pc.utf8_trim_whitespace(values), r"[\[,\s]")  # of a long table there is one
        return bool(pc.any(several).as_py())

    if options.inputs:
        return list(options.inputs) if all(holds(name) for name in options.inputs) else []
    return [name for name in parsed.table.column_names if name not in taken and holds(name)]


def _listed(
    parsed: Parsed, origin: str, roles: Mapping[str, str], goals: Sequence[str], channels: Sequence[str]
) -> tuple[Parsed, list[str], dict[str, str]]:
    """The rows with their names, channels, labels and steps."""
    import pyarrow as pa

    names = {role: name for name, role in roles.items()}
    table = pa.table({
        name: convert.column(parsed.table.column(name), "series", name, origin, parsed.numbers) for name in channels
    })  # fmt: skip
    for goal in goals:
        marks = [_row_marks(row, goal, origin, parsed.numbers[at])
                 for at, row in enumerate(parsed.table.column(goal).to_pylist())]  # fmt: skip
        table = table.append_column(goal, pa.array(marks, pa.list_(pa.float64())))
    owner = names.get("series") or _free(WHOLE, parsed.table.column_names)
    called = [str(number) for number in parsed.numbers]
    own = parsed.table.column(owner).to_pylist() if "series" in names else called
    table = table.append_column(owner, pa.array([str(name) for name in own]))
    when = names.get("step") or _free(STEP, parsed.table.column_names)
    counts = [len(row) if row is not None else 0 for row in table.column(channels[0]).to_pylist()]
    stamps = [[str(step + 1) for step in range(count)] for count in counts]
    if "step" in names:
        stamps = [_row_stamps(row, when, count, origin, parsed.numbers[at])
                  for at, (row, count) in enumerate(zip(parsed.table.column(when).to_pylist(), counts))]  # fmt: skip
    table = table.append_column(when, pa.array(stamps, pa.list_(pa.string())))
    kinds: dict[str, Kind] = {**dict.fromkeys((*channels, *goals), "series"), when: "labels", owner: "category"}
    result = Parsed(table, parsed.numbers, parsed.rejects, inputs=tuple(channels), kinds=kinds, root=parsed.root)
    asked = {name: role for role, name in names.items() if role in ("series", "step")}
    return result, [], asked | dict.fromkeys(goals, "target")


def _row_marks(row: object, name: str, origin: str, number: int) -> list[float] | None:
    """Labels of a series; they may be written as text with commas or spaces between them."""
    cells = row.strip("[]() ").replace(",", " ").split() if isinstance(row, str) else row
    found = [TRUTH.get(_word(cell)) for cell in cells] if isinstance(cells, list) else [None]
    if None in found:
        told = cells[found.index(None)] if isinstance(cells, list) else row
        raise DataError(
            "HS-DATA-020", f'{origin}: the target "{name}" holds {told!r} in row {number}.',
            "Expected a list for each series: 1 where the step is an anomaly, 0 where it is none.",
        )  # fmt: skip
    return [value for value in found if value is not None]


def _row_stamps(row: object, name: str, count: int, origin: str, number: int) -> list[str]:
    if not isinstance(row, list) or len(row) != count:
        told = f"{len(row)} stamps" if isinstance(row, list) else repr(row)
        raise DataError(
            "HS-DATA-020", f'{origin}: the step "{name}" holds {told} in row {number}.',
            f"Expected a list of {count} stamps, one for every step; or leave --step out.",
        )  # fmt: skip
    return [str(stamp) for stamp in row]


# --- what predictions ask ------------------------------------------------------------------------------------------


def named(rows: Dataset) -> tuple[str, list[str]] | None:
    """The name of the column of series, where one was named or there are several, and the series of each row."""
    found = next(iter(rows.with_role("series")), None) or _added(rows, WHOLE)
    if found is None or (found.role != "series" and len(rows) < 2):
        return None
    name = found.name if found.role == "series" else WHOLE
    return name, [str(value) for value in rows.values(found.name)]


def stamped(rows: Dataset) -> tuple[str, list[list[str]]] | None:
    """The name of the column of steps and the steps of each row; None for rows that were not read here."""
    found = next(iter(rows.with_role("step")), None) or _added(rows, STEP)
    return None if found is None else (found.name if found.role == "step" else STEP, rows.values(found.name))


def _added(rows: Dataset, name: str) -> Column | None:
    kinds = ("labels",) if name == STEP else ("category", "text")
    every = [each for each in rows.columns if each.role == "unused" and each.kind in kinds]
    return next((each for each in every if each.name.startswith(name)), None)


# --- columns -------------------------------------------------------------------------------------------------------


def _free(name: str, taken: Sequence[str]) -> str:
    """The name, or one like it that no column has."""
    return next(each for each in (name, *(f"{name} {n}" for n in range(2, len(taken) + 3))) if each not in taken)


def _numeric(values: pa.ChunkedArray) -> bool:
    return _is_number(values.type)


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _channels(table: pa.Table, taken: set[str], origin: str, numbers: list[int]) -> list[str]:
    """The columns of numbers that change. Raises DataError HS-DATA-020 for one that a few cells keep from being one."""
    import pyarrow.compute as pc

    series.refuse_strays(table, taken, origin, numbers)
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
