"""A path or an object becomes a `Dataset`: parse, say what each column is for, leave out the rows that cannot be used.

read("reviews.csv", target="sentiment")        CSV, TSV, JSON Lines, Parquet, CoNLL
read("photos/")                                class folders of images, sounds or texts, a saved ``datasets`` folder
read("GunPoint/")                              time series of the UCR and UEA archives (.ts)
read(frame, target="price")                    pandas, a dict of lists, a ``datasets.Dataset``
"""

from __future__ import annotations

import csv
import importlib
import io
import os
import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from headstart import disk
from headstart.datasets import checks, interactions, known, points, roles, series, users, windows
from headstart.datasets.base import Dataset, Reject
from headstart.datasets.items import of_lists
from headstart.datasets.parsed import Options, Parsed
from headstart.errors import DataError, EnvironmentProblem, UsageError, did_you_mean, raise_all

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".csv.gz", ".tsv.gz", ".jsonl.gz")


def read(
    source: Any,
    *,
    target: str | Sequence[str] | None = None,
    input: str | Sequence[str] | None = None,
    roles: Mapping[str, str] | None = None,
    kinds: Mapping[str, str] | None = None,
    limit: int | None = None,
    for_prediction: bool = False,
    stepwise: bool = False,
    horizon: int | None = None,
    season: int | None = None,
    items: Any = None,
    users: Any = None,
) -> Dataset:
    """The rows of ``source`` with a role and a kind for every column.

    source: a file, a folder, a DataFrame, a dict of lists, an Arrow table or a ``datasets`` object. target, input:
    column names; see `roles.py` for what is chosen without them, and `series.py` for time series in tables. Of several
    targets, a row in which one is missing is rejected. roles: column -> role. kinds: column -> kind, over what
    `infer.py` finds. limit: only the first rows. for_prediction: the rows need no target. stepwise: the target says
    something of every step of a series (`points.py`). horizon: the target is to be forecast by so many steps, and a row
    is a window of a series (`windows.py`), with what is known ahead (`known.py`). season: its steps, else inferred.
    items, users: of interactions (`interactions.py`) tables of what is known of each item and of each user.

    Raises DataError (HS-DATA-001 to -005, -008 to -011, -013 to -018, -020), EnvironmentProblem and UsageError; all
    that is wrong with the named columns comes in one error. Rows that cannot be used are in ``rejects``.
    """
    inputs = (input,) if isinstance(input, str) else tuple(input or ())
    for name, number in (("horizon", horizon), ("season", season)):
        if number is not None and number < 1:
            raise UsageError("HS-USAGE-001", f"the {name} is {number}.", "Expected a number of steps, 1 or more.")
    known.check_horizon(dict(roles or {}), horizon)
    options = Options(dict(kinds or {}), inputs, for_prediction, stepwise=stepwise, horizon=horizon, season=season or 0)
    parsed, origin = _parse(source, options)
    told = None if items is None else parsed_table(items)
    people = None if users is None else parsed_table(users)
    return typed(parsed, origin, target, options, dict(roles or {}), limit, told, people)


def parsed_table(source: Any) -> Parsed:
    """A table beside the rows as it stands there, before anyone says what its columns are for."""
    return _parse(source, Options())[0]


def column_names(source: Any, inputs: Sequence[str] = ()) -> list[str]:
    """The names of the columns, as they stand in a table. inputs: named input columns.

    Raises what `read` raises of the file.
    """
    if isinstance(source, Dataset):
        return list(source.table.column_names)
    return list(_parse(source, Options(inputs=tuple(inputs), for_prediction=True))[0].table.column_names)


def _parse(source: Any, options: Options) -> tuple[Parsed, str]:
    if not isinstance(source, str | os.PathLike):
        from headstart.datasets import memory

        return memory.parse(source), "memory"
    path = Path(source).expanduser()
    if not path.exists():
        near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError("HS-DATA-001", f"{path}: does not exist.", did_you_mean(path.name, near) if near else "")
    path = _only_table(path)
    for module in _formats():
        if module.matches(path):
            try:
                return module.parse(path, options), str(path)
            except PermissionError as error:
                raise EnvironmentProblem(
                    "HS-ENV-003", f"{path}: no permission to read it.", "Check its owner and mode."
                ) from error
    if path.is_dir():
        raise DataError(
            "HS-DATA-002",
            f"{path}: the folder holds no images, sounds, texts or table.",
            "Put the files into one folder a class.",
        )
    raise DataError(
        "HS-DATA-011",
        f'{path}: the format "{path.suffix}" is not known.',
        "Known: CSV, TSV, JSON Lines (.jsonl), Parquet, CoNLL (.conll), series (.ts), "
        "folders of images, sounds or texts.",
    )


@cache
def _formats() -> tuple[Any, ...]:
    """The modules of this folder that know a format of paths."""
    package = importlib.import_module("headstart.datasets")
    skip = {"base", "read", "shelf"}
    names = [info.name for info in pkgutil.iter_modules(package.__path__) if info.name not in skip]
    modules = [importlib.import_module(f"headstart.datasets.{name}") for name in names]
    return tuple(module for module in modules if hasattr(module, "matches"))


