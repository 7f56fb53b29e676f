"""Interactions (who, what, when) as rows: one row is one user, with the items of the past and those that came after.

    user,item,time  ->  user, item = [items in order of time], next = [items afterwards]

A table of interactions has columns with the roles ``user`` and ``item``, perhaps ``step`` (when), ``time`` (when, and
the evaluation is by time) and ``rating``. The rules, in this order:

- identifiers are text; a whole number that was stored as a decimal (``12.0``) is that number, any other decimal is
  rejected, and so are a missing user or item, a missing time and a time in the future (see `FUTURE`);
- an interaction rated under the middle of the scale is no sign of interest and does not count;
- of the same user and item only the first interaction counts;
- without ``time`` a row's last fifth of items, one at least, is what comes next, and users are what is held out. With
  ``time`` everybody's interactions are cut at two moments: what came before the first one trains, what came between
  them validates, what came after the second one tests (`SHARES` of the interactions);
- where the table of items has a column ``split`` (train, valid, test), the items of ``valid`` and ``test`` stand in no
  history and in no target of a training row: each user gets a row for each part, and these are new items.

Users with a single interaction have nothing to predict from or nothing to predict, and are left out of a fit, counted.
What is known of an item is told by `headstart.datasets.items`.
"""

from __future__ import annotations

import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.datasets.base import Dataset, Reject
from headstart.datasets.items import SPLIT, identifiers, listed, told
from headstart.datasets.parsed import Options, Parsed
from headstart.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

NEXT = "next"
LATER = 0.2
"""Part of a user's items that come next."""

SHARES = (0.7, 0.85)
"""Parts of the interactions before the first and before the second moment of an evaluation by time."""

FUTURE = 86_400.0
"""Seconds past the present from which a time lies in the future; only times that can be seconds since 1970 are told."""

SECONDS, MILLISECONDS = (2e8, 2e10), (2e11, 2e13)
"""What numbers are read as seconds or milliseconds since 1970; others are steps without a date."""

ROLES = ("user", "item", "rating")


def applies(roles: Mapping[str, str]) -> bool:
    """Whether the roles speak of interactions that are still to be folded."""
    return "user" in roles.values()


def arranged(
    parsed: Parsed, origin: str, roles: Mapping[str, str], options: Options, items: Parsed | None
) -> tuple[Parsed, dict[str, str], list[str]]:
    """One row for each user, the roles of its columns, and what was left out; the rows themselves where they are lists.

    Raises UsageError HS-USAGE-001 where a role is missing or stands twice, DataError HS-DATA-003 for an unknown
    column, HS-DATA-002 where nothing is left. A time or a rating that cannot be read is a rejected row.
    """
    import pyarrow as pa

    if not applies(roles):
        if name := next((name for name, role in roles.items() if role == "item"), ""):
            raise UsageError("HS-USAGE-001", f'"{name}" holds items, and no column says whose.', "Name it with --user.")
        return parsed, dict(roles), []
    named = _named(parsed.table.column_names, origin, roles, options)
    item = named["item"]
    if pa.types.is_list(parsed.table.schema.field(item).type):
        kept = {name: role for name, role in roles.items() if role != "item"}
        parsed.inputs = (*parsed.inputs, item)
        parsed.kinds[item] = "items"
        return parsed, kept, []
    features = {name: role for name, role in roles.items() if role == "feature"}
    folded, kept, notes = _folded(parsed, origin, named, options, items)
    return folded, {**kept, **features}, notes


def _named(names: Sequence[str], origin: str, roles: Mapping[str, str], options: Options) -> dict[str, str]:
    """Role -> column."""
    found: dict[str, str] = {}
    for name, role in roles.items():
        if role in (*ROLES, "step", "time"):
            if role in found:
                raise UsageError(
                    "HS-USAGE-001", f"several columns have the role {role}: {found[role]}, {name}.", "Name one."
                )
            found[role] = name
    if "item" not in found and len(options.inputs) == 1:
        found["item"] = options.inputs[0]
    if "item" not in found:
        raise UsageError(
            "HS-USAGE-001", f'"{found["user"]}" holds users, and no column says which item.', "Name it with --item."
        )
    for role, name in list(found.items()):
        if name not in names and options.for_prediction and role not in ("user", "item"):
            del found[role]
        elif name not in names:
            code = "HS-DATA-015" if options.for_prediction else "HS-DATA-003"
            raise DataError(code, f'{origin}: there is no column "{name}".', did_you_mean(name, names))
    return found


@dataclass
class _Log:
    """Interactions in order: by user, then by time. users, items: codes into the names. rows: places in the table."""

    users: np.ndarray
    items: np.ndarray
    stamps: np.ndarray
    rows: np.ndarray
    user_names: pa.Array
    item_names: pa.Array

    def part(self, keep: np.ndarray) -> _Log:
        return replace(
            self, users=self.users[keep], items=self.items[keep], stamps=self.stamps[keep], rows=self.rows[keep]
        )


