"""Time series as rows: what is missing or irregular is mended by stated rules, and every mend is counted.

A row is one series; each input column of kind ``series`` is one of its channels, a list of numbers at even steps. The
rules, in this order:

- of several values of a channel at one time stamp the mean counts;
- where the time between neighbours departs from the usual time between neighbours (the median over all series) by more
  than a tenth, the series is read off at every usual step, on the straight lines between its points;
- a missing value lies on the straight line between its neighbours, and before the first and after the last one it
  equals that one;
- a series without two known values of a channel is rejected, and so is one whose channels have different lengths or
  whose gaps would make it `STRETCH` times longer.

Series need not be equally long. `folded` makes one row of the many rows that a series has in a long table, and
`widened` one column of the many that it has in a wide one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.datasets import convert
from headstart.datasets.base import Column, Reject
from headstart.datasets.parsed import Options, Parsed
from headstart.errors import DataError, HeadstartError, UsageError, did_you_mean, raise_all

if TYPE_CHECKING:
    import pyarrow as pa

EVEN = 0.1
"""Part of the usual time between neighbours by which others may depart from it: months pass for even."""

STRETCH = 10
RANGE = ".."
NUMERIC = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"


@dataclass
class Mends:
    """How many series were changed, by what was done."""

    counts: Counter[str] = field(default_factory=Counter)

    def notes(self) -> list[str]:
        """One line for each rule that was applied."""
        return [f"Series: {rule} ({count:,} series)." for rule, count in self.counts.items() if count]


FILLED = "missing values were put on the straight line between their neighbours"
AVERAGED = "values with the same time stamp were averaged"
EVENED = "uneven time stamps were brought to even steps, on straight lines"


# --- values ------------------------------------------------------------------------------------------------------


def mended(table: pa.Table, columns: Sequence[Column]) -> tuple[pa.Table, list[str]]:
    """The table with the missing values of its series filled, and what was done, for the user."""
    import pyarrow as pa

    mends = Mends()
    changed: set[int] = set()
    for column in columns:
        if column.kind != "series" or column.role != "input":
            continue
        rows = list(arrays(table.column(column.name)))
        gaps = [row for row, values in enumerate(rows) if not np.isfinite(values).all() and known(values) >= 2]
        if not gaps:
            continue
        changed.update(gaps)
        for row in gaps:
            rows[row] = filled(rows[row])
        fresh = pa.chunked_array([pa.array(rows, pa.list_(pa.float64()))])
        table = table.set_column(table.column_names.index(column.name), column.name, fresh)
    mends.counts[FILLED] += len(changed)
    return table, mends.notes()


def known(values: np.ndarray) -> int:
    """How many values of a series [T] are numbers."""
    return int(np.isfinite(values).sum())


def filled(values: np.ndarray) -> np.ndarray:
    """A series [T] with two known values or more, the missing ones on straight lines between them."""
    there = np.flatnonzero(np.isfinite(values))
    return np.asarray(np.interp(np.arange(len(values)), there, values[there]))


def unusable(table: pa.Table, columns: Sequence[Column]) -> dict[int, str]:
    """Row -> reason, of series that cannot be used."""
    inputs = [column.name for column in columns if column.kind == "series" and column.role == "input"]
    channels = [list(arrays(table.column(name))) for name in inputs]
    bad: dict[int, str] = {}
    for row, parts in enumerate(zip(*channels)):
        for name, values in zip(inputs, parts):
            if known(values) < 2:
                bad.setdefault(row, f'the series "{name}" has fewer than two known values')
        if len({len(values) for values in parts}) > 1:
            bad.setdefault(row, "its channels have different lengths: " + ", ".join(str(len(part)) for part in parts))
    return bad


def arrays(values: pa.ChunkedArray) -> Iterator[np.ndarray]:
    """Each row of a column of lists of numbers as float64 [T]; missing ones are NaN, a missing row is empty."""
    for chunk in values.chunks:
        flat = np.asarray(chunk.values.to_numpy(zero_copy_only=False), np.float64)
        ends = chunk.offsets.to_numpy()
        there = chunk.is_valid().to_numpy(zero_copy_only=False)
        for row in range(len(chunk)):
            yield flat[ends[row] : ends[row + 1]] if there[row] else flat[:0]


# --- tables --------------------------------------------------------------------------------------------------------


def arranged(
    parsed: Parsed, origin: str, roles: Mapping[str, str], options: Options, target: str | Sequence[str] | None
) -> tuple[Parsed, list[str]]:
    """The rows with one series each, and what was mended: `widened`, then `folded`; interactions as they are."""
    if "user" in roles.values():
        return parsed, []
    targets = [target] if isinstance(target, str) else list(target or ())
    targets += [name for name, role in roles.items() if role == "target"]
    parsed = widened(parsed, options.kinds, origin)
    return folded(parsed, origin, roles, options.inputs, targets)


# --- wide tables -------------------------------------------------------------------------------------------------


def widened(parsed: Parsed, kinds: Mapping[str, str], origin: str) -> Parsed:
    """Rows in which the columns from ``a`` to ``b`` are one column ``a..b``, for each such name of kind ``series``.

    Raises DataError HS-DATA-003 where ``a`` or ``b`` is no column, HS-DATA-020 where one between them holds no numbers.
    """
    import pyarrow as pa

    for name in [name for name, kind in kinds.items() if kind == "series" and RANGE in name]:
        names = list(parsed.table.column_names)
        if name in names:
            continue
        ends = name.split(RANGE, 1)
        for end in ends:
            if end not in names:
                raise DataError("HS-DATA-003", f'{origin}: there is no column "{end}".', did_you_mean(end, names))
        first, last = (names.index(end) for end in ends)
        steps = names[first : last + 1]
        if len(steps) < 2:
            raise DataError("HS-DATA-003", f'{origin}: "{name}" names no series.', "Name its first and last column.")
        parts = [
            convert.column(parsed.table.column(step), "number", step, origin, parsed.numbers).to_numpy()
            for step in steps
        ]
        matrix = np.asarray(np.stack(parts, axis=1), np.float64)  # [N,T]
        column = pa.array(list(matrix), pa.list_(pa.float64()))
        parsed.table = parsed.table.drop_columns(steps).append_column(name, column)
        parsed.inputs = (*parsed.inputs, name)
        parsed.kinds[name] = "series"
    return parsed


# --- long tables -------------------------------------------------------------------------------------------------


def folded(
    parsed: Parsed,
    origin: str,
    roles: Mapping[str, str],
    inputs: Sequence[str],
    targets: Sequence[str],
) -> tuple[Parsed, list[str]]:
    """One row for each series of a long table, and what was mended; the table itself where no column has the role
    ``series``.

    roles: column -> role; ``series`` tells which series a row belongs to, ``step`` when it was (a number or a date;
    without it the order of the rows counts). The channels are ``inputs``, else every column of numbers that changes
    within a series. Of other columns those stay that are constant within every series; a series whose target changes
    is rejected. The column of steps holds where the series begins.

    Raises UsageError HS-USAGE-001 where several columns have one of these roles or steps come without series, DataError
    HS-DATA-017 where no column can be a channel, HS-DATA-020 where a channel or a step is no number.
    """
    import pyarrow as pa

    names = {role: [name for name, wanted in roles.items() if wanted == role] for role in ("series", "step")}
    _check_roles(names, parsed, origin)
    if not names["series"] or names["series"][0] not in parsed.table.column_names:
        return parsed, []
    owner, when = names["series"][0], next(iter(names["step"]), None)
    table = parsed.table
    codes = table.column(owner).combine_chunks().dictionary_encode()
    place = np.asarray(codes.indices.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
    stamps = None if when is None else stamps_of(table.column(when), when, origin, parsed.numbers)
    order = np.lexsort((np.zeros(len(place)) if stamps is None else stamps, place))
    order = order[place[order] >= 0]
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    groups = np.split(order, starts[1:]) if len(order) else []
    taken = {owner, *([when] if when else []), *targets, *roles}
    channels = list(inputs) or _channels(table, groups, taken)
    if not inputs:
        refuse_strays(table, taken, origin, parsed.numbers)
    if not channels:
        raise DataError(
            "HS-DATA-017", f"{origin}: no column of numbers changes within a series.", "Name one with --input."
        )
    values = {
        name: np.asarray(convert.column(table.column(name), "number", name, origin, parsed.numbers).to_numpy(), float)
        for name in channels
    }
    usual = None if stamps is None else _usual(stamps, groups)
    mends, rows, kept = Mends(), [], []
    rejects = list(parsed.rejects)
    for row in np.flatnonzero(place < 0):
        rejects.append(Reject(origin, parsed.numbers[row], f'the series "{owner}" is missing'))
    constant, others = _others(table, groups, {*channels, *([when] if when else [])}, targets)
    for group in groups:
        number = parsed.numbers[int(group.min())]
        reason = next((f'the target "{name}" changes within the series' for name in targets
                       if name in others and not constant[name](group)), "")  # fmt: skip
        made = {name: values[name][group] for name in channels}
        if stamps is not None and usual is not None and not reason:
            even = _even(stamps[group], made, usual, mends)
            made, reason = (even, "") if even is not None else ({}, "its gaps are too long to be filled")
        if reason:
            rejects.append(Reject(origin, number, reason))
            continue
        rows.append(made)
        kept.append(int(group[0]))
    stay = [name for name in others if name in targets or all(constant[name](group) for group in groups)]
    result = table.select([name for name in table.column_names if name in {*stay, when}]).take(
        pa.array(kept, pa.int64())
    )
    for name in channels:
        result = result.append_column(name, pa.array([row[name] for row in rows], pa.list_(pa.float64())))
    parts = Parsed(
        result, [parsed.numbers[row] for row in kept], rejects, parsed.target, tuple(channels), root=parsed.root
    )
    parts.kinds = {**{name: kind for name, kind in parsed.kinds.items() if name in result.column_names},
                   **dict.fromkeys(channels, "series")}  # fmt: skip
    return parts, mends.notes()


def _check_roles(names: Mapping[str, Sequence[str]], parsed: Parsed, origin: str) -> None:
    for role, found in names.items():
        if len(found) > 1:
            raise UsageError("HS-USAGE-001", f"several columns have the role {role}: {', '.join(found)}.", "Name one.")
    if names["step"] and not names["series"]:
        raise UsageError(
            "HS-USAGE-001", f'"{names["step"][0]}" holds steps, and no column says which series a row is of.',
            "Name it with --series.",
        )  # fmt: skip
    known = parsed.table.column_names
    lost = [name for found in names.values() for name in found if name not in known]
    if lost and any(name in known for found in names.values() for name in found):
        raise DataError("HS-DATA-003", f'{origin}: there is no column "{lost[0]}".', did_you_mean(lost[0], known))


def stamps_of(values: pa.ChunkedArray, name: str, origin: str, numbers: list[int]) -> np.ndarray:
    """Times as float64 [rows]: numbers as they are, dates in seconds. Raises DataError HS-DATA-020."""
    import pyarrow as pa

    number = pa.types.is_integer(values.type) or pa.types.is_floating(values.type)
    if not number:
        dates: pa.ChunkedArray = convert.column(values, "datetime", name, origin, numbers)
        found = np.asarray(dates.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy(), np.float64) / 1e6
    else:
        found = np.asarray(values.to_numpy(), np.float64)
    lost = np.flatnonzero(~np.isfinite(found))
    if len(lost):
        raise DataError(
            "HS-DATA-020", f'{origin}: the step "{name}" is missing in row {numbers[int(lost[0])]}.', "Fill it in."
        )
    return found


def _channels(table: pa.Table, groups: Sequence[np.ndarray], taken: set[str]) -> list[str]:
    """The columns of numbers that change within a series."""
    import pyarrow as pa

    found = []
    for name in table.column_names:
        kind = table.schema.field(name).type
        if name in taken or not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            continue
        values = np.asarray(table.column(name).to_numpy(), np.float64)
        if any(len(np.unique(part[np.isfinite(part)])) > 1 for part in (values[group] for group in groups)):
            found.append(name)
    return found


def refuse_strays(table: pa.Table, taken: set[str], origin: str, numbers: list[int]) -> None:
    """Raise DataError HS-DATA-020 for columns that would be numbers but for a cell in ten or fewer: left out in silence
    they would be missed by nobody.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    problems: list[HeadstartError] = []
    for name in table.column_names:
        values = table.column(name)
        if name in taken or not pa.types.is_string(values.type):
            continue
        there = values.drop_null()
        read = pc.sum(pc.match_substring_regex(there, NUMERIC)).as_py() or 0
        if 0.9 * len(there) <= read < len(there):
            try:
                convert.column(values, "number", name, origin, numbers)
            except DataError as error:
                hint = f"Mend the value, or name the channels without it with --input, or --kind {name}=category."
                problems.append(DataError(error.code, error.message, hint))
    raise_all(problems)


