"""EASE towards a source: item-to-item weights in closed form, drawn to what the source knows of the items.

The source has weights of its own, learned from the interactions of other users (``headstart pretrain``), matched by
item; or it tells what the items are about (a text source on their titles), and then the weights learned here are
carried from each item to those with like contents, new ones included (Gantner et al. 2010). The strength of the pull,
the share of popularity and how many users the source's popularity counts for are chosen on validation rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from headstart.errors import MethodError
from headstart.methods.base import Fitted, Method, Problem, hyper
from headstart.methods.items import (
    CONTENT_STRENGTHS,
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
from headstart.sources.items import Items
from headstart.tasks.base import Task
from headstart.types import Modality


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
        if not isinstance(problem.source, Items):
            raise MethodError("HS-METHOD-003", "ease needs a source of items.", "Name one with --source.")
        return fit_items(self, problem, self._recipes(problem, problem.source), self.recipe, self.near)

    def _recipes(self, problem: Problem, source: Items) -> list[Recipe]:
        task = recommending(problem.task)
        prior = Prior(*source.prior(task.items))
        strengths = [self.strength] if self.strength > 0 else []
        if prior.weights is None:
            return [
                Ridge(s, prior=prior, shift=shift, told=source.told)
                for s in strengths or CONTENT_STRENGTHS
                for shift in SHIFTS
            ]
        found: list[Recipe] = [Ridge(s, prior=prior, told=source.told) for s in strengths or (*STRENGTHS, np.inf)]
        known = problem.train.items
        if known is not None and any(known.texts):  # the control reads the words of the items too
            both = Prior(prior.weights, prior.popularity, word_vectors(known.texts))
            told = f"{source.told} and TF-IDF of contents"
            found += [Ridge(s, prior=both, shift=h, told=told) for s in strengths or CONTENT_STRENGTHS for h in SHIFTS]
        return found

    def outputs_read(self, extractor: Extractor, task: Task) -> list[str]:
        """None: the weights of the source are read, not what it makes of rows."""
        return []

    def refitted(self, fitted: Fitted, problem: Problem) -> Fitted | None:
        """The same choices on all rows."""
        assert isinstance(fitted, ItemsFitted)
        return refitted(fitted, problem)