def _folded(
    parsed: Parsed, origin: str, named: Mapping[str, str], options: Options, known: Parsed | None
) -> tuple[Parsed, dict[str, str], list[str]]:
    import pyarrow as pa

    rejects = list(parsed.rejects)
    log, notes = _log(parsed, origin, named, rejects)
    if not len(log.rows):
        raise DataError(
            "HS-DATA-002", f"{origin}: no interaction is left"
            + (f" ({rejects[0].reason})." if rejects else "."), "It needs rows with a user and an item.",
        )  # fmt: skip
    ids = log.item_names.to_pylist()
    items = (
        told(parsed.table, named.values(), ids, log.items, log.users, log.rows)
        if known is None
        else listed(known, named["item"], ids)
    )
    parts = None
    if items.parts and not options.for_prediction:
        place = {name: number for number, name in enumerate(items.ids)}
        parts = np.array([("train", "valid", "test").index(items.parts[place[name]]) for name in ids])
    if options.for_prediction:
        pieces = [(log, np.zeros(len(log.rows), bool), "")]
    elif parts is not None:
        part = parts[log.items]
        pieces = [(log.part(part == 0), _last(log.users[part == 0]), "train")]
        pieces += [(log.part((part == 0) | (part == n)), part[(part == 0) | (part == n)] == n, name)
                   for n, name in ((1, "valid"), (2, "test"))]  # fmt: skip
    elif "time" in named:
        first, second = np.quantile(log.stamps, SHARES, method="higher")
        before = log.stamps < first
        pieces = [(log.part(before), _last(log.users[before]), "train")]
        pieces += [(log.part(log.stamps < end), log.stamps[log.stamps < end] >= start, name)
                   for start, end, name in ((first, second, "valid"), (second, np.inf, "test"))]  # fmt: skip
    else:
        pieces = [(log, _last(log.users), "")]
    tables, numbers, left = [], [], 0
    for each, after, name in pieces:
        table, first_rows, lost = _rows(each, after, named, options.for_prediction)
        if name:
            table = table.append_column(SPLIT, pa.array([name] * len(table), pa.string()))
            left = left + lost if name == "train" else left
        else:
            left += lost
        tables.append(table)
        numbers += [parsed.numbers[row] for row in first_rows.tolist()]
    if left and not options.for_prediction:
        notes.append(f"Interactions: {left:,} users have too few to be learned from, and were left out.")
    table = pa.concat_tables(tables)
    roles = {named["user"]: "user", named["item"]: "input"}
    kinds: dict[str, Any] = {named["user"]: "category", named["item"]: "items"}
    if not options.for_prediction:
        roles, kinds = {**roles, NEXT: "target"}, {**kinds, NEXT: "items"}
    if SPLIT in table.column_names:
        roles, kinds = {**roles, SPLIT: "split"}, {**kinds, SPLIT: "category"}
    for role in ("step", "time", "rating"):
        if role in named:
            roles[named[role]], kinds[named[role]] = "rating" if role == "rating" else "step", "number"
    folded = Parsed(table, numbers, rejects, inputs=(named["item"],), kinds=kinds)
    folded.items, folded.folded = items, len(parsed.table) - len(rejects)
    return folded, roles, notes


def _last(users: np.ndarray) -> np.ndarray:
    """True for the last fifth of each user's interactions, one at least; users ascending, each in order of time."""
    starts = np.flatnonzero(np.diff(users, prepend=-1))
    counts = np.diff(np.append(starts, len(users)))
    later = np.maximum(1, np.floor(LATER * counts)).astype(int)
    place = np.arange(len(users)) - np.repeat(starts, counts)
    return np.asarray(place >= np.repeat(counts - later, counts))


def _rows(log: _Log, after: np.ndarray, named: Mapping[str, str], whole: bool) -> tuple[pa.Table, np.ndarray, int]:
    """A row for each user with something before and after (``whole``: with anything), their first rows in the table,
    and how many users there are without.
    """
    import pyarrow as pa

    starts = np.flatnonzero(np.diff(log.users, prepend=-1))
    sizes = np.diff(np.append(starts, len(log.users)))
    owner = np.repeat(np.arange(len(starts)), sizes)
    later = np.bincount(owner, after, len(starts)).astype(int)
    good = (later > 0) & (later < sizes) | whole
    keep = good[owner]
    users, first = log.users[starts[good]], log.rows[starts[good]]

    def lists(chosen: np.ndarray) -> pa.Array:
        counts = np.bincount(owner[chosen], minlength=len(starts))[good]
        ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(ends), log.item_names.take(pa.array(log.items[chosen])))

    columns = {named["user"]: log.user_names.take(pa.array(users)), named["item"]: lists(keep & ~after)}
    if not whole:
        columns[NEXT] = lists(keep & after)
    stamps = log.stamps[starts + np.where(whole, sizes - 1, sizes - np.maximum(later, 1))]
    for role in ("step", "time"):
        if role in named:
            columns[named[role]] = pa.array(stamps[good], pa.float64())
    if "rating" in named:
        columns[named["rating"]] = pa.nulls(len(users), pa.float64())
    return pa.table(columns), first, int((~good).sum())


