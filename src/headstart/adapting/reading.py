"""Two domains from two paths, or from one table with a column that says which row is of which domain; or a run and the
rows that its model is to be adapted to, which is all that is read then.

The rows of the target domain are handed on without their labels, physically; the labels, where there are any, are
sealed (`headstart.evidence.splits.Sealed`). Only where asked (``use_labels``) do rows of the target domain that
have a label, while others have none, join the labelled rows; then they are no part of the rows to adapt to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from headstart.adapting.aligning import renamed
from headstart.cache import key
from headstart.datasets.base import Column, Dataset
from headstart.datasets.read import read
from headstart.errors import DataError, UsageError, did_you_mean
from headstart.evidence.splits import Sealed
from headstart.methods.adaptation import inputs
from headstart.methods.saved import Saved, open_model, read_manifest
from headstart.tasks.base import check_independent

OF_FORECASTS = (
    "the windows of one series are no domain that labels could be carried over from",
    "Learn from the other series with `headstart pretrain THEM --objective forecast --out own`, then `headstart fit` "
    "with --source own; a run predicts new series as it is.",
)
"""Why forecasters are not adapted, and what serves instead."""


class Run(NamedTuple):
    """A saved run: its folder, its model, and a digest of the model's files."""

    folder: Path
    saved: Saved
    digest: str


class Two(NamedTuple):
    """labelled: rows with labels, of one domain or several; of a run there are none, and these are the target rows.
    target: rows of the target domain, inputs alone. sealed: the labels of the target domain, or None. run: what the
    first path is in place of rows. own: the value in the column of domains of those labelled rows that are of the
    target domain; None where there are none."""

    labelled: Dataset
    target: Dataset
    sealed: Sealed | None
    run: Run | None = None
    own: str | None = None

    @property
    def columns(self) -> list[Column]:
        """The columns that a model of these rows reads and predicts."""
        return (
            self.run.saved.columns if self.run else [c for c in self.labelled.columns if c.role in ("input", "target")]
        )

    @property
    def origin(self) -> str:
        """Where the rows come from: by it the folder of the result is called."""
        return f"{self.run.folder.name}-{Path(self.target.origin).stem}" if self.run else self.labelled.origin


def is_run(data: Any) -> bool:
    """Whether this is the folder of a run."""
    return isinstance(data, str | Path) and (Path(data) / "model.json").is_file()


def after_run(folder: str | Path, to: Any, *, limit: int | None, **fixed: Any) -> Two:
    """A run and the rows to adapt its model to. fixed: arguments that the run leaves no choice about.

    Raises UsageError HS-USAGE-001 where one of those is given or there are no rows, TaskError HS-TASK-002 for a run of
    forecasts, DataError HS-DATA-015 where they lack a column that the model reads, and what opening a run raises.
    """
    if to is None:
        raise UsageError(
            "HS-USAGE-001", f"{folder} is a run, and it is not said what to adapt it to.",
            "Give the rows of the target domain as a second path.",
        )  # fmt: skip
    if given := [name for name, value in fixed.items() if value]:
        raise UsageError(
            "HS-USAGE-001", f"{folder} is a run: {' and '.join(given)} cannot be chosen any more.", "Leave that out."
        )
    place = Path(folder)
    saved = open_model(place)
    check_independent(saved.fitted.task, *OF_FORECASTS)
    run = Run(place, saved, key(read_manifest(place)["files"]))
    goals = [column for column in saved.columns if column.role == "target"]
    rows, sealed = _read_target(to, saved.inputs, goals[0] if len(goals) == 1 else None, limit)
    saved.check_columns(rows)
    rows = inputs(saved.arranged(rows))
    return Two(rows, rows, sealed, run)


def two(
    data: Any, to: Any, *, target: str | None, domain: str | None, value: str | None, input: str | Sequence[str] | None,
    roles: Mapping[str, str] | None, kinds: Mapping[str, str] | None, limit: int | None, use_labels: bool = False,
    align: Mapping[str, str] | None = None,
) -> Two:  # fmt: skip
    """Read both domains; arguments as in `headstart.adapt`. Of two tables the labelled one takes on the names of the
    other's columns (`aligning.renamed`).

    Raises UsageError HS-USAGE-001 where it is not said what to adapt to, or labels are to be used and not some of the
    rows have one, DataError HS-DATA-012 where one of the two domains has no rows, and what `read` and `renamed` raise.
    """
    if to is None and (domain is None or value is None):
        raise UsageError(
            "HS-USAGE-001", "it is not said what to adapt to.",
            "Give the rows of the target domain as a second path, or --domain COLUMN and --to VALUE.",
        )  # fmt: skip
    if to is not None and value is not None:
        raise UsageError(
            "HS-USAGE-001", "there are a second path and --to, which both name the target domain.", "Leave out one."
        )
    wanted = {**(roles or {}), **({domain: "domain"} if domain else {})} or None
    given = data if isinstance(data, Dataset) else read(
        data, target=target, input=input, roles=wanted, kinds=kinds, limit=limit,
        for_prediction=use_labels and to is None,
    )  # fmt: skip
    if target is not None:
        given = given.aim(target)
    if to is None:
        assert domain is not None and value is not None
        return _parted(given, domain, value, use_labels)
    if given.modality == "table":
        given = renamed(given, to, limit=limit, align=align, all_of=bool(input))
        if isinstance(to, Dataset):
            named = {column.name for column in given.inputs}
            to = to.assign(unused=[column.name for column in to.inputs if column.name not in named])
    elif align:
        raise UsageError(
            "HS-USAGE-001", f"--align is for the columns of tables; the input of {given.origin} is {given.modality}.",
            "Leave it out.",
        )  # fmt: skip
    return _joined(given, to, limit) if use_labels else _paired(given, to, limit)


