"""A source of items: ``headstart pretrain INTERACTIONS --user COLUMN --item COLUMN`` learns how items go together.

The weights between items are EASE (`headstart.nn.ease`) on all users; the strength of its ridge is chosen by NDCG@10 on
users left out. With ``--objective sasrec`` a transformer over histories in order of time (`headstart.nn.sasrec`), with
``two_tower`` a tower for the items' texts and one for histories of them (`headstart.nn.two_tower`), with ``factors``
factors of all items by alternating least squares (`headstart.nn.item_factors`) are learned besides, the epoch or the
settings chosen on users left out. What is saved is a folder that ``--source`` takes: the weights of the `MOST` most
popular items, their identifiers, texts and popularity, and nothing of any user.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from headstart import catalog
from headstart.datasets.base import Dataset
from headstart.datasets.read import read
from headstart.errors import DataError, MethodError, UsageError, did_you_mean
from headstart.methods.base import Problem
from headstart.methods.item_models import STRENGTHS, Ridge, factor_recipes
from headstart.methods.items import choose, encoded, joined
from headstart.methods.sequences import SequenceMethod
from headstart.nn.item_factors import ItemFactors
from headstart.nn.item_weights import matrix
from headstart.ranking.measure import READER, item_vectors
from headstart.sources.base import Source
from headstart.sources.history_network import HistoryNetwork
from headstart.sources.items import Items, of_table
from headstart.sources.sasrec import Sequences
from headstart.sources.two_tower import TwoTowers
from headstart.tasks.recommendation import Recommendation
from headstart.types import Json

OBJECTIVES = ("ease", "sasrec", "two_tower", "factors")
"""What may be learned; auto: the first."""

NETWORKS = ("sasrec", "two_tower")
"""Those of them that are networks over histories."""

Report = Callable[[str, int, int], None]


def learned(
    data: Any, name: str, *, objective: str = "auto", epochs: int = 0, batch_size: int = 0, learning_rate: float = 0.0,
    budget: float | None = None, input: str | Sequence[str] | None, roles: Mapping[str, str],
    kinds: Mapping[str, str] | None, items: Any = None, seed: int = 0, precision: str = "auto",
    report: Report | None = None,
) -> tuple[Source, Json, list[str]]:  # fmt: skip
    """The source, facts (objective, rows, items, strength, score, seconds) and notes.

    epochs, batch_size, learning_rate (0: as the method ``sasrec`` has them) and budget (seconds) are of the
    transformer. Raises UsageError HS-USAGE-001 for an unknown objective, DataError HS-DATA-002 where several tables are
    given, and what `read` and `Recommendation.learn` raise.
    """
    if objective not in ("auto", *OBJECTIVES):
        raise UsageError(
            "HS-USAGE-001", f'there is no objective "{objective}" for interactions.',
            did_you_mean(objective, OBJECTIVES),
        )  # fmt: skip
    begun = time.monotonic()
    given = list(data) if isinstance(data, list | tuple) else [data]
    if len(given) != 1:
        raise DataError("HS-DATA-002", f"{len(given)} tables of interactions were given.", "Give one, with all users.")
    rows = read(given[0], input=input, roles=roles, kinds=kinds, items=items)
    task = Recommendation.learn(rows)
    start = _start(objective, rows, task.items, name, seed) if objective in NETWORKS else None
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
        description=f"pretrained with headstart pretrain on {stem}", texts=_texts(rows, model.rows),
    )  # fmt: skip
    facts: Json = {
        "objective": "ease", "datasets": 1, "rows": len(rows), "interactions": int(X.nnz), "items": len(source.ids),
        "strength": choice.recipe.settings["strength"], "ndcg@10": max(scores.values()),
    }  # fmt: skip
    notes = [*rows.notes, *(_rejected(rows.rejects))]
    made: Source = source
    if objective == "factors":
        made, told = factorised(rows, task, X, source, seed)
        facts |= told
    if start is not None:
        settings: Json = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
        kind = catalog.find("methods", f"{objective}_scratch")
        method = kind(**{key: value for key, value in settings.items() if value})
        problem = Problem(
            rows, None, task, start, None, seed=seed, notes=notes,
            deadline=None if budget is None else begun + budget, report=report or (lambda stage, done, total: None),
            options={"precision": precision, "drift": False},
        )  # fmt: skip
        made, told = reader(method, problem, source)
        facts |= told
    return made, {**facts, "seconds": round(time.monotonic() - begun, 1)}, notes


def factorised(rows: Dataset, task: Recommendation, X: Any, items: Items, seed: int) -> tuple[Source, Json]:
    """Factors of all items that anybody took, with the weights between items beside them; and the facts of it.

    X: the interactions of the rows [N,I].
    """
    problem = Problem(rows, None, task, None, None, seed=seed)
    choice, scores = choose(problem, factor_recipes())
    model = choice.build(X)
    factors = model.weights
    assert isinstance(factors, ItemFactors)
    source = of_table(
        [task.items[place] for place in model.rows], factors.table, name=items.card.name, holds="factors",
        popularity=np.asarray(X.sum(axis=0)).ravel()[model.rows] / X.shape[0],
        origin=items.card.origin.replace("EASE", "ALS and EASE", 1), licence=items.card.licence,
        description=items.card.description, learned={"alpha": factors.alpha, "ridge": factors.ridge}, items=items,
    )  # fmt: skip
    facts = {"objective": "factors", "items": len(source.ids), "ndcg@10": max(scores.values())}
    return source, {**choice.recipe.settings, **facts}


def _start(objective: str, rows: Dataset, ids: Sequence[str], name: str, seed: int) -> HistoryNetwork:
    """A network that has learned nothing. Raises MethodError HS-METHOD-003 where it reads texts and there are none."""
    if objective == Sequences.provider:
        return Sequences.fresh(ids, name, seed)
    if rows.items is None or not any(rows.items.texts):
        raise MethodError(
            "HS-METHOD-003", f"{objective} needs what is known of the items in words.", "Name their table with --items."
        )
    vectors = item_vectors(READER, rows.items.texts, rows.origin)
    return TwoTowers.of_texts(ids, vectors, name, READER, seed)


def reader(method: SequenceMethod, problem: Problem, items: Items) -> tuple[Source, Json]:
    """A network over the histories, with the weights between items beside it; and the facts of it."""
    found = method.fit(problem)
    source = found.source
    source.items, source.pretrained = items, True
    source.card = replace(
        items.card, architecture=source.card.architecture, width=source.card.width, parameters=source.card.parameters,
        origin=items.card.origin.replace("EASE", f"{source.card.architecture} and EASE", 1), digest=source.digest(),
    )  # fmt: skip
    told = {
        "objective": source.provider, "passes": sum("loss" in row for row in found.history),
        "ndcg@10": found.history[-1].get("chosen", 0.0),
    }  # fmt: skip
    return source, told


def _texts(rows: Dataset, kept: np.ndarray) -> list[str]:
    """What is known of the items ``kept``; nothing where nothing is known of any."""
    texts = rows.items.texts if rows.items is not None else ()
    return [texts[place] for place in kept] if any(texts) else []


def _rejected(rejects: Sequence[Any]) -> list[str]:
    if not rejects:
        return []
    return [f"{len(rejects):,} rows could not be read, the first: row {rejects[0].row}, {rejects[0].reason}."]
