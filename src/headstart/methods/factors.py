"""Factors of items from a source, drawn to what the target's interactions say; users are folded in from their history.

The source has factors that others' interactions taught (``headstart pretrain --objective factors``), matched by item.
Implicit alternating least squares goes on from there with a ridge towards them in place of zero
(`headstart.nn.item_factors`); items that the source does not know start from nothing. The strength of the pull, from
nearly free to the factors as they are, the share of popularity and how many users the source's popularity counts for
are chosen on validation rows. What the same model is worth without the source is among the recipes of the control.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from headstart.datasets.base import Dataset
from headstart.errors import MethodError
from headstart.methods.base import Fitted, Method, Problem, hyper
from headstart.methods.item_models import PULLS, DrawnALS, FactorPrior
from headstart.methods.items import ItemsFitted, fit_items, recommending, refitted
from headstart.runtime import Extractor
from headstart.sources.base import Source
from headstart.sources.items import Items
from headstart.tasks.base import Task
from headstart.types import LayerRow, Modality


@dataclass(frozen=True)
class Factors(Method):
    """Factors of items, drawn towards those of a source."""

    name: ClassVar[str] = "factors"
    tasks: ClassVar[tuple[str, ...]] = ("recommendation",)
    modalities: ClassVar[tuple[Modality, ...]] = ("interactions",)
    ranks: ClassVar[bool] = True
    paper: ClassVar[str] = "Hu, Koren & Volinsky 2008; Rendle et al. 2022, arXiv:2110.14037"

    strength: float = hyper(0.0, "of the pull towards the source; 0 = chosen on validation rows", low=0.0, high=1e9)

    recipe: str = hyper("auto", "the kind of model, as the report names it; auto = chosen")
    near: float = hyper(0.0, "only strengths about this one are tried; 0 = all", low=0.0, high=1e9)

    def fit(self, problem: Problem) -> ItemsFitted:
        """Choose by ``problem.valid`` or out of fold, then solve on the training rows."""
        source = _factors(problem.source)
        prior = prior_of(source, recommending(problem.task).items)
        recipes = [DrawnALS(each, prior, source.told) for each in ([self.strength] if self.strength else PULLS)]
        return fit_items(self, problem, recipes, self.recipe, self.near)

    def admit(self, task: Task, source: Source | None, dataset: Dataset, given: Collection[Any] = ()) -> None:
        """See `Method.admit`; the source has to have factors."""
        super().admit(task, source, dataset, given)
        _factors(source)

    def outputs_read(self, extractor: Extractor, task: Task) -> list[str]:
        """None: the factors of the source are read, not what it makes of rows."""
        return []

    def table(self, source: Source, task: Task) -> list[LayerRow]:
        """The factors of the items, and the popularity; the source's are read as they are."""
        return [
            LayerRow("item factors", task.width * source.card.width, 1.0, None),
            LayerRow("popularity", task.width, 1.0, None),
        ]

    def refitted(self, fitted: Fitted, problem: Problem) -> Fitted | None:
        """The same choices on all rows."""
        assert isinstance(fitted, ItemsFitted)
        return refitted(fitted, problem)


def _factors(source: Source | None) -> Items:
    """The source, which holds factors. Raises MethodError HS-METHOD-003 where it does not."""
    if not isinstance(source, Items) or source.holds != "factors":
        raise MethodError(
            "HS-METHOD-003", "factors needs a source with factors of items.",
            "Make one with `headstart pretrain INTERACTIONS --objective factors`.",
        )  # fmt: skip
    return source


def prior_of(source: Items, items: Sequence[str]) -> FactorPrior:
    """What the source knows of these items, by their identifiers."""
    places, rows = source.known(items)
    popularity = np.zeros(len(items), np.float32)
    popularity[places] = source.table.popularity.numpy()[rows]
    table = source.table.table.numpy()[rows]
    return FactorPrior(table, places, popularity, source.learned["alpha"], source.learned["ridge"])