def _parted(given: Dataset, domain: str, value: str, use_labels: bool) -> Two:
    """One table: rows with this value of the domain column are the target domain."""
    values = [str(each) for each in given.values(domain)]
    theirs = [place for place, each in enumerate(values) if each == value]
    ours = [place for place, each in enumerate(values) if each != value]
    if not theirs or not ours:
        raise DataError(
            "HS-DATA-012",
            f'{given.origin}, column "{domain}": {len(theirs)} rows hold "{value}" and {len(ours)} something else; '
            "expected some of both.",
            did_you_mean(value, sorted(set(values))) if not theirs else "Name another value with --to.",
        )
    if use_labels:
        there = _labelled(given)
        few, blank = _split(given, theirs, there)
        ours = [place for place in ours if there[place]]
        return Two(given.select(sorted([*ours, *few])), inputs(given.select(blank)), None, own=value)
    part = given.select(theirs)
    return Two(given.select(ours), inputs(part), Sealed(part))


def _labelled(rows: Dataset) -> list[bool]:
    """Which rows have a label."""
    return [value is not None and value == value and value != "" for value in rows.targets()]


def _split(rows: Dataset, theirs: Sequence[int], there: Sequence[bool]) -> tuple[list[int], list[int]]:
    """Places of the rows of the target domain with a label and of those without."""
    few, blank = ([place for place in theirs if there[place] == wanted] for wanted in (True, False))
    if not few or not blank:
        raise UsageError(
            "HS-USAGE-001", f"{rows.origin}: {len(few)} of {len(theirs)} rows of the target domain have a label; "
            "to use labels it takes some with and some without.",
            "Leave out --use-labels, or blank the labels of the rows that are to be predicted.",
        )  # fmt: skip
    return few, blank


def _paired(given: Dataset, to: Any, limit: int | None) -> Two:
    """Two tables or folders: the columns of the first are read from the second, its labels where it has them."""
    assert given.target is not None
    rows, sealed = _read_target(to, given.inputs, given.target, limit)
    return Two(given, inputs(rows), sealed)


def _read_target(
    to: Any, columns: Sequence[Column], goal: Column | None, limit: int | None
) -> tuple[Dataset, Sealed | None]:
    """The rows of the target domain, and the seal on their labels where every row has one. goal: their column."""
    if isinstance(to, Dataset):
        return to, Sealed(to) if to.target is not None else None
    kinds = {column.name: column.kind for column in columns}
    rows = read(to, input=list(kinds), kinds=kinds, for_prediction=True, limit=limit)
    if goal is None or goal.name not in [column.name for column in rows.columns]:
        return rows, None
    labelled = read(
        to, target=goal.name, input=list(kinds), kinds={**kinds, goal.name: goal.kind}, limit=limit,
        for_prediction=True,
    )  # fmt: skip
    known = [value is not None and value == value for value in labelled.values(goal.name)]
    if len(labelled) == len(rows) and all(known):
        return rows, Sealed(labelled.aim(goal.name))
    return rows, None


def _joined(given: Dataset, to: Any, limit: int | None) -> Two:
    """Two tables: rows of the second that have a label follow those of the first, with a domain of their own."""
    goal = given.target
    assert goal is not None
    if extra := given.with_role("group") + given.with_role("weight"):
        raise UsageError(
            "HS-USAGE-001", f'--use-labels with two paths takes no {extra[0].role} column ("{extra[0].name}").',
            "Put all rows into one table, and name the column of domains with --domain.",
        )  # fmt: skip
    kinds = {column.name: column.kind for column in (*given.inputs, goal)}
    rows = to
    if not isinstance(to, Dataset):
        names = [column.name for column in given.inputs]
        rows = read(to, target=goal.name, input=names, kinds=kinds, limit=limit, for_prediction=True).aim(goal.name)
    few, blank = _split(rows, range(len(rows)), _labelled(rows))
    known = given.with_role("domain")
    name = known[0].name if known else _unused(given, "domain")
    values = [str(value) for value in given.values(name)] if known else ["labelled"] * len(given)
    own = "target" if "target" not in values else f"target {len(set(values))}"
    ours = _in_domains(given, list(kinds), name, values)
    return Two(
        ours.followed_by(_in_domains(rows.select(few), list(kinds), name, [own] * len(few))),
        inputs(rows.select(blank)), None, own=own,
    )  # fmt: skip


def _unused(given: Dataset, name: str) -> str:
    """The name, or a longer one where a column has it."""
    known = {column.name for column in given.columns}
    while name in known:
        name += "_"
    return name


def _in_domains(rows: Dataset, names: Sequence[str], domain: str, values: Sequence[str]) -> Dataset:
    """These columns of the rows, and one that says of which domain each row is."""
    columns = [rows.column(name) for name in names]
    table = rows.table.select_columns(list(names)).add_column(domain, list(values))
    return Dataset(
        table, [*columns, Column(domain, "domain", "category")], origin=rows.origin, root=rows.root,
        rejects=rows.rejects, numbers=rows.numbers, notes=rows.notes,
    )  # fmt: skip