def _others(
    table: pa.Table, groups: Sequence[np.ndarray], taken: set[str], targets: Sequence[str]
) -> tuple[dict[str, Any], list[str]]:
    """Columns that are neither channels nor steps, and for each whether it is constant within a series."""
    names = [name for name in table.column_names if name not in taken]
    codes = {
        name: table.column(name).combine_chunks().dictionary_encode("encode").indices.to_numpy(zero_copy_only=False)
        for name in names
    }

    def tell(name: str) -> Any:
        return lambda group: bool((codes[name][group] == codes[name][group[0]]).all())

    return {name: tell(name) for name in names}, names


def _usual(stamps: np.ndarray, groups: Sequence[np.ndarray]) -> float | None:
    """The median time between neighbours over all series; None where no series has two stamps."""
    gaps = [np.diff(np.unique(stamps[group])) for group in groups]
    every = np.concatenate(gaps) if gaps else np.zeros(0)
    return float(np.median(every)) if len(every) else None


def _even(
    stamps: np.ndarray, values: Mapping[str, np.ndarray], usual: float, mends: Mends
) -> dict[str, np.ndarray] | None:
    """The channels of one series at even steps; None where that would stretch it too far."""
    times, place = np.unique(stamps, return_inverse=True)
    if len(times) < len(stamps):
        mends.counts[AVERAGED] += 1
        values = {name: _means(part, place, len(times)) for name, part in values.items()}
    if len(times) < 2 or (np.abs(np.diff(times) - usual) <= EVEN * usual).all():
        return dict(values)
    count = int(np.floor((times[-1] - times[0]) / usual + 1e-6)) + 1
    if count > STRETCH * len(times):
        return None
    mends.counts[EVENED] += 1
    grid = times[0] + usual * np.arange(count)
    made = {}
    for name, part in values.items():
        there = np.isfinite(part)
        made[name] = np.interp(grid, times[there], part[there]) if there.sum() >= 2 else np.full(count, np.nan)
    return made


def _means(values: np.ndarray, place: np.ndarray, count: int) -> np.ndarray:
    """The mean of the known values at each place [count]; NaN where there is none."""
    there = np.isfinite(values)
    total = np.bincount(place[there], values[there], count)
    number = np.bincount(place[there], minlength=count)
    return np.asarray(np.where(number > 0, total / np.maximum(number, 1), np.nan))