def _only_table(path: Path) -> Path:
    """The one table of a folder that has it beside its files (``labels.csv`` and pictures); else the path itself."""
    if not path.is_dir() or any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
        return path
    tables = [entry for entry in path.iterdir() if entry.is_file() and entry.name.lower().endswith(TABLES)]
    return tables[0] if len(tables) == 1 else path


def typed(
    parsed: Parsed,
    origin: str,
    target: str | Sequence[str] | None,
    options: Options,
    wanted: Mapping[str, str],
    limit: int | None,
    items: Parsed | None = None,
    people: Parsed | None = None,
) -> Dataset:
    """Parsed rows as a `Dataset`; ``wanted``: column -> role. Raises what `read` raises of columns and rows."""
    labelled = not options.for_prediction
    if options.horizon is not None:
        _limit(parsed, limit)
        return windows.rows(parsed, origin, target, options, wanted)
    if options.stepwise:
        parsed, notes, wanted = points.arranged(parsed, origin, wanted, options, target)
    else:
        parsed, notes = series.arranged(parsed, origin, wanted, options, target)
    parsed, wanted, told = interactions.arranged(parsed, origin, wanted, options, items)
    if people is not None:
        parsed, wanted, more = users.joined(parsed, origin, wanted, people, options)
        told = [*told, *more]
    _limit(parsed, limit)
    if not len(parsed.table):
        raise checks.too_many(origin, parsed.rejects, 0) or DataError(
            "HS-DATA-002", f"{origin}: there are no rows.", "It needs at least one row below the header."
        )
    table, columns = roles.choose(
        parsed,
        origin,
        target=target,
        inputs=options.inputs,
        roles=wanted,
        kinds=options.kinds,
        for_prediction=options.for_prediction,
    )
    table, filled = series.mended(table, columns)
    told = [*told, *checks.strays(table, columns, parsed.numbers, {*options.kinds, *wanted})]
    goals = [column for column in columns if column.role == "target" and labelled]
    raise_all(
        [
            problem
            for goal in goals
            for problem in checks.target_problems(table, goal, origin, parsed.numbers, goal.name in options.kinds)
        ]
    )
    bad = checks.bad_rows(table, columns, parsed.root, labelled)
    found = [Reject(path or origin, parsed.numbers[row], reason) for row, (path, reason) in sorted(bad.items())]
    rejects = sorted([*parsed.rejects, *found], key=lambda reject: reject.row or 0)
    kept = max(parsed.folded, len(table)) - len(bad)
    if problem := checks.too_many(origin, rejects, kept, checks.LIMIT if labelled else 0.9999):
        raise problem
    rows = [row for row in range(len(table)) if row not in bad] if bad else None
    return Dataset(
        _arrow_dataset(table, rows),
        columns,
        origin=origin,
        root=parsed.root,
        rejects=rejects,
        numbers=parsed.numbers if rows is None else [parsed.numbers[row] for row in rows],
        notes=[*notes, *told, *filled],
        items=parsed.items or of_lists(columns, table, items),
    )


def _limit(parsed: Parsed, limit: int | None) -> None:
    if limit is not None and limit < len(parsed.table):
        parsed.table = parsed.table.slice(0, limit)
        parsed.numbers = parsed.numbers[:limit]
        last = parsed.numbers[-1] if parsed.numbers else 0
        parsed.rejects = [reject for reject in parsed.rejects if reject.row is not None and reject.row <= last]


def _arrow_dataset(table: Any, rows: list[int] | None) -> Any:
    """A ``datasets.Dataset`` around an Arrow table, without copying its memory-mapped columns."""
    import uuid

    import datasets
    from datasets.table import InMemoryTable

    # a fingerprint of our own: the library would otherwise hash every value
    whole = datasets.Dataset(InMemoryTable(table), fingerprint=uuid.uuid4().hex[:16])
    return whole if rows is None else whole.select(rows)


def describe(dataset: Dataset) -> list[dict[str, Any]]:
    """One row for each column: name, role, kind, missing values, distinct values (None for lists), an example."""
    import pyarrow.compute as pc

    table = dataset.table.with_format("arrow")[:]
    shown = []
    for column in dataset.columns:
        values = table.column(column.name)
        simple = column.kind in ("category", "number", "text", "datetime")
        example = next((value for value in values.slice(0, 100).to_pylist() if value is not None), None)
        shown.append(
            {
                "name": column.name,
                "role": column.role,
                "kind": column.kind,
                "missing": values.null_count,
                "distinct": pc.count_distinct(values).as_py() if simple else None,
                "example": _shorten(example),
            }
        )
    return shown


def _shorten(value: Any) -> str:
    text = f"{len(value):,} bytes" if isinstance(value, bytes) else "" if value is None else str(value)
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:59] + "…"


def write_rejects(rejects: Sequence[Reject], path: str | Path) -> Path:
    """Write ``path,row,reason`` as CSV, whole or not at all. Raises EnvironmentProblem HS-ENV-002 or HS-ENV-003."""
    path = Path(path)
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["path", "row", "reason"])
    writer.writerows([reject.path, "" if reject.row is None else reject.row, reject.reason] for reject in rejects)
    with disk.replacing(path) as part:
        part.write_text(text.getvalue(), encoding="utf-8", newline="")
    return path
