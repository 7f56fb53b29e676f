"""Forecasting: a long table becomes windows, rows of a history and of the values that follow it.

A row is (series, origin): the input is the history up to the origin, at most its last `CONTEXT` values, the target
what the next H steps bring, followed by the low end and the size of the history's range and by its scale, the mean
absolute change over a season, which is what errors are measured in (MASE). Rolling origins make the parts: the last
windows of each series, which do not overlap, are the test; the windows before are for validation; earlier ones train,
and what they have to find ends before the first value that validation asks for. So no choice and no training target
reaches into the test, while the history of a later window holds what an earlier one had to find, as it would in use.

Histories are copies, so their number is bounded: `MOST` windows train, evenly thinned where there are more. A value
is missing where a step has none. Inside a history it lies on the straight line between its neighbours; no window
begins behind a missing value; a missing value that was to be found counts for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.datasets import convert, known
from headstart.datasets.base import Column, Dataset, Reject
from headstart.datasets.parsed import Options, Parsed
from headstart.datasets.series import filled
from headstart.datasets.steps import Steps, season_of, steps_of
from headstart.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

CONTEXT = 2048
MOST = 2000
LEAST = 4
"""Values in a history at least."""

FACTS = 3
"""Numbers of a target behind its H values: low, size, scale."""

SEASON = "season length"
AHEAD = "ahead"
"""What follows the name of the value in that of the target."""

PLAIN = "step"
"""Name of the column of steps where the table has none."""

TINY = 1e-9


@dataclass
class Whole:
    """One series at even steps, NaN where a step has no value. number: of its last row in the file. known: the columns
    known ahead [K,P], over the steps of ``values`` and those behind it that the file has.
    """

    name: Any
    values: np.ndarray
    steps: Steps
    number: int
    season: int = 1
    known: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))


@dataclass(frozen=True)
class Window:
    """A row: values before ``origin`` are history, those up to ``end`` are to be found."""

    series: Whole
    origin: int
    end: int
    part: str


def ranged(history: np.ndarray) -> tuple[float, float]:
    """Low end and size of the range of a history: 0 and 1 of the units in which networks forecast."""
    low = float(history.min())
    return low, max(float(history.max()) - low, 1e-5 * max(1.0, abs(low)))


def scale(history: np.ndarray, season: int) -> float:
    """The mean absolute change over a season (Hyndman & Koehler 2006); over a step, or the mean size, where it is 0."""
    for lag in (season, 1):
        if len(history) > lag and (found := float(np.abs(history[lag:] - history[:-lag]).mean())) > TINY:
            return found
    return max(float(np.abs(history).mean()), 1.0 if not history.any() else TINY)


def rows(
    parsed: Parsed, origin: str, target: str | Sequence[str] | None, options: Options, wanted: Mapping[str, str]
) -> Dataset:
    """The windows of a long table. The value is the input that was named, else the target.

    For predictions a row for each series, with its whole history and no target.
    Raises UsageError HS-USAGE-001, DataError HS-DATA-002, -003, -012, -020.
    """
    horizon = options.horizon
    assert horizon is not None
    value, owner, when, beside = _columns(parsed, origin, target, options, wanted)
    wholes, rejects, notes = _wholes(parsed, origin, value, owner, when, beside, options)
    if options.for_prediction:
        known.check_ahead(wholes, beside, horizon, value, origin)
    windows: list[Window] = []
    for whole in wholes:
        found = _last(whole, horizon) if options.for_prediction else _rolling(whole, horizon)
        if not found:
            needed = LEAST if options.for_prediction else 2 * horizon + LEAST
            reason = f'the series "{whole.name}" has {len(whole.values)} steps; a horizon of {horizon} needs {needed}'
            rejects.append(Reject(origin, whole.number, reason + ", with a value before each origin"))
        windows += found
    if not windows:
        why = rejects[0].reason if rejects else "there is no series"
        raise DataError("HS-DATA-012", f"{origin}: {why}.", "Give longer series or a smaller --horizon.")
    windows = _thinned(windows)
    if not options.for_prediction:
        notes += _told(windows, horizon)
    return _dataset(windows, horizon, value, owner, when, beside, origin, rejects, notes, not options.for_prediction)


# --- columns -----------------------------------------------------------------------------------------------------


def _columns(
    parsed: Parsed, origin: str, target: str | Sequence[str] | None, options: Options, wanted: Mapping[str, str]
) -> tuple[str, str | None, str | None, list[str]]:
    """The names of the value, the series, the step, and what is known ahead."""
    names = parsed.table.column_names
    targets = [target] if isinstance(target, str) else list(target or ())
    named = list(options.inputs) or [*targets, *(name for name, role in wanted.items() if role == "target")]
    if len(named) != 1:
        raise UsageError(
            "HS-USAGE-001", f"{origin}: {len(named)} columns are to be forecast; expected one.",
            "Name the column of values with --target; put several series below each other and name --series.",
        )  # fmt: skip
    roles = {role: name for name, role in wanted.items() if role in ("series", "step")}
    beside = [name for name, role in wanted.items() if role == known.ROLE]
    for name in [named[0], *roles.values(), *beside]:
        if name not in names:
            raise DataError("HS-DATA-003", f'{origin}: there is no column "{name}".', did_you_mean(name, names))
    if named[0] in beside:
        raise UsageError("HS-USAGE-001", f'the column "{named[0]}" is to be forecast and known ahead.', "Drop one.")
    return named[0], roles.get("series"), roles.get("step"), beside


def _wholes(
    parsed: Parsed, origin: str, value: str, owner: str | None, when: str | None, beside: Sequence[str],
    options: Options,
) -> tuple[list[Whole], list[Reject], list[str]]:  # fmt: skip
    """Every series at even steps, what was left out, and what was done."""
    table, numbers = parsed.table, parsed.numbers
    values = np.asarray(convert.column(table.column(value), "number", value, origin, numbers).to_numpy(), np.float64)
    values = np.where(np.isfinite(values), values, np.nan)
    others = known.columns(parsed, beside, origin)
    names = [""] * len(values) if owner is None else table.column(owner).to_pylist()
    stamps = None if when is None else _stamps(table.column(when), when, origin, numbers)
    rejects = list(parsed.rejects)
    members: dict[Any, list[int]] = {}
    for row, name in enumerate(names):
        if name is None:
            rejects.append(Reject(origin, numbers[row], f'the series "{owner}" is missing'))
        else:
            members.setdefault(name, []).append(row)
    wholes, double, uneven, gaps, bridged = [], 0, 0, 0, 0
    for name, found in members.items():
        order = found if stamps is None else sorted(found, key=lambda row: stamps[row])
        own = np.arange(1, len(order) + 1).tolist() if stamps is None else [stamps[row] for row in order]
        steps = steps_of(own)
        places, off = steps.places(own)
        length = int(places[-1]) + 1
        if length > 10 * len(order):
            rejects.append(Reject(origin, numbers[order[0]], f'the gaps of the series "{name}" are too long'))
            continue
        line = _placed(values[order], places, length)
        double += bool((np.bincount(places) > 1).any())
        uneven += off > 0.1
        there = np.flatnonzero(np.isfinite(line))
        if len(there) < LEAST:
            rejects.append(Reject(origin, numbers[order[0]], f'the series "{name}" has {len(there)} known values'))
            continue
        line = line[: there[-1] + 1]
        first = int(there[0])
        lines = np.array([_placed(own, places, length) for own in others[:, order]]).reshape(len(beside), length)
        lines = lines[:, first:]
        past = np.isfinite(lines[:, : len(line) - first])
        if not past.any(axis=1).all():
            lost = beside[int(np.argmin(past.any(axis=1)))]
            rejects.append(Reject(origin, numbers[order[0]], f'the series "{name}" has no value of "{lost}"'))
            continue
        bridged += not past.all()
        gaps += bool(np.isnan(line[first:]).any())
        steps = replace(steps, first=_moved(steps, first))
        whole = Whole(name, line[first:], steps, numbers[order[-1]], known=known.mended(lines, past.shape[1]))
        whole.season = _season(whole, options)
        wholes.append(whole)
    kinds = (
        (double, "values of the same step were averaged"), (uneven, "values went to the nearest even step"),
        (gaps, "missing values inside a history lie on straight lines; missing ones to be found count for nothing"),
        (bridged, "missing values of what is known ahead lie on straight lines"),
    )  # fmt: skip
    return wholes, rejects, [f"Series: {rule} ({number:,} series)." for number, rule in kinds if number]


def _placed(values: np.ndarray, places: np.ndarray, length: int) -> np.ndarray:
    """The mean of the values [N] of each step [T], NaN where a step has none."""
    there = np.isfinite(values)
    total = np.bincount(places[there], values[there], length)
    count = np.bincount(places[there], minlength=length)
    return np.asarray(np.divide(total, count, out=np.full(length, np.nan), where=count > 0))


def _stamps(values: pa.ChunkedArray, name: str, origin: str, numbers: list[int]) -> list[Any]:
    """Times as numbers or datetimes. Raises DataError HS-DATA-020."""
    import pyarrow as pa

    number = pa.types.is_integer(values.type) or pa.types.is_floating(values.type)
    found = values if number else convert.column(values, "datetime", name, origin, numbers)
    stamps: list[Any] = found.to_pylist()
    lost = [row for row, stamp in enumerate(stamps) if stamp is None or stamp != stamp]
    if lost:
        raise DataError(
            "HS-DATA-020", f'{origin}: the step "{name}" is missing in row {numbers[lost[0]]}.', "Fill it in."
        )
    return stamps


def _moved(steps: Steps, place: int) -> Any:
    """The stamp of a step as it is kept, not as it is written."""
    if place == 0:
        return steps.first
    stamp = steps.stamp(place)
    return type(steps.first).fromisoformat(stamp) if isinstance(stamp, str) else stamp


def _season(whole: Whole, options: Options) -> int:
    """What was given, else what the calendar suggests, else what the values before the test say."""
    if options.season:
        return options.season
    test = [] if options.for_prediction else parts(len(whole.values), options.horizon or 1)[0]
    before = whole.values[: test[0]] if test else whole.values
    found = whole.steps.season
    found = found if found > 1 else season_of(before)
    return found if len(before) > found + 1 else 1


# --- windows -----------------------------------------------------------------------------------------------------


def parts(length: int, horizon: int) -> tuple[list[int], list[int], int]:
    """Origins of the test, origins of validation, and the end of training, of a series of so many steps.

    One test window, two from 8 horizons on, three from 16; of validation one more, half a horizon apart, where the
    series has 5 horizons or more. Empty where the series is too short.
    """
    spans = length / horizon
    count = 1 if spans < 8 else 2 if spans < 16 else 3
    test = [length - (place + 1) * horizon for place in reversed(range(count))]
    stride = max(1, (horizon + 1) // 2)
    valid = [test[0] - horizon - place * stride for place in reversed(range(count + 1 if spans >= 5 else 1))]
    return (test, valid, valid[0]) if valid[0] >= LEAST else ([], [], 0)


def _rolling(whole: Whole, horizon: int) -> list[Window]:
    test, valid, end = parts(len(whole.values), horizon)
    there = np.isfinite(whole.values)
    if not test:
        return []
    whole_horizon = [(origin, "test") for origin in test] + [(origin, "valid") for origin in valid]
    found = [Window(whole, origin, origin + horizon, part) for origin, part in whole_horizon]
    for origin in range(end - (horizon + 1) // 2, LEAST - 1, -1):  # of the last ones half of the values are enough
        found.append(Window(whole, origin, min(end, origin + horizon), "train"))
    return [
        each for each in found
        if there[each.origin - 1] and there[: each.origin].sum() >= LEAST and there[each.origin : each.end].any()
    ]  # fmt: skip


def _last(whole: Whole, horizon: int) -> list[Window]:
    length = len(whole.values)
    return [Window(whole, length, length + horizon, "")] if np.isfinite(whole.values).sum() >= LEAST else []


def _thinned(windows: list[Window]) -> list[Window]:
    """All windows but of those that train every so manieth, from the latest back, so that `MOST` are left."""
    training: dict[int, list[Window]] = {}
    for each in windows:
        if each.part == "train":
            training.setdefault(id(each.series), []).append(each)
    total = sum(map(len, training.values()))
    stride = max(1, -(-total // MOST))
    kept = [each for own in training.values() for each in own[::stride]]
    return [each for each in windows if each.part != "train"] + kept


def _told(windows: Sequence[Window], horizon: int) -> list[str]:
    """How the origins lie and which seasons were taken, for the user."""
    counts = {part: sum(each.part == part for each in windows) for part in ("train", "valid", "test")}
    seasons: dict[int, int] = {}
    for whole in {id(each.series): each.series for each in windows}.values():
        seasons[whole.season] = seasons.get(whole.season, 0) + 1
    told = ", ".join(f"{season} steps ({count:,} series)" for season, count in sorted(seasons.items()))
    return [
        f"Windows of {horizon} steps by rolling origins: the last ones of each series test ({counts['test']:,}), those "
        f"before validate ({counts['valid']:,}), earlier ones train ({counts['train']:,}).",
        f"Season: {told}.",
        "No head start is measured: windows of one series overlap, so they do not count like labels.",
    ]


def _dataset(
    windows: Sequence[Window], horizon: int, value: str, owner: str | None, when: str | None, beside: Sequence[str],
    origin: str, rejects: Sequence[Reject], notes: Sequence[str], labelled: bool,
) -> Dataset:  # fmt: skip
    import pyarrow as pa

    histories, targets, stamps = [], [], []
    for each in windows:
        history = filled(each.series.values[max(0, each.origin - CONTEXT) : each.origin])
        histories.append(history)
        if labelled:
            ahead = np.full(horizon, np.nan)
            ahead[: each.end - each.origin] = each.series.values[each.origin : each.end]
            targets.append([*ahead, *ranged(history), scale(history, each.series.season)])
        places = range(each.origin, each.origin + horizon)
        stamps.append([str(each.series.steps.stamp(place)) for place in places])
    taken = {value, owner, when, *beside}
    columns, data = [], {}

    def add(name: str, role: Any, kind: Any, values: Any) -> None:
        columns.append(Column(name, role, kind))
        data[name] = values

    if owner is not None:
        add(owner, "series", "category", pa.array([each.series.name for each in windows]))
    add(when or PLAIN, "step" if when else "unused", "labels", pa.array(stamps, pa.list_(pa.string())))
    add(value, "input", "series", pa.array(histories, pa.list_(pa.float64())))
    for place, name in enumerate(beside):
        lines = [each.series.known[place, max(0, each.origin - CONTEXT) : each.origin + horizon] for each in windows]
        add(name, known.ROLE, "series", pa.array(lines, pa.list_(pa.float64())))
    add(SEASON, "season", "number", pa.array([each.series.season for each in windows], pa.int64()))
    if labelled:
        name = f"{value} {AHEAD}"
        add(name if name not in taken else f"{name} {AHEAD}", "target", "future", pa.array(targets))
        add("split", "split", "category", pa.array([each.part for each in windows]))
    numbers = [each.series.number for each in windows]
    return Dataset(_stored(pa.table(data)), columns, origin=origin, rejects=rejects, numbers=numbers, notes=notes)


def _stored(table: pa.Table) -> Any:
    import uuid

    import datasets
    from datasets.table import InMemoryTable

    return datasets.Dataset(InMemoryTable(table), fingerprint=uuid.uuid4().hex[:16])


# --- what tasks and methods ask of windows -----------------------------------------------------------------------


def seasons(dataset: Dataset) -> list[int]:
    """Steps of a season of each row."""
    return [int(season) for season in dataset.values(dataset.with_role("season")[0].name)]


def names(dataset: Dataset) -> list[Any]:
    """The series of each row; the same empty name where there is but one."""
    columns = dataset.with_role("series")
    return dataset.values(columns[0].name) if columns else [""] * len(dataset)


def stamps_ahead(dataset: Dataset) -> tuple[str, list[list[str]]]:
    """The name of the column of steps, and the steps of each row for which there is a forecast."""
    columns = dataset.with_role("step")
    name = columns[0].name if columns else PLAIN
    return name, dataset.values(name)


def with_histories(dataset: Dataset, histories: Sequence[np.ndarray]) -> Dataset:
    """The same rows with other histories [T_i]."""
    import pyarrow as pa

    name, table = dataset.inputs[0].name, dataset.table.with_format("arrow")[:]
    column = pa.array(histories, pa.list_(pa.float64()))
    table = table.set_column(table.column_names.index(name), name, column)
    return Dataset(_stored(table), dataset.columns, origin=dataset.origin, numbers=dataset.numbers)
