"""Two towers from fresh weights: the control that has the source's network and the same texts, and nothing it learned.

The same rows, the same start from popularity, the same choices and the same rate as ``two_tower``. Beside a source that
is no such network the towers read the words of the items, by TF-IDF in `TOLD` numbers: what may be learned of a
catalogue and the order of its histories without any source.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from headstart.datasets.base import Dataset
from headstart.errors import MethodError
from headstart.methods.base import Method, Need, Problem, hyper
from headstart.methods.item_models import word_vectors
from headstart.methods.items import recommending
from headstart.methods.sequences import SequenceMethod
from headstart.methods.two_tower import TwoTower
from headstart.sources.base import Source
from headstart.sources.history_network import HistoryNetwork
from headstart.sources.items import unit_vectors
from headstart.sources.two_tower import TwoTowers
from headstart.tasks.base import Task

TOLD = 384
"""Numbers of an item, in the directions in which the words of the items differ most."""


@dataclass(frozen=True)
class TwoTowerScratch(SequenceMethod):
    """Towers for items, by their texts, and for users, from fresh weights."""

    name: ClassVar[str] = "two_tower_scratch"
    role: ClassVar[Literal["transfer", "control"]] = "control"
    needs: ClassVar[tuple[Need, ...]] = ("labels",)
    way: ClassVar[tuple[float, ...]] = TwoTower.way
    close: ClassVar[float] = TwoTower.close
    enough: ClassVar[int] = TwoTower.enough
    paper: ClassVar[str] = TwoTower.paper

    epochs: int = hyper(20, "passes over the training rows", low=1, high=1000)

    @classmethod
    def trains(cls) -> type[HistoryNetwork]:
        """See `SequenceMethod.trains`."""
        return TwoTowers

    def admit(self, task: Task, source: Source | None, dataset: Dataset, given: Collection[Any] = ()) -> None:
        """See `SequenceMethod.admit`; beside another source the items need words."""
        if isinstance(source, TwoTowers):
            return super().admit(task, source, dataset, given)
        Method.admit(self, task, source, dataset, given)
        if dataset.items is None or not any(dataset.items.texts):
            raise MethodError(
                "HS-METHOD-003", f"{self.name} needs what is known of the items in words.",
                "Name their table with --items.",
            )  # fmt: skip

    def fit(self, problem: Problem) -> Any:
        """See `SequenceMethod.fit`."""
        return super().fit(
            problem if isinstance(problem.source, TwoTowers) else problem.replace(source=_words(problem))
        )


def _words(problem: Problem) -> TwoTowers:
    """Towers for the words of the items of the task."""
    from sklearn.decomposition import TruncatedSVD

    known, items = problem.train.items, recommending(problem.task).items
    told = {} if known is None else dict(zip(known.ids, known.texts))
    texts: Sequence[str] = [told.get(item, "") for item in items]
    V = word_vectors(texts)
    if min(V.shape) > TOLD:
        V = np.asarray(TruncatedSVD(TOLD, random_state=0).fit_transform(V), np.float32)
    made = TwoTowers.of_texts(items, unit_vectors(V, texts), "words", "TF-IDF", problem.seed)
    made.pretrained = True  # so that items get terms of their own
    return made
