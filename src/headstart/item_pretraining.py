"""A source of items: ``headstart pretrain INTERACTIONS --user COLUMN --item COLUMN`` learns how items go together.

The weights between items are EASE (`headstart.nn.ease`) on all users; the strength of its ridge is chosen by NDCG@10 on
users left out. What is saved is a folder that ``--source`` takes: the weights of the `MOST` most popular items, their
identifiers and their popularity, and nothing of any user.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headstart.datasets.read import read
from headstart.errors import DataError
from headstart.methods.base import Problem
from headstart.methods.items import STRENGTHS, Ridge, choose, encoded, joined
from headstart.nn.item_weights import matrix
from headstart.sources.items import Items, of_table
from headstart.tasks.recommendation import Recommendation
from headstart.types import Json


def learned(
    data: Any, name: str, *, input: str | Sequence[str] | None, roles: Mapping[str, str],
    kinds: Mapping[str, str] | None, seed: int = 0,
) -> tuple[Items, Json, list[str]]:  # fmt: skip
    """The source, facts (objective, rows, items, strength, score, seconds) and notes.

    Raises DataError HS-DATA-002 where several tables are given, and what `read` and `Recommendation.learn` raise.
    """
    begun = time.monotonic()
    given = list(data) if isinstance(data, list | tuple) else [data]
    if len(given) != 1:
        raise DataError("HS-DATA-002", f"{len(given)} tables of interactions were given.", "Give one, with all users.")
    rows = read(given[0], input=input, roles=roles, kinds=kinds)
    task = Recommendation.learn(rows)
    recipes = [Ridge(strength) for strength in STRENGTHS]
    choice, scores = choose(Problem(rows, None, task, None, None, seed=seed), recipes)
    X = matrix(joined(*encoded(rows, task)), task.width)
    model = choice.build(X)
    share = np.asarray(X.sum(axis=0)).ravel()[model.rows] / X.shape[0]
    stem = Path(rows.origin).stem or "interactions in memory"
    source = of_table(
        [task.items[place] for place in model.rows], np.asarray(model.weights), name=name, holds="weights",
        popularity=share, origin=f"EASE on {int(X.nnz):,} interactions of {len(rows):,} users",
        licence="that of the rows it learned from",
        description=f"pretrained with headstart pretrain on {stem}",
    )  # fmt: skip
    facts: Json = {
        "objective": "ease", "datasets": 1, "rows": len(rows), "interactions": int(X.nnz), "items": len(source.ids),
        "strength": choice.recipe.settings["strength"], "ndcg@10": max(scores.values()),
        "seconds": round(time.monotonic() - begun, 1),
    }  # fmt: skip
    return source, facts, [*rows.notes, *(_rejected(rows.rejects))]


def _rejected(rejects: Sequence[Any]) -> list[str]:
    if not rejects:
        return []
    return [f"{len(rejects):,} rows could not be read, the first: row {rejects[0].row}, {rejects[0].reason}."]
