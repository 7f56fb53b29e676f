"""The best items for users: what ``headstart recommend RUN`` does with a run of interactions.

The histories come from a table of interactions, by default the one that the run was fitted on: a run keeps none. A user
of whom no known item is on record (new, or an empty history) gets the most popular items, and the answer says so.
Users are scored in blocks, so that memory does not grow with their number times the items.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from headstart import disk
from headstart.artefact import Artefact, load
from headstart.datasets.base import Dataset
from headstart.datasets.interactions import histories
from headstart.errors import DataError, UsageError
from headstart.tasks.recommendation import TOP, Recommendation
from headstart.types import Json

BLOCK = 8192
"""Users whose outputs are held at once."""

HEADINGS = ("user", "rank", "item", "score", "basis")


@dataclass(frozen=True)
class Recommended:
    """The best items of one user, first the best. basis: ``history``, or ``popularity`` where no known item is on
    record. texts: what is known of the items in the table that was read, or empty. unknown: whether the table has no
    row of this user.
    """

    user: str
    items: list[str]
    scores: list[float]
    basis: Literal["history", "popularity"]
    texts: list[str]
    unknown: bool = False

    def to_json(self) -> Json:
        """As plain JSON."""
        return dict(vars(self))


def recommend(
    run: str | Path | Artefact, data: Any = None, *, users: Sequence[str] | None = None, count: int = 10
) -> Iterator[Recommended]:
    """The ``count`` best items of each user, in the order of ``users``, or of all users of the table.

    run: an `Artefact` or its folder. data: interactions with the columns that the run was fitted on; by default that
    very table. Raises UsageError HS-USAGE-001 for a run of another task or a count above `TOP`, DataError HS-DATA-001
    where the table is gone, and what `Artefact.read` raises.
    """
    artefact = run if isinstance(run, Artefact) else load(run)
    task = artefact.task
    if not isinstance(task, Recommendation):
        raise UsageError(
            "HS-USAGE-001", f"{artefact.folder} does {task.name}, and recommends nothing.", "Use `headstart predict`."
        )
    if not 1 <= count <= TOP:
        raise UsageError("HS-USAGE-001", f"{count} items were asked for.", f"Expected 1 to {TOP}.")
    rows = artefact.read(known_table(artefact) if data is None else data)
    return _answers(artefact, task, rows, None if users is None else [str(user) for user in users], count)


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
    artefact: Artefact, task: Recommendation, rows: Dataset, users: Sequence[str] | None, count: int
) -> Iterator[Recommended]:
    named = rows.with_role("user")
    names = [str(user) for user in rows.values(named[0].name)] if named else [str(n) for n in rows.numbers]
    told = dict(zip(rows.items.ids, rows.items.texts)) if rows.items is not None else {}
    if users is None:
        asked: list[tuple[str, int | None]] = list(zip(names, range(len(names))))
    else:
        place = {name: row for row, name in enumerate(names)}
        asked = [(user, place.get(user)) for user in users]
    fallback = artefact.fitted.outputs(nobody(rows)) if any(row is None for _, row in asked) else None
    for start in range(0, len(asked), BLOCK):
        block = asked[start : start + BLOCK]
        part = rows.select([row for _, row in block if row is not None])
        known = [bool((items >= 0).any()) for items in task.encode(histories(part))] if len(part) else []
        found = iter(zip(task.ranked(artefact.fitted.outputs(part), count), known) if len(part) else ())
        for user, row in block:
            if row is None:
                assert fallback is not None
                (items, scores), on_record = task.ranked(fallback, count)[0], False
            else:
                (items, scores), on_record = next(found)
            texts = [told.get(item, "") for item in items]
            yield Recommended(
                user, items, scores, "history" if on_record else "popularity", texts if any(texts) else [], row is None
            )


def nobody(rows: Dataset) -> Dataset:
    """One row of a user without any history."""
    import datasets

    history = next(column for column in rows.inputs if column.kind == "items")
    features = datasets.Features({history.name: datasets.Sequence(datasets.Value("string"))})
    return Dataset(datasets.Dataset.from_dict({history.name: [[]]}, features=features), [history], items=rows.items)


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
