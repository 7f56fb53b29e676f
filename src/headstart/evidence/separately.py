"""A method that knows one target, on several: a fit of its own for each of them, of equal time."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from headstart.datasets.base import Dataset
from headstart.methods.base import Fitted, Method, Need, Problem
from headstart.methods.bundle import Bundle, one_network
from headstart.tasks.base import Task
from headstart.tasks.several import Several
from headstart.types import Json

if TYPE_CHECKING:
    from headstart.runtime import Extractor
    from headstart.sources.base import Source


@dataclass(frozen=True)
class Separately(Method):
    """A model for each target. given: the method. chosen: column -> the method as a fit of that column settled it."""

    given: Method
    chosen: Mapping[str, Method] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("name", "kind", "role", "gradients", "needs", "uses", "paper"):
            object.__setattr__(self, name, getattr(self.given, name))

    @property
    def summary(self) -> str:
        """That of the method."""
        return f"{self.given.summary}; for each target"

    def hyperparameters(self) -> Json:
        """Those of the method."""
        return self.given.hyperparameters()

    def outputs_read(self, extractor: Extractor, task: Task) -> list[str]:
        """What the method reads for any of the targets."""
        found = [name for part in _parts(task).values() for name in self.given.outputs_read(extractor, part)]
        return list(dict.fromkeys(found))

    def admit(self, task: Task, source: Source | None, dataset: Dataset, given: Collection[Need] = ()) -> None:
        """Refuse what the method cannot do for one of the targets."""
        for column, part in _parts(task).items():
            self.given.admit(part, source, dataset.aim(column), given)

    def rows_trained(self, rows: int) -> float:
        """Those of all fits; of two where the number of targets is not known."""
        return self.given.rows_trained(rows) * max(2, len(self.chosen))

    def ablation(self) -> Method | None:
        """That of the method."""
        return self.given.ablation()

    def fit(self, problem: Problem) -> Fitted:
        """One fit after the other; each gets an equal share of the time."""
        models = {}
        for place, column in enumerate(_parts(problem.task)):
            models[column] = self.chosen.get(column, self.given).fit(_alone(problem, place, column))
        return self._bundle(problem, models)

    def refitted(self, fitted: Fitted, problem: Problem) -> Fitted | None:
        """Every model once more, where the method does that."""
        if not isinstance(fitted, Bundle):  # heads on one frozen network
            return fitted.method.fit(problem)
        models = {}
        for place, column in enumerate(_parts(problem.task)):
            before = model_of(fitted, column)
            models[column] = self.given.refitted(before, _alone(problem, place, column)) or before
        return self._bundle(problem, models) if any(m is not model_of(fitted, c) for c, m in models.items()) else None

    def _bundle(self, problem: Problem, models: Mapping[str, Fitted]) -> Fitted:
        assert isinstance(problem.task, Several)
        settled = replace(self, chosen={column: model.method for column, model in models.items()})
        return one_network(settled, problem.task, models, problem.train) or Bundle(settled, problem.task, models)


def separately(method: Method, task: Task) -> Method:
    """The method as it is for one target, or where it shares its fit; else a fit for each target."""
    return method if method.shares or not isinstance(task, Several) else Separately(method)


def model_of(fitted: Fitted, column: str) -> Fitted:
    """The model within that predicts this column: of a bundle the one it names, else the fitted model itself."""
    return fitted.models[column] if isinstance(fitted, Bundle) else fitted


def _alone(problem: Problem, place: int, column: str) -> Problem:
    """The problem of one target, with an equal share of the time that is left for it and those after it."""
    parts, left = _parts(problem.task), problem.seconds_left
    return problem.replace(
        train=problem.train.aim(column),
        valid=None if problem.valid is None else problem.valid.aim(column),
        task=parts[column],
        folder=None if problem.folder is None else problem.folder / f"target {place + 1}",
        deadline=None if left is None else time.monotonic() + max(1.0, left / (len(parts) - place)),
    )


def _parts(task: Task) -> dict[str, Task]:
    assert isinstance(task, Several)
    return task.parts
