"""Pooled: the control that a careful person would fit who has both tables: their rows together, in boosted trees.

The rows that the source learned from stand under the rows of the target, with a column that says which is which;
columns that one of the tables lacks are missing there. Size and number of the trees are chosen as those of ``baseline``
are, by the loss on target rows that were left out, while the source's rows train in every fold. It needs the rows,
which a source keeps only where it was told to (``headstart pretrain --keep-rows``). "ALL" in Daumé III 2007,
Frustratingly easy domain adaptation, ACL, with the domain as a feature.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from headstart.datasets.base import Column, Dataset
from headstart.errors import ArtefactError, MethodError, TaskError
from headstart.methods.base import Fitted, Method, Need, Problem, hyper
from headstart.nn.boosting import Boosted, fit_boosting
from headstart.nn.tables import TableFeatures
from headstart.tasks.base import Array, Task
from headstart.types import Json, LayerRow, Modality, Outputs

if TYPE_CHECKING:
    from headstart.sources.base import Source


@dataclass(frozen=True)
class Pooled(Method):
    """Boosted trees on the rows of source and target together, with a column that tells them apart."""

    name: ClassVar[str] = "pooled"
    role: ClassVar[Literal["transfer", "control"]] = "control"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "regression")
    modalities: ClassVar[tuple[Modality, ...]] = ("table",)
    paper: ClassVar[str] = "Daumé III 2007; Ke et al. 2017 (LightGBM)"

    leaves: int = hyper(0, "size of the trees; 0 = chosen by cross-validation", low=0, high=1000)
    folds: int = hyper(5, "folds of the cross-validation", low=2, high=50)

    def admit(self, task: Task, source: Source | None, dataset: Dataset, given: Collection[Need] = ()) -> None:
        """See `Method.admit`; the source has to keep rows with labels of this task."""
        super().admit(task, source, dataset, given)
        if source is not None and not usable(source.rows(), task):
            raise MethodError(
                "HS-METHOD-003", f"pooled needs rows with these labels; {source.card.name} keeps none.",
                "Make the source with headstart pretrain TABLE --target COLUMN --keep-rows.",
            )  # fmt: skip

    def fit(self, problem: Problem) -> PooledFitted:
        """Fit on the training rows and those of the source; ``problem.valid`` is not read."""
        train, task = problem.train, problem.task
        self.admit(task, problem.source, train)
        assert problem.source is not None
        theirs = problem.source.rows()
        assert theirs is not None
        places = usable(theirs, task)
        both, labels = together(train, theirs, places)
        y = task.encode([*train.targets(), *labels])
        reader, weights = TableFeatures.fit(both), train.weights()
        foreign = np.arange(len(both)) >= len(train)
        own = train.groups()
        groups = None if own is None else np.concatenate([own, own.max() + 1 + np.arange(len(places))])
        X = np.hstack([reader.codes(both), foreign[:, None].astype(float)])
        trees, outputs = fit_boosting(
            task, X, y, categorical=reader.categorical, groups=groups, seed=problem.seed, folds=self.folds,
            deadline=problem.deadline, always=foreign, leaves=self.leaves,
            weights=None if weights is None else np.concatenate([weights, np.ones(len(places))]),
        )  # fmt: skip
        fitted = PooledFitted(replace(self, leaves=trees.leaves), task, reader, trees)
        score = float(task.score(outputs, y[: len(train)]))
        fitted.history = [
            {
                "rows of the source": len(places),
                "rounds": trees.rounds,
                "leaves": trees.leaves,
                "cross-validation": score,
            }
        ]
        fitted.cv_outputs = outputs
        return fitted


def usable(rows: Any, task: Task) -> list[int]:
    """Places of the rows whose target, the last column, is one of the task's."""
    if rows is None:
        return []
    try:
        values = list(rows.values())[-1]
        if task.classes:
            known = set(task.classes)
            return [place for place, value in enumerate(values) if value in known]
        task.encode(values[:1])
        return list(range(len(values)))
    except (TypeError, ValueError, TaskError):
        return []


def together(train: Dataset, theirs: Any, places: Sequence[int]) -> tuple[Dataset, list[Any]]:
    """The input columns of both tables, rows of the target first; the labels of the source's rows."""
    import datasets

    labels = list(theirs.values())[-1]
    columns: dict[str, list[Any]] = {}
    for column in train.inputs:
        own, other = train.values(column.name), theirs.get(column.name)
        values = [*own, *([None] * len(places) if other is None else (other[place] for place in places))]
        if column.kind == "category":
            values = [None if value is None else str(value) for value in values]
        elif column.kind == "number":
            values = [None if value is None else float(value) for value in values]
        columns[column.name] = values
    kinds = [Column(column.name, "input", column.kind) for column in train.inputs]
    return Dataset(datasets.Dataset.from_dict(columns), kinds, origin="both tables"), [labels[at] for at in places]


class PooledFitted(Fitted):
    """Boosted trees on columns and on a last one that is 0 for rows of the target."""

    kind: ClassVar[str] = "methods.pooled"

    def __init__(self, method: Method, task: Task, reader: TableFeatures, trees: Boosted) -> None:
        self.method, self.task, self.reader, self.trees = method, task, reader, trees
        self.history: list[Json] = []
        self.cv_outputs: Array | None = None

    @property
    def description(self) -> str:
        """What was fitted, in a few words."""
        return "gradient boosting on the rows of both tables"

    def outputs(self, dataset: Dataset) -> Outputs:
        """[N,C]. Raises DataError for inputs that cannot be read."""
        codes = self.reader.codes(dataset)
        return self.trees.outputs(np.hstack([codes, np.zeros((len(codes), 1))]))

    def trained(self) -> list[LayerRow]:
        """The trees."""
        return [LayerRow("boosted trees", sum(text.count("Tree=") for text in self.trees.texts), 1.0, None)]

    def save(self, folder: Path) -> None:
        """``pooled.json``."""
        state, arrays = self.reader.state()
        facts = {
            "columns": state, "arrays": {name: value.tolist() for name, value in arrays.items()},
            "trees": vars(self.trees), "history": self.history,
        }  # fmt: skip
        (folder / "pooled.json").write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, task: Task, method: Method) -> PooledFitted:
        """What `save` wrote. Raises ArtefactError HS-ARTEFACT-003 where it is not that."""
        facts = json.loads((folder / "pooled.json").read_text(encoding="utf-8"))
        try:
            arrays = {name: np.array(value) for name, value in facts["arrays"].items()}
            reader = TableFeatures.restore(facts["columns"], arrays)
            trees = Boosted(**{**facts["trees"], **{key: tuple(facts["trees"][key]) for key in ("texts", "constants")}})
        except (KeyError, TypeError, ValueError) as error:
            raise ArtefactError(
                "HS-ARTEFACT-003", f"{folder / 'pooled.json'}: {error}.", "Copy the run again."
            ) from error
        fitted = cls(method, task, reader, trees)
        fitted.history = facts["history"]
        return fitted
