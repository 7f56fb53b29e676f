"""Two domains from two paths, or from one table with a column that says which row is of which domain.

The rows of the target domain are handed on without their labels, physically; the labels, where there are any, are
sealed (`headstart.evidence.splits.Sealed`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from headstart.datasets.base import Dataset
from headstart.datasets.read import read
from headstart.errors import DataError, UsageError, did_you_mean
from headstart.evidence.splits import Sealed
from headstart.methods.adaptation import inputs


class Two(NamedTuple):
    """labelled: rows with labels, of one domain or several. target: rows of the target domain, inputs alone. sealed:
    the labels of the target domain, or None."""

    labelled: Dataset
    target: Dataset
    sealed: Sealed | None


def two(
    data: Any, to: Any, *, target: str | None, domain: str | None, value: str | None, input: str | Sequence[str] | None,
    roles: Mapping[str, str] | None, kinds: Mapping[str, str] | None, limit: int | None,
) -> Two:  # fmt: skip
    """Read both domains; arguments as in `headstart.adapt`.

    Raises UsageError HS-USAGE-001 where it is not said what to adapt to, DataError HS-DATA-012 where one of the two
    domains has no rows, and what `read` raises.
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
        data, target=target, input=input, roles=wanted, kinds=kinds, limit=limit
    )  # fmt: skip
    if target is not None:
        given = given.aim(target)
    if to is None:
        assert domain is not None and value is not None
        return _parted(given, domain, value)
    return _paired(given, to, limit)


def _parted(given: Dataset, domain: str, value: str) -> Two:
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
    part = given.select(theirs)
    return Two(given.select(ours), inputs(part), Sealed(part))


def _paired(given: Dataset, to: Any, limit: int | None) -> Two:
    """Two tables or folders: the columns of the first are read from the second, its labels where it has them."""
    kinds = {column.name: column.kind for column in given.inputs}
    if isinstance(to, Dataset):
        sealed = Sealed(to) if to.target is not None else None
        return Two(given, inputs(to), sealed)
    rows = read(to, input=list(kinds), kinds=kinds, for_prediction=True, limit=limit)
    goal = given.target
    assert goal is not None
    sealed = None
    if goal.name in [column.name for column in rows.columns]:
        labelled = read(
            to, target=goal.name, input=list(kinds), kinds={**kinds, goal.name: goal.kind}, limit=limit,
            for_prediction=True,
        )  # fmt: skip
        known = [value is not None and value == value for value in labelled.values(goal.name)]
        if len(labelled) == len(rows) and all(known):
            sealed = Sealed(labelled.aim(goal.name))
    return Two(given, inputs(rows), sealed)
