"""Two tables that call their columns differently: the labelled rows take on the names of the target domain.

Which column is which is found and corrected as for a source (`headstart.sources.schema_matching`); columns of the
labelled table that the other one lacks take no part. So a model of these rows reads tables with the names of the target
domain. Where every input column has its name in both tables, nothing is looked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headstart.datasets.base import Column, Dataset
from headstart.datasets.read import column_names, read
from headstart.errors import DataError, UsageError, did_you_mean
from headstart.sources.schema_matching import Pair, Profile, match, plain, told


def renamed(
    given: Dataset, to: Any, *, limit: int | None = None, align: Mapping[str, str] | None = None, all_of: bool = False
) -> Dataset:
    """The labelled rows with the names that their columns have in ``to``, and a note that says which is which.

    align: column of ``given`` -> column of ``to``, or empty for none, over what is found; the target column is found by
    its name alone, or by what is said here. all_of: no input column may be missing.

    Raises UsageError HS-USAGE-001 and DataError HS-DATA-020 as `schema_matching.match` does, DataError HS-DATA-015
    where one that may not be missing is, HS-DATA-017 where no column is found, and what `read` raises.
    """
    inputs = [column.name for column in given.inputs]
    said, names, goal = dict(align or {}), column_names(to, inputs), given.target
    if not said and set(inputs) <= set(names):
        return given
    label = said.pop(goal.name, goal.name) if goal is not None else ""
    if goal is not None and label != goal.name and label not in names:
        raise UsageError(
            "HS-USAGE-001", f'--align: the data have no column "{label}".', did_you_mean(label, names)
        )  # fmt: skip
    rows = _profiled(given, to, [name for name in names if name != label], said, limit)
    ours = [Profile.of(given, column) for column in given.inputs]
    theirs = [Profile.of(rows, column) for column in rows.inputs]
    pairs = match(ours, theirs, said)
    _check(given, rows, pairs, all_of)
    note = told(pairs, inputs, [each.name for each in theirs], "in the labelled table")
    return _with_names(given, {pair.source: pair.target for pair in pairs}, label, note)


def _profiled(given: Dataset, to: Any, names: Sequence[str], said: Mapping[str, str], limit: int | None) -> Dataset:
    """The rows of ``to`` with every column as an input, of the kind that a column of the same name has in ``given``."""
    if isinstance(to, Dataset):
        return to
    kinds = {plain(column.name): column.kind for column in given.inputs}
    known = {name: kinds[plain(name)] for name in names if plain(name) in kinds}
    known |= {said[column.name]: column.kind for column in given.inputs if said.get(column.name) in names}
    return read(to, input=list(names), kinds=known, for_prediction=True, limit=limit)


def _check(given: Dataset, rows: Dataset, pairs: Sequence[Pair], all_of: bool) -> None:
    """Raise where too little was found."""
    known, hint = ", ".join(column.name for column in given.inputs), 'Say which is which with --align "LABELLED=THERE".'
    if not pairs:
        raise DataError(
            "HS-DATA-017", f"{rows.origin}: no input column is one of the labelled table.", f"It has: {known}. {hint}"
        )
    lacking = [column.name for column in given.inputs if column.name not in {pair.source for pair in pairs}]
    if all_of and lacking:
        raise DataError(
            "HS-DATA-015", f"{rows.origin}: lacks the column {', '.join(map(repr, lacking))}, named as input.", hint
        )


def _with_names(given: Dataset, names: Mapping[str, str], label: str, note: str) -> Dataset:
    """These input columns with other names, the target called ``label``, and the columns that are neither."""
    kept: list[tuple[str, Column]] = []
    taken = {*names.values(), label}
    for column in given.columns:
        if column.role == "input" and column.name in names:
            kept.append((column.name, Column(names[column.name], column.role, column.kind)))
        elif column.role == "target":
            kept.append((column.name, Column(label, column.role, column.kind)))
        elif column.role not in ("input", "unused"):
            free = f"{column.name}_" if column.name in taken else column.name
            kept.append((column.name, Column(free, column.role, column.kind)))
    table = given.table.select_columns([name for name, _ in kept])
    return Dataset(
        table.rename_columns({name: column.name for name, column in kept}), [column for _, column in kept],
        origin=given.origin, root=given.root, rejects=given.rejects, numbers=given.numbers,
        notes=[*given.notes, note], items=given.items,
    )  # fmt: skip
