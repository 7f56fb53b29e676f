"""Ensemble: the mean of what several methods' models say.

Models that were made in different ways err on different rows, and with a few labels a class nothing tells which of them
is best: cross-validation on 12 to 100 rows has a standard error of 5 to 15 points. Of chances the mean is taken
(Breiman 1996, Bagging predictors, section 4.2; for methods that differ, Dietterich 2000, Ensemble methods in machine
learning),

    output = log of mean over m of softmax(output of m)      (of labels: the logit of the mean; of numbers: the mean)

and every model runs once a row. Measured with minilm on development reviews, accuracy of selftrain, contrastive and
their mean; labels a class, draw: 2: 0.441, 0.496, 0.496; 4: 0.546, 0.515, 0.547; 8: 0.685, 0.665, 0.712;
16: 0.663, 0.691, 0.698. A probe and a nearest mean besides take 3 to 10 points off.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from headstart import catalog
from headstart.datasets.base import Dataset
from headstart.errors import MethodError
from headstart.methods.base import Fitted, Method, Need, Problem, fitted_class, hyper, make
from headstart.tasks.base import Array, Task
from headstart.types import Json, LayerRow, Outputs

if TYPE_CHECKING:
    from headstart.runtime import Extractor
    from headstart.sources.base import Source


@dataclass(frozen=True)
class Ensemble(Method):
    """The mean of what several methods' models say."""

    name: ClassVar[str] = "ensemble"
    gradients: ClassVar[bool] = True
    uses: ClassVar[tuple[Need, ...]] = ("unlabelled",)
    tasks: ClassVar[tuple[str, ...]] = ("classification", "multilabel", "regression")
    paper: ClassVar[str] = "Breiman 1996, Bagging predictors; Dietterich 2000, Ensemble methods in machine learning"

    of: str = hyper("probe,finetune", "the methods, with commas")

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [name.strip() for name in self.of.split(",")]
        for name in names:
            found = catalog.find("methods", name)
            if name == self.name or found.role != "transfer" or found.shares:
                raise MethodError(
                    "HS-METHOD-002", f"ensemble: {name} cannot be a part of it.", "Name methods such as probe,finetune."
                )
        if len(set(names)) < 2:
            raise MethodError("HS-METHOD-002", f'ensemble: "{self.of}" is one method.', "Name two or more with --of.")

    def members(self) -> list[Method]:
        """The methods, with their own defaults."""
        return [make(catalog.find("methods", name.strip()), {}) for name in self.of.split(",")]

    def outputs_read(self, extractor: Extractor, task: Task) -> list[str]:
        """What all members read."""
        return list(dict.fromkeys(name for each in self.members() for name in each.outputs_read(extractor, task)))

    def admit(self, task: Task, source: Source | None, dataset: Dataset, unlabelled: bool = False) -> None:
        """Refuse what any member cannot do. Raises MethodError HS-METHOD-003."""
        super().admit(task, source, dataset, unlabelled)
        for each in self.members():
            each.admit(task, source, dataset, unlabelled)

    def rows_trained(self, rows: int) -> float:
        """Of all members."""
        return sum(each.rows_trained(rows) for each in self.members())

    def fit(self, problem: Problem) -> EnsembleFitted:
        """Fit every member on the same rows; those that train share the time that is left, each in its own folder."""
        members = self.members()
        waiting = sum(each.gradients for each in members)
        models = []
        for each in sorted(members, key=lambda method: method.gradients):
            left, deadline = problem.seconds_left, problem.deadline
            if each.gradients and left is not None:
                deadline = time.monotonic() + max(1.0, left / waiting)
                waiting -= 1
            folder = None if problem.folder is None else problem.folder / each.name
            models.append(each.fit(problem.replace(deadline=deadline, folder=folder)))
        return EnsembleFitted(self, problem.task, models)


class EnsembleFitted(Fitted):
    """Several fitted models whose outputs are averaged."""

    kind: ClassVar[str] = "methods.ensemble"

    def __init__(self, method: Method, task: Task, models: Sequence[Fitted]) -> None:
        self.method, self.task, self.models = method, task, list(models)
        self.history: list[Json] = [{each.method.name: each.history[-1] for each in self.models if each.history}]

    @property
    def description(self) -> str:
        """The models."""
        return f"mean of {' and '.join(each.method.name for each in self.models)}"

    def outputs(self, dataset: Dataset) -> Outputs:
        """[N,C]."""
        return mean(self.task, [np.asarray(each.outputs(dataset)) for each in self.models])

    def trained(self) -> list[LayerRow]:
        """The tables of all models."""
        return [
            replace(row, layer=f"{each.method.name}: {row.layer}") for each in self.models for row in each.trained()
        ]

    def save(self, folder: Path) -> None:
        """``ensemble.json`` and a folder for each model."""
        facts = []
        for place, model in enumerate(self.models):
            (folder / str(place)).mkdir(parents=True, exist_ok=True)
            model.save(folder / str(place))
            facts.append({"kind": model.kind, "name": model.method.name, "settings": model.method.hyperparameters()})
        (folder / "ensemble.json").write_text(json.dumps({"models": facts}, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, task: Task, method: Method) -> EnsembleFitted:
        """What `save` wrote. Raises ArtefactError HS-ARTEFACT-003 unless every tensor matches."""
        facts = json.loads((folder / "ensemble.json").read_text(encoding="utf-8"))["models"]
        models = [
            fitted_class(each["kind"]).load(
                folder / str(place), task, make(catalog.find("methods", each["name"]), each["settings"])
            )
            for place, each in enumerate(facts)
        ]
        return cls(method, task, models)


def mean(task: Task, outputs: Sequence[Array]) -> Array:
    """Outputs [N,C] of several models as one."""
    from scipy.special import log_expit as log_sigmoid
    from scipy.special import log_softmax, logsumexp

    if task.name == "classification":
        return np.asarray(logsumexp([log_softmax(each, axis=1) for each in outputs], axis=0) - np.log(len(outputs)))
    if task.name == "multilabel":
        there, absent = (logsumexp([log_sigmoid(sign * each) for each in outputs], axis=0) for sign in (1, -1))
        return np.asarray(there - absent)
    return np.asarray(np.mean(outputs, axis=0))
