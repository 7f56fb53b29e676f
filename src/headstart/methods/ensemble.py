"""Ensemble: the mean of what several methods' models say.

Models that were made in different ways err on different rows, and with a few labels a class nothing tells which of them
is best: cross-validation on 12 to 100 rows has a standard error of 5 to 15 points. Of chances the mean is taken
(Breiman 1996, Bagging predictors, section 4.2; for methods that differ, Dietterich 2000, Ensemble methods in machine
learning),

    output = log of mean over m of softmax(f_m * output of m)   (of labels: the logit of the mean; of numbers: the mean)

with factors f_m by which all models are equally sure (`equally_sure`), so that none drowns the others. Every model runs
once a row. Measured with minilm on ten development draws of reviews, 2 to 16 labels a class, mean accuracy: selftrain
0.540, contrastive 0.551, the plain mean of both 0.558, equally sure 0.566; a probe and a nearest mean besides take 3 to
10 points off.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from headstart import catalog
from headstart.datasets.base import Dataset
from headstart.errors import MethodError
from headstart.methods.base import Fitted, Method, Need, Problem, hyper, load_part, make, save_part
from headstart.tasks.base import Array, Task
from headstart.types import Json, LayerRow, Outputs

if TYPE_CHECKING:
    from headstart.runtime import Extractor
    from headstart.sources.base import Source


JUDGED = 500  # rows on which it is measured how sure the models are
WIDEST = 7.0  # largest logarithm of a factor


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

    def admit(self, task: Task, source: Source | None, dataset: Dataset, given: Collection[Need] = ()) -> None:
        """Refuse what any member cannot do. Raises MethodError HS-METHOD-003."""
        super().admit(task, source, dataset, given)
        for each in self.members():
            each.admit(task, source, dataset, given)

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
        rows = problem.valid if problem.valid is not None else problem.unlabelled
        if rows is None:
            return EnsembleFitted(self, problem.task, models, [1.0] * len(models))
        rows = rows.without("target").select(range(min(len(rows), JUDGED)))
        return EnsembleFitted(self, problem.task, models, equally_sure(problem.task, [m.outputs(rows) for m in models]))


class EnsembleFitted(Fitted):
    """Several fitted models whose outputs are averaged. factors: one a model, on its outputs."""

    kind: ClassVar[str] = "methods.ensemble"

    def __init__(self, method: Method, task: Task, models: Sequence[Fitted], factors: Sequence[float]) -> None:
        self.method, self.task, self.models, self.factors = method, task, list(models), list(factors)
        self.history: list[Json] = [{each.method.name: each.history[-1] for each in self.models if each.history}]

    @property
    def description(self) -> str:
        """The models."""
        names = [each.method.name for each in self.models]
        if len(set(names)) == 1:
            return f"mean of {len(names)} runs of {names[0]}"
        return f"mean of {' and '.join(names)}"

    def outputs(self, dataset: Dataset) -> Outputs:
        """[N,C]."""
        return mean(self.task, [f * np.asarray(each.outputs(dataset)) for f, each in zip(self.factors, self.models)])

    def trained(self) -> list[LayerRow]:
        """The tables of all models."""
        return [
            replace(row, layer=f"{each.method.name}: {row.layer}") for each in self.models for row in each.trained()
        ]

    def save(self, folder: Path) -> None:
        """``ensemble.json`` and a folder for each model."""
        facts = [save_part(model, folder / str(place)) for place, model in enumerate(self.models)]
        written = json.dumps({"models": facts, "factors": self.factors}, indent=1)
        (folder / "ensemble.json").write_text(written, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, task: Task, method: Method) -> EnsembleFitted:
        """What `save` wrote. Raises ArtefactError HS-ARTEFACT-003 unless every tensor matches."""
        facts = json.loads((folder / "ensemble.json").read_text(encoding="utf-8"))
        models = [load_part(each, folder / str(place), task) for place, each in enumerate(facts["models"])]
        return cls(method, task, models, facts["factors"])


def equally_sure(task: Task, outputs: Sequence[Any]) -> list[float]:
    """Factors on the outputs [N,C] of several models by which the mean entropies of their chances are equal.

    They come to the mean of what they were. Of labels and numbers, and where a model is quite sure of all: ones.
    """
    from scipy.optimize import brentq
    from scipy.special import log_softmax

    def entropy(power: float, values: Array) -> float:
        logs = log_softmax(np.exp(power) * values, axis=1)
        return -float((np.exp(logs) * logs).sum(axis=1).mean())

    given = [np.asarray(each, dtype=np.float64) for each in outputs]
    if task.name != "classification":
        return [1.0] * len(given)
    wanted = float(np.mean([entropy(0.0, each) for each in given]))
    if any(not entropy(WIDEST, each) < wanted < entropy(-WIDEST, each) for each in given):
        return [1.0] * len(given)
    return [float(np.exp(brentq(lambda power, e=each: entropy(power, e) - wanted, -WIDEST, WIDEST))) for each in given]


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
