"""Which rows cannot be used, and why: no target, an empty input, a broken picture or sound, tags that do not fit."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.datasets import clip, images, series, sounds
from headstart.datasets.base import Column, Reject
from headstart.errors import DataError, HeadstartError

if TYPE_CHECKING:
    import pyarrow as pa

MISSING_LABELS = ("", "nan", "NaN")
LIMIT = 0.2  # the share of rejected rows above which a fit stops


def target_problems(
    table: pa.Table, column: Column, origin: str, numbers: list[int], asked: bool
) -> list[HeadstartError]:
    """HS-DATA-008 where every target is missing; HS-DATA-009 where numbers and text are mixed and no kind was asked."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = table.column(column.name)
    gone = _missing(values)
    if len(values) and pc.all(gone).as_py():
        return [
            DataError("HS-DATA-008", f'{origin}: the target "{column.name}" is missing in every row.', "Fill it in.")
        ]
    if asked or column.kind != "category" or not pa.types.is_string(values.type):
        return []
    number = pc.and_(pc.match_substring_regex(values, series.NUMERIC), pc.invert(gone))
    text = pc.and_(pc.invert(pc.match_substring_regex(values, series.NUMERIC)), pc.invert(gone))
    numeric, textual = pc.sum(number).as_py() or 0, pc.sum(text).as_py() or 0
    if not numeric or not textual:
        return []
    row = pc.index(number if numeric < textual else text, True).as_py()
    few, many = ("a number", "text") if numeric < textual else ("text", "numbers")
    return [
        DataError(
            "HS-DATA-009",
            f'{origin}: the target "{column.name}" holds {few} ("{str(values[row])[:40]}") in row {numbers[row]} '
            f"among {many}.",
            "Mend the row, or ask for the kind category to take all values as names.",
        )
    ]