# --- reading -----------------------------------------------------------------------------------------------------


def _log(parsed: Parsed, origin: str, named: Mapping[str, str], rejects: list[Reject]) -> tuple[_Log, list[str]]:
    """The interactions that count, in order, and what was left out; rows that cannot be used join the rejects."""
    import pyarrow as pa

    table, notes = parsed.table, []
    bad: dict[int, str] = {}
    codes, names = {}, {}
    for role in ("user", "item"):
        ids, wrong = identifiers(table.column(named[role]), named[role])
        bad = wrong | bad
        encoded = ids.dictionary_encode()
        codes[role] = np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
        names[role] = encoded.dictionary
    when = named.get("time", named.get("step"))
    stamps = np.arange(len(table), dtype=np.float64)
    if when is not None:
        stamps, late = _stamps(table.column(when), when)
        bad = late | bad
    keep = np.ones(len(table), bool)
    keep[list(bad)] = False
    if "rating" in named:
        values = table.column(named["rating"])
        ratings = _numbers(values)
        unread = {
            int(row): _unread(values, named["rating"], int(row), "a number")
            for row in np.flatnonzero(~np.isfinite(ratings))
        }
        bad = unread | bad
        keep[list(unread)] = False
        middle = (np.nanmin(ratings) + np.nanmax(ratings)) / 2 if np.isfinite(ratings).any() else 0.0
        low = keep & (ratings < middle)
        keep &= ~low
        if low.any():
            notes.append(
                f"Interactions: {int(low.sum()):,} rated under {middle:g}, the middle of the scale, do not count."
            )
    rejects += [Reject(origin, parsed.numbers[row], reason) for row, reason in sorted(bad.items())]
    rows = np.flatnonzero(keep)
    rows = rows[np.lexsort((rows, stamps[rows], codes["user"][rows]))]
    pair = codes["user"][rows] * (len(names["item"]) + 1) + codes["item"][rows]
    first = np.sort(np.unique(pair, return_index=True)[1])
    if len(first) < len(rows):
        notes.append(
            f"Interactions: {len(rows) - len(first):,} repeat a user and an item; only the first of them counts."
        )
    rows = rows[first]
    log = _Log(codes["user"][rows], codes["item"][rows], stamps[rows], rows, names["user"], names["item"])
    assert isinstance(names["user"], pa.Array)
    return log, notes


def _stamps(values: pa.ChunkedArray, name: str) -> tuple[np.ndarray, dict[int, str]]:
    """Times as float64 [rows] (dates in seconds), and row -> reason where one is missing, none, or in the future."""
    found, dated = _moments(values)
    bad = {int(row): _unread(values, name, int(row), "a time") for row in np.flatnonzero(~np.isfinite(found))}
    usual = float(np.nanmedian(found)) if np.isfinite(found).any() else 0.0
    unit = 1e3 if not dated and MILLISECONDS[0] < usual < MILLISECONDS[1] else 1.0
    if dated or unit > 1 or SECONDS[0] < usual < SECONDS[1]:
        for row in np.flatnonzero(found > (clock.time() + FUTURE) * unit):
            told = clock.strftime("%Y-%m-%d", clock.gmtime(min(found[row] / unit, 2e11)))
            bad[int(row)] = f'the time "{name}" lies in the future ({told})'
    return np.nan_to_num(found), bad


def _moments(values: pa.ChunkedArray) -> tuple[np.ndarray, bool]:
    """Numbers as they are, dates in seconds since 1970, NaN for what is neither; and whether they are dates."""
    import pandas as pd
    import pyarrow as pa

    numbers = _numbers(values)
    if pa.types.is_string(values.type) and np.isfinite(numbers).mean() < 0.5:
        dates = pd.to_datetime(values.to_pandas(), errors="coerce", utc=True, format="ISO8601")
        return np.asarray((dates - pd.Timestamp(0, tz="UTC")).dt.total_seconds(), np.float64), True
    if pa.types.is_timestamp(values.type):
        seconds = values.cast(pa.timestamp("us")).cast(pa.int64()).to_pandas()
        return np.asarray(seconds, np.float64) / 1e6, True
    return numbers, False


def _numbers(values: pa.ChunkedArray) -> np.ndarray:
    """Float64 [rows]; NaN for what is no number."""
    import pandas as pd
    import pyarrow as pa

    if pa.types.is_timestamp(values.type):
        return np.full(len(values), np.nan)
    return np.asarray(pd.to_numeric(values.to_pandas(), errors="coerce"), np.float64)


def _unread(values: pa.ChunkedArray, name: str, row: int, wanted: str) -> str:
    value = values[row].as_py()
    missing = value is None or value != value
    return f'"{name}" is missing' if missing else f'"{name}" holds "{str(value)[:40]}"; expected {wanted}'


def histories(dataset: Dataset) -> list[list[str]]:
    """The items of each row's past, in order."""
    name = next(column.name for column in dataset.inputs if column.kind == "items")
    return [list(row or ()) for row in dataset.values(name)]
