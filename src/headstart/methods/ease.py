"""EASE towards a source: item-to-item weights in closed form, drawn to what the source knows of the items.

The source has weights of its own, learned from the interactions of other users (``headstart pretrain``), matched by
item; or it tells what the items are about (a text source on their titles), and then the weights learned here are
carried from each item to those with like contents, new ones included (Gantner et al. 2010). Where the source knows
other items than those of the target, its weights are carried by the texts of both catalogues: each item here has
stand-ins there, by kernel ridge regression on the vectors of a text source or on TF-IDF. The words of the items, which
the control reads as well, are tried beside all. What the same users took elsewhere is read as it is, and as a source
reads it that knows those items (`headstart.methods.elsewhere`). The strength of the pull, the share of popularity and
how many users the source's popularity counts for are chosen on validation rows.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from headstart.datasets.base import Dataset
from headstart.errors import MethodError
from headstart.methods.base import Fitted, Method, Problem, hyper
from headstart.methods.elsewhere import by_source, plain
from headstart.methods.item_models import (
    CONTENT_STRENGTHS,
    MOST,
    SHIFTS,
    STRENGTHS,
    Prior,
    Recipe,
    Ridge,
    with_elsewhere,
    word_vectors,
)
from headstart.methods.items import ItemsFitted, encoded, fit_items, joined, recommending, refitted
from headstart.nn.ease import carried, stand_ins
from headstart.nn.item_weights import matrix
from headstart.runtime import Extractor
from headstart.sources.base import Source
from headstart.sources.history_network import items_of
from headstart.sources.items import Items
from headstart.tasks.base import Task
from headstart.types import LayerRow, Modality

Array = np.ndarray

CARRIED, CARRIED_STRENGTHS, CARRIED_SHIFTS = (0.3, 3.0, 30.0), (30.0, 100.0, 300.0, np.inf), (1.0, 10.0)
"""Where weights are carried by text: shifts of the stand-ins, strengths of the pull, shifts of contents beside it."""


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
            return found + with_elsewhere(plain(problem.train), strengths=strengths)
        assert prior.known is not None
        named, also = (source.told, f"{source.told} and ") if len(prior.known) else ("", "")
        found = [Ridge(each, prior=prior if named else None, told=named) for each in strengths or (*STRENGTHS, np.inf)]
        if words is not None:
            found += told(replace(prior, vectors=words) if named else Prior(vectors=words), f"{also}TF-IDF of contents")
        readings = [*by_source(problem.train, source), *plain(problem.train)]
        found += with_elsewhere(readings, prior if named else None, named, strengths)
        return found + self._carried(problem, source, words)

    def _carried(self, problem: Problem, source: Items, words: Array | None) -> list[Recipe]:
        """Towards the source's weights, carried by the texts of both catalogues."""
        known, found = problem.train.items, list[Recipe]()
        if words is None or known is None or not source.foreign(known):
            return found
        both = word_vectors([*source.texts, *known.texts])
        readings = {"TF-IDF": (both[: len(source.ids)], both[len(source.ids) :])}
        if source.reading is not None:
            readings[source.reading.by] = source.reading.own, source.reading.others
        for by, (own, others) in readings.items():
            name = f"{source.told} by {by}"
            for shift in CARRIED:
                prior = carried_prior(source, problem, own, others, shift)
                more = {"stand-ins": shift}
                for strength in [self.strength] if self.strength > 0 else CARRIED_STRENGTHS:
                    found.append(Ridge(strength, prior=prior, told=name, more=more))
                beside = replace(prior, vectors=words)
                for each in CARRIED_SHIFTS:
                    told = f"{name} and TF-IDF of contents"
                    found.append(
                        Ridge(self.strength or CONTENT_STRENGTHS[0], prior=beside, shift=each, told=told, more=more)
                    )
        return found

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
    """The source of items, or the one beside another. Raises MethodError HS-METHOD-003 without any."""
    found = items_of(source)
    if found is None:
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


def carried_prior(source: Items, problem: Problem, own: Array, others: Array, shift: float) -> Prior:
    """Weights and popularity of the source, carried to the items of the target by vectors of what both are.

    own: [I,D] of the source's items. others: [J,D] of the target's; those without one take no part, and of many the
    `MOST` popular ones do. shift: see `stand_ins`. An item that the source knows by name stands for itself.
    """
    task = recommending(problem.task)
    counts = np.asarray(matrix(joined(*encoded(problem.train, task)), task.width).sum(axis=0)).ravel()
    there = np.flatnonzero(np.abs(others).sum(axis=1) > 0)
    there = np.sort(there[np.argsort(-counts[there], kind="stable")[:MOST]])
    A = stand_ins(own, others[there], shift)  # [I,J]
    places, rows = source.known([task.items[place] for place in there])
    A[:, places] = 0
    A[rows, places] = 1
    share = source.table.popularity.numpy()
    popularity = np.zeros(task.width, np.float32)
    popularity[there] = np.maximum(share.mean() + A.T @ (share - share.mean()), 0)
    return Prior(carried(source.table.table.numpy(), A), there, popularity)
