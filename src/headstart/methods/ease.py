"""EASE towards a source: item-to-item weights in closed form, drawn to what the source knows of the items.

The source has weights of its own, learned from the interactions of other users (``headstart pretrain``), matched by
item; or it tells what the items are about (a text source on their titles), and then the weights learned here are
carried from each item to those with like contents, new ones included (Gantner et al. 2010). The words of the items,
which the control reads as well, are tried beside both. The strength of the pull,
the share of popularity and how many users the source's popularity counts for are chosen on validation rows.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from headstart.datasets.base import Dataset
from headstart.errors import MethodError
from headstart.methods.base import Fitted, Method, Problem, hyper
from headstart.methods.items import (
    CONTENT_STRENGTHS,
    MOST,
    SHIFTS,
    STRENGTHS,
    ItemsFitted,
    Prior,
    Recipe,
    Ridge,
    fit_items,
    recommending,
    refitted,
    word_vectors,
)
from headstart.runtime import Extractor
from headstart.sources.base import Source
from headstart.sources.items import Items
from headstart.sources.sasrec import Sequences
from headstart.tasks.base import Task
from headstart.types import LayerRow, Modality


@dataclass(frozen=True)
class Ease(Method):
    """Item-to-item weights, drawn towards what the source knows."""

    name: ClassVar[str] = "ease"
    tasks: ClassVar[tuple[str, ...]] = ("recommendation",)
    modalities: ClassVar[tuple[Modality, ...]] = ("interactions",)
    ranks: ClassVar[bool] = True
    paper: ClassVar[str] = "Steck 2019, arXiv:1905.03375; Gantner et al. 2010"

    strength: float = hyper(0.0, "of the pull towards the source; 0 = chosen on validation rows", low=0.0, high=1e9)

    recipe: str = hyper("auto", "of interactions: the kind of model, as the report names it; auto = chosen")
    near: float = hyper(0.0, "of interactions: only strengths about this one are tried; 0 = all", low=0.0, high=1e9)

    def fit(self, problem: Problem) -> ItemsFitted:
        """Choose by ``problem.valid`` or out of fold, then solve on the training rows."""
        return fit_items(self, problem, self._recipes(problem, _items(problem.source)), self.recipe, self.near)

    def _recipes(self, problem: Problem, source: Items) -> list[Recipe]:
        task = recommending(problem.task)
        prior = prior_of(source, task.items)
        strengths = [self.strength] if self.strength > 0 else []
        contents = strengths or CONTENT_STRENGTHS
        known = problem.train.items
        words = word_vectors(known.texts) if known is not None and any(known.texts) else None

        def told(prior: Prior, name: str) -> list[Recipe]:
            return [Ridge(strength, prior=prior, shift=shift, told=name) for strength in contents for shift in SHIFTS]

        if prior.vectors is not None:
            found = told(prior, source.told)
            if words is not None:
                both = np.concatenate([prior.vectors, words], axis=1) / np.float32(np.sqrt(2))
                found += told(Prior(vectors=both), f"{source.told} and TF-IDF")
            return found
        weights: list[Recipe] = [
            Ridge(each, prior=prior, told=source.told) for each in strengths or (*STRENGTHS, np.inf)
        ]
        if words is not None:
            weights += told(replace(prior, vectors=words), f"{source.told} and TF-IDF of contents")
        return weights

    def admit(self, task: Task, source: Source | None, dataset: Dataset, given: Collection[Any] = ()) -> None:
        """See `Method.admit`; the source has to tell of items."""
        super().admit(task, source, dataset, given)
        _items(source)

    def outputs_read(self, extractor: Extractor, task: Task) -> list[str]:
        """None: the weights of the source are read, not what it makes of rows."""
        return []

    def table(self, source: Source, task: Task) -> list[LayerRow]:
        """The weights between the items that get any, and the popularity of all; the source's are read as they are."""
        count = min(task.width, MOST) ** 2
        return [LayerRow("item weights", count, 1.0, None), LayerRow("popularity", task.width, 1.0, None)]

    def refitted(self, fitted: Fitted, problem: Problem) -> Fitted | None:
        """The same choices on all rows."""
        assert isinstance(fitted, ItemsFitted)
        return refitted(fitted, problem)


def _items(source: Source | None) -> Items:
    """The source of items, or the one beside a transformer. Raises MethodError HS-METHOD-003 without any."""
    found = source.items if isinstance(source, Sequences) else source
    if not isinstance(found, Items):
        raise MethodError("HS-METHOD-003", "ease needs a source of items.", "Name one with --source.")
    return found


def prior_of(source: Items, items: Sequence[str]) -> Prior:
    """What the source knows of these items, by their identifiers."""
    places, rows = source.known(items)
    table = source.table.table.numpy()
    if source.holds == "weights":
        popularity = np.zeros(len(items), np.float32)
        popularity[places] = source.table.popularity.numpy()[rows]
        return Prior(table[np.ix_(rows, rows)], places, popularity)
    vectors = np.zeros((len(items), table.shape[1]), np.float32)
    vectors[places] = table[rows]
    return Prior(vectors=vectors)
