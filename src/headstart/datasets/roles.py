"""What each column is for: what the caller named, else the rules below.

Target: the class folder; else the column called label, labels, target, class or y. Input: a column of sounds if there
is one, with the columns ``start`` and ``end`` (seconds) beside a path; else an image column; else words; else every
series; else every text column; else every number, category and array column that is no identifier. Split: a column
called ``split`` with a name of a part in it. Group, time, domain, weight, series, step and known are never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast, get_args

from headstart.datasets import clip, convert, infer
from headstart.datasets.base import Column, Kind, Role
from headstart.datasets.folder import SPLITS
from headstart.datasets.parsed import Parsed
from headstart.errors import DataError, HeadstartError, UsageError, did_you_mean, raise_all

if TYPE_CHECKING:
    import pyarrow as pa

TARGETS = ("label", "labels", "target", "class", "y")


def choose(
    parsed: Parsed,
    origin: str,
    *,
    target: str | Sequence[str] | None,
    inputs: Sequence[str],
    roles: Mapping[str, str],
    kinds: Mapping[str, str],
    for_prediction: bool,
) -> tuple[pa.Table, list[Column]]:
    """The table with its columns converted, and a `Column` for each of them. target: the name of one, or of several.

    Raises DataError HS-DATA-003, -014, -015, -017, -020 and UsageError HS-USAGE-001, all that apply at once.
    """
    table = parsed.table
    names = table.column_names
    targets = [target] if isinstance(target, str) else list(dict.fromkeys(target or ()))
    _check_names(names, origin, targets, inputs, roles, kinds, for_prediction)
    problems: list[HeadstartError] = []
    found: dict[str, Kind | None] = {
        name: parsed.kinds.get(name) or infer.column_kind(name, table.column(name), table, parsed.root)
        for name in names
    }
    found |= {name: cast(Kind, kind) for name, kind in kinds.items() if name in names}
    given: dict[str, Role] = {name: cast(Role, role) for name, role in roles.items() if name in names}
    split = next((name for name, role in given.items() if role == "split"), None)
    if split is None and not for_prediction:
        split = _split(table, given, targets, inputs)
    if split:
        given[split] = "split"
        found[split] = "category"
        table = _normalise_split(table, split, origin, parsed.numbers, problems)
    goals = _targets(parsed, targets, given, inputs)
    for goal in goals:
        if goal in names:
            given[goal] = "target"
            if goal not in kinds:
                found[goal] = infer.target_kind(table.column(goal), found[goal])
    chosen = list(inputs) or _inputs(parsed, table, found, given)
    for name in chosen:
        given[name] = "input"
        if inputs and name not in kinds and found.get(name) == "category":
            found[name] = _named_input_kind(name, table, found)
    if not goals and not for_prediction:
        problems.append(_no_target(origin, [name for name in names if name != split], found, chosen))
    if not chosen:
        problems.append(_no_input(origin, names))
    mixed = [name for name in chosen if found.get(name) != "series"]
    if len(mixed) < len(chosen) and mixed:
        told = f'{origin}: the input "{mixed[0]}" is no series, and others are.'
        problems.append(DataError("HS-DATA-017", told, "Name series alone with --input."))
    columns = [Column(name, given.get(name, "unused"), found[name] or "category") for name in names]
    columns = [replace(c, role="unused") if found[c.name] is None and c.role != "target" else c for c in columns]
    for column in columns:
        if column.role != "unused" or column.name in kinds:
            try:
                table = _converted(table, column, origin, parsed.numbers)
            except DataError as error:
                problems.append(error)
    raise_all(problems)
    return table, columns


def _check_names(
    names: list[str],
    origin: str,
    targets: Sequence[str],
    inputs: Sequence[str],
    roles: Mapping[str, str],
    kinds: Mapping[str, str],
    for_prediction: bool,
) -> None:
    """Every named column exists, every role and kind is known; all problems at once."""
    problems: list[HeadstartError] = []
    for name in inputs:
        if name not in names:
            code, word = ("HS-DATA-015", "the model needs") if for_prediction else ("HS-DATA-003", "named as input")
            problems.append(
                DataError(code, f'{origin}: there is no column "{name}", which is {word}.', did_you_mean(name, names))
                if not for_prediction
                else DataError(code, f'{origin}: lacks the column "{name}" {word}.', did_you_mean(name, names))
            )
    others = [] if for_prediction else [*targets, *roles, *kinds]
    for name in dict.fromkeys(others):
        if name not in names and name not in inputs:
            word = "target " if name in targets else ""
            problems.append(
                DataError("HS-DATA-003", f'{origin}: there is no {word}column "{name}".', did_you_mean(name, names))
            )
    for what, wanted, known in (("role", roles, get_args(Role)), ("kind", kinds, get_args(Kind))):
        for name, value in wanted.items():
            if value not in known:
                problems.append(
                    UsageError(
                        "HS-USAGE-001", f'column "{name}": unknown {what} "{value}".', did_you_mean(value, known)
                    )
                )
    problems += [
        UsageError("HS-USAGE-001", f'the column "{target}" is named as input and as target.')
        for target in targets
        if target in inputs
    ]
    raise_all(problems)


def _targets(parsed: Parsed, targets: Sequence[str], given: Mapping[str, str], inputs: Sequence[str]) -> Sequence[str]:
    """The target columns: those that were named, else one that the format or its name tells, else none."""
    named = [name for name, role in given.items() if role == "target"]
    if targets or named:
        return targets or named
    if parsed.target:
        return [parsed.target]
    lower = {name.lower(): name for name in reversed(parsed.table.column_names)}
    return [lower[n] for n in TARGETS if n in lower and lower[n] not in given and lower[n] not in inputs][:1]


def _inputs(parsed: Parsed, table: pa.Table, found: Mapping[str, Kind | None], given: Mapping[str, str]) -> list[str]:
    named = [name for name, role in given.items() if role == "input"]
    if named:
        return named
    free = [name for name in table.column_names if name not in given]
    known = [name for name in parsed.inputs if name in free]
    if known:
        return known
    for name in free:
        if found[name] == "audio":
            return [name, *_part(name, free, table, found)]
    for kind in ("image", "tokens"):
        if first := [name for name in free if found[name] == kind][:1]:
            return first
    if channels := [name for name in free if found[name] == "series"]:
        return channels
    if texts := [name for name in free if found[name] == "text"]:
        return texts
    usable = [name for name in free if found[name] in ("number", "category", "array")]
    return [name for name in usable if not infer.is_identifier(name, table.column(name))]


def _part(name: str, free: Sequence[str], table: pa.Table, found: Mapping[str, Kind | None]) -> list[str]:
    """The columns that say which seconds of a sound file a row means."""
    import pyarrow as pa

    if not pa.types.is_string(table.schema.field(name).type):
        return []
    return [other for other in free if other.lower() in (clip.START, clip.END) and found[other] == "number"]


def _named_input_kind(name: str, table: pa.Table, found: Mapping[str, Kind | None]) -> Kind:
    """A string column that the caller names as input and that is nearly all different is text, not a category."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = table.column(name)
    if pa.types.is_string(values.type) and pc.count_distinct(values).as_py() > 0.5 * len(values):
        return "text"
    return cast(Kind, found[name])