def strays(table: pa.Table, columns: list[Column], numbers: list[int], asked: Collection[str]) -> list[str]:
    """A line for each column that is no input of numbers because of a cell in ten or fewer, where inputs are numbers
    and categories. asked: those whose kind or role the caller named.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    found: list[str] = []
    if not {column.kind for column in columns if column.role == "input"} <= {"number", "category"}:
        return found
    for column in columns:
        values = table.column(column.name)
        free = column.role in ("input", "unused") and column.name not in asked
        if not free or not pa.types.is_string(values.type):
            continue
        there = pc.invert(_missing(values))
        number = pc.and_(pc.match_substring_regex(values, series.NUMERIC), there)
        stray = pc.and_(pc.invert(pc.match_substring_regex(values, series.NUMERIC)), there)
        odd, total = pc.sum(stray).as_py() or 0, pc.sum(there).as_py() or 0
        if odd and (pc.sum(number).as_py() or 0) >= 0.9 * total:
            row = pc.index(pc.fill_null(stray, False), True).as_py()
            found.append(
                f'Columns: "{column.name}" is {"left out" if column.role == "unused" else "a category"} though all but '
                f'{odd:,} of its cells are numbers; row {numbers[row]} holds "{str(values[row])[:40]}". Mend it, or '
                f"say --kind {column.name}=category."
            )
    return found


def bad_rows(
    table: pa.Table, columns: list[Column], root: Path | None, labelled: bool
) -> dict[int, tuple[str | None, str]]:
    """Position -> (path of the file if it is another than the table's, reason) for rows that cannot be used."""
    import pyarrow as pa
    import pyarrow.compute as pc

    bad: dict[int, tuple[str | None, str]] = {}
    inputs = [column for column in columns if column.role == "input"]
    empties = [_empty(table.column(column.name)) for column in inputs if column.kind != "items"]
    if empties:
        empty = empties[0]
        for other in empties[1:]:
            empty = pc.and_(empty, other)
        named = f'the input "{inputs[0].name}" is empty' if len(inputs) == 1 else "all inputs are empty"
        bad |= dict.fromkeys(_where(empty), (None, named))
    for column in columns:
        values = table.column(column.name)
        if column.role == "target" and labelled:
            bad |= dict.fromkeys(_where(_missing(values)), (None, f'the target "{column.name}" is missing'))
            if column.kind == "items":
                bad |= dict.fromkeys(_where(_empty(values)), (None, f'the target "{column.name}" names no item'))
        elif column.role == "split":
            bad |= dict.fromkeys(_where(pc.is_null(values)), (None, f'the split "{column.name}" is missing'))
        elif column.role == "input" and column.kind == "image":
            bad |= _broken(values, root, skip=bad)
        elif column.role == "input" and column.kind == "audio":
            bad |= _unheard(table, column, inputs, root, skip=bad)
        elif column.role == "input" and column.kind == "array":
            lengths = pc.list_value_length(values)
            usual = pc.mode(lengths)[0]["mode"] if pc.count(lengths).as_py() else pa.scalar(0)
            off = _where(pc.not_equal(lengths, usual))
            bad |= dict.fromkeys(off, (None, f'the vector "{column.name}" has not {usual} numbers as the others'))
    bad |= {row: (None, reason) for row, reason in series.unusable(table, columns).items() if row not in bad}
    if labelled:
        bad |= _uneven(table, columns)
    return bad


def _uneven(table: pa.Table, columns: list[Column]) -> dict[int, tuple[str | None, str]]:
    """Rows whose tags are not one for each word."""
    import pyarrow.compute as pc

    words = next((c.name for c in columns if c.role == "input" and c.kind == "tokens"), None)
    tags = next((c.name for c in columns if c.role == "target" and c.kind == "tags"), None)
    if words is None or tags is None:
        return {}
    left, right = pc.list_value_length(table.column(words)), pc.list_value_length(table.column(tags))
    wrong = _where(pc.not_equal(left, right))
    return {row: (None, f"{right[row]} tags for {left[row]} tokens") for row in wrong}


def _broken(
    values: pa.ChunkedArray, root: Path | None, skip: dict[int, tuple[str | None, str]]
) -> dict[int, tuple[str | None, str]]:
    """Pictures that do not decode."""
    import pyarrow as pa

    if pa.types.is_string(values.type):
        rows = [row for row in range(len(values)) if row not in skip]
        paths = [(root or Path()) / str(value) for value in values.take(pa.array(rows, pa.int64())).to_pylist()]
        return {rows[i]: (str(paths[i]), reason) for i, reason in images.broken(paths).items()}
    bad: dict[int, tuple[str | None, str]] = {}
    start = 0
    for chunk in values.chunks:  # encoded pictures: a chunk at a time, not all in memory
        found = images.broken_bytes([value or b"" for value in chunk.to_pylist()])
        bad |= {start + i: (None, reason) for i, reason in found.items() if start + i not in skip}
        start += len(chunk)
    return bad


def _unheard(
    table: pa.Table,
    column: Column,
    inputs: list[Column],
    root: Path | None,
    skip: dict[int, tuple[str | None, str]],
) -> dict[int, tuple[str | None, str]]:
    """Sounds, or parts of them, that cannot be used; see `headstart.datasets.sounds`."""
    import pyarrow as pa

    values = table.column(column.name)
    named = {other.name.lower(): other.name for other in inputs if other.name != column.name}
    if not pa.types.is_string(values.type):
        if named:
            return dict.fromkeys(range(len(values)), (None, "start and end need the path of a sound, not its bytes"))
        content = [value or b"" for value in values.to_pylist()]
        return {i: (None, why) for i, why in sounds.broken_bytes(content).items() if i not in skip}
    ends = [
        table.column(named[end]).to_pylist() if end in named else [None] * len(values) for end in (clip.START, clip.END)
    ]
    rows = [row for row in range(len(values)) if row not in skip]
    paths = [str((root or Path()) / str(values[row].as_py() or "")) for row in rows]
    clips = [clip.spelled(path, ends[0][row], ends[1][row]) for path, row in zip(paths, rows)]
    return {rows[i]: (paths[i], why) for i, why in sounds.broken(clips).items()}


def _missing(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """True where a target value is not there: null, blank or NaN."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_string(values.type):
        blank = pc.is_in(pc.utf8_trim_whitespace(values), value_set=pa.array(MISSING_LABELS))
        return pc.or_(pc.is_null(values), blank)
    return pc.is_null(values)


def _empty(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """True where an input value is not there: null, blank or an empty list."""
    import pyarrow as pa
    import pyarrow.compute as pc

    null = pc.is_null(values)
    if pa.types.is_string(values.type):
        return pc.or_(null, pc.equal(pc.fill_null(pc.utf8_length(pc.utf8_trim_whitespace(values)), 0), 0))
    if pa.types.is_list(values.type):
        return pc.or_(null, pc.equal(pc.fill_null(pc.list_value_length(values), 0), 0))
    return null


def _where(mask: pa.ChunkedArray) -> list[int]:
    import pyarrow as pa
    import pyarrow.compute as pc

    rows: list[int] = []
    start = 0
    for chunk in mask.chunks if isinstance(mask, pa.ChunkedArray) else [mask]:
        rows += [start + row for row in pc.indices_nonzero(pc.fill_null(chunk, False)).to_pylist()]
        start += len(chunk)
    return rows


def too_many(origin: str, rejects: list[Reject], kept: int, limit: float = LIMIT) -> DataError | None:
    """HS-DATA-010 with the first five reasons where more than ``limit`` of the rows are rejected.

    HS-DATA-018 instead where every one was rejected for its spans or tags.
    """
    total = kept + len(rejects)
    if not rejects or len(rejects) <= limit * total:
        return None
    listed = "; ".join(_line(origin, reject) for reject in rejects[:5])
    spans = all(reject.reason.startswith(("span ", "a span ")) or " tags for " in reject.reason for reject in rejects)
    return DataError(
        "HS-DATA-018" if spans else "HS-DATA-010",
        f"{origin}: {len(rejects)} of {total} rows were rejected: {listed}.",
        f"Mend them; a fit goes on with at most {LIMIT:.0%} rejected.",
    )


def _line(origin: str, reject: Reject) -> str:
    name = f"{Path(reject.path).name}: " if reject.path and reject.path != origin else ""
    row = f"row {reject.row}: " if reject.row is not None and not name else ""
    return f"{name}{row}{reject.reason}"
