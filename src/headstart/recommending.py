"""The best items for users: what ``headstart recommend RUN`` does with a run of interactions.

The histories come from a table of interactions, by default the one that the run was fitted on: a run keeps none. A user
of whom no known item is on record (new, or an empty history) gets the most popular items, where the run reads features
of users those that are popular with the likes of them, and where it reads what they took elsewhere what goes with that;
the answer says so.
Users are scored in blocks, so that memory does not grow with their number times the items.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from headstart import disk
from headstart.artefact import Artefact, load
from headstart.datasets.base import Dataset
from headstart.datasets.interactions import histories
from headstart.datasets.users import listed
from headstart.errors import DataError, UsageError
from headstart.methods.people import knows
from headstart.tasks.recommendation import TOP, Recommendation
from headstart.types import Json

BLOCK = 8192
"""Users whose outputs are held at once."""

Basis: TypeAlias = Literal["history", "elsewhere", "features", "popularity"]

BASES: tuple[Basis, ...] = ("history", "elsewhere", "features")
"""What a ranking rests on, the first that there is; popularity without any."""

HEADINGS = ("user", "rank", "item", "score", "basis")


@dataclass(frozen=True)
class Recommended:
    """The best items of one user, first the best. basis: ``history``, or where no known item is on record what the user
    took ``elsewhere``, or ``features`` of the user, or ``popularity`` without these. texts: what is known of the items
    in the table that was read, or empty. unknown: whether the table has no row of this user.
    """

    user: str
    items: list[str]
    scores: list[float]
    basis: Basis
    texts: list[str]
    unknown: bool = False

    def to_json(self) -> Json:
        """As plain JSON."""
        return dict(vars(self))


def recommend(
    run: str | Path | Artefact, data: Any = None, *, users: Sequence[str] | None = None, count: int = 10,
    user_table: Any = None,
) -> Iterator[Recommended]:  # fmt: skip
    """The ``count`` best items of each user, in the order of ``users``, or of all users of the table.

    run: an `Artefact` or its folder. data: interactions with the columns that the run was fitted on; by default that
    very table. user_table: what is known of each user, for a run that was fitted with such a table; by default that
    one. Given one, all its users are answered. Raises UsageError HS-USAGE-001 for a run of another task or a count
    above `TOP`, DataError HS-DATA-001 where the table is gone, and what `Artefact.read` raises.
    """
    artefact = run if isinstance(run, Artefact) else load(run)
    task = artefact.task
    if not isinstance(task, Recommendation):
        raise UsageError(
            "HS-USAGE-001", f"{artefact.folder} does {task.name}, and recommends nothing.", "Use `headstart predict`."
        )
    if not 1 <= count <= TOP:
        raise UsageError("HS-USAGE-001", f"{count} items were asked for.", f"Expected 1 to {TOP}.")
    table = artefact.users_table() if user_table is None else user_table
    rows = artefact.read(known_table(artefact) if data is None else data, users=table)
    named = [str(user) for user in users] if users is not None else None
    if named is None and user_table is not None:
        named = list(dict.fromkeys([*_names(rows), *listed(user_table, _who(rows))]))
    return _answers(artefact, task, rows, named, count, table)


def known_table(artefact: Artefact) -> str:
    """The table that the run was fitted on. Raises DataError HS-DATA-001 where it is not there."""
    path = str(artefact.record.data.get("path", ""))
    if not Path(path).is_file():
        raise DataError(
            "HS-DATA-001", f"{path or 'the table'} that {artefact.folder} was fitted on is not there.",
            "Give interactions: headstart recommend RUN PATH.",
        )  # fmt: skip
    return path


def _answers(
    artefact: Artefact, task: Recommendation, rows: Dataset, users: Sequence[str] | None, count: int, table: Any
) -> Iterator[Recommended]:
    names = _names(rows)
    told = dict(zip(rows.items.ids, rows.items.texts)) if rows.items is not None else {}
    if users is None:
        asked: list[tuple[str, int | None]] = list(zip(names, range(len(names))))
    else:
        place = {name: row for row, name in enumerate(names)}
        asked = [(user, place.get(user)) for user in users]
    for start in range(0, len(asked), BLOCK):
        block = asked[start : start + BLOCK]
        there = rows.select([row for _, row in block if row is not None])
        strangers = nobody(artefact, rows, [user for user, row in block if row is None], table)
        of_row, of_stranger = (iter(_ranked(artefact.fitted, task, part, count)) for part in (there, strangers))
        for user, row in block:
            items, scores, basis = next(of_stranger if row is None else of_row)
            texts = [told.get(item, "") for item in items]
            yield Recommended(user, items, scores, basis, texts if any(texts) else [], row is None)


def _ranked(fitted: Any, task: Recommendation, part: Dataset, count: int) -> list[tuple[list[str], list[float], Basis]]:
    """Items, scores and what they rest on, of each row."""
    if not len(part):
        return []
    known = [bool((items >= 0).any()) for items in task.encode(histories(part))]
    none, elsewhere = np.zeros(len(part), bool), getattr(fitted, "elsewhere", None)
    told = knows(part) if getattr(fitted, "people", None) is not None else none
    other = none if elsewhere is None else elsewhere.knows(part)
    found = []
    for (items, scores), *on in zip(task.ranked(fitted.outputs(part), count), known, other, told):
        basis: Basis = next((name for name, there in zip(BASES, on) if there), "popularity")
        found.append((items, scores, basis))
    return found


def _names(rows: Dataset) -> list[str]:
    named = rows.with_role("user")
    return [str(user) for user in rows.values(named[0].name)] if named else [str(n) for n in rows.numbers]


def _who(rows: Dataset) -> str:
    return next((column.name for column in rows.with_role("user")), "user")


def nobody(artefact: Artefact, rows: Dataset, users: Sequence[str], table: Any) -> Dataset:
    """A row without any history for each of these users, with their features where the table has some."""
    import pyarrow as pa

    if not users:
        return rows.select([])
    history = next(column for column in rows.inputs if column.kind == "items")
    empty = pa.array([[]] * len(users), pa.list_(pa.string()))
    made = pa.table({_who(rows): pa.array(list(users), pa.string()), history.name: empty})
    return artefact.read(made, users=table)


def save(answers: Iterator[Recommended], path: Path) -> tuple[int, int]:
    """Write ``user,rank,item,score,basis`` as CSV, whole or not at all; returns users, and those by popularity."""
    users = popular = 0
    with disk.replacing(path) as beside, beside.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(HEADINGS)
        for answer in answers:
            users, popular = users + 1, popular + (answer.basis == "popularity")
            for rank, (item, score) in enumerate(zip(answer.items, answer.scores), start=1):
                writer.writerow((answer.user, rank, item, f"{score:.6g}", answer.basis))
    return users, popular