def _split(table: pa.Table, given: Mapping[str, str], targets: Sequence[str], inputs: Sequence[str]) -> str | None:
    """A column called ``split`` with at least one known name in it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for name in table.column_names:
        if name.lower() != "split" or name in given or name in targets or name in inputs:
            continue
        if pa.types.is_string(table.schema.field(name).type):
            values = pc.unique(table.column(name)).to_pylist()
            if any(value is not None and value.strip().lower() in SPLITS for value in values):
                return str(name)
    return None


def _normalise_split(
    table: pa.Table, name: str, origin: str, numbers: list[int], problems: list[HeadstartError]
) -> pa.Table:
    """The split column with the names train, valid and test."""
    import pyarrow as pa

    values = table.column(name).to_pylist()
    parts = [None if value is None else SPLITS.get(str(value).strip().lower(), "") for value in values]
    if "" in parts:
        row = parts.index("")
        problems.append(
            DataError(
                "HS-DATA-014",
                f'{origin}: the split column "{name}" holds "{values[row]}" in row {numbers[row]}.',
                "Expected train, valid or test.",
            )
        )
    return table.set_column(table.column_names.index(name), name, pa.chunked_array([pa.array(parts, pa.string())]))


def _converted(table: pa.Table, column: Column, origin: str, numbers: list[int]) -> pa.Table:
    before = table.column(column.name)
    after = convert.column(before, column.kind, column.name, origin, numbers)
    return table if after is before else table.set_column(table.column_names.index(column.name), column.name, after)


def _no_target(origin: str, names: list[str], found: Mapping[str, Any], chosen: list[str]) -> DataError:
    kinds = ("category", "number", "labels", "tags")
    likely = [name for name in names if name not in chosen and found[name] in kinds]
    likely = likely or [name for name in names if found[name] in kinds]
    listed = ", ".join(f'"{name}"' for name in likely[:8])
    hint = f"Name one with --target; candidates: {listed}." if likely else "The rows hold no labels."
    return DataError("HS-DATA-003", f"{origin}: no column is the target.", hint)


def _no_input(origin: str, names: list[str]) -> DataError:
    listed = ", ".join(f'"{name}"' for name in names[:8])
    return DataError(
        "HS-DATA-017", f"{origin}: no column can be the input.", f"Name one with --input; there are: {listed}."
    )
