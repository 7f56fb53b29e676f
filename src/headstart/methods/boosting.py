"""Boosting from what a source says: trees on the raw columns that go on from the source's prediction, or read it.

The source's classifier predicts a row [Z]; the columns of the row, those that the source does not know included, stand
beside. Four models are tried in this order; one takes the place of another where its loss out of fold is clearly less
(by two standard errors), so that few labels leave the source's word as it is:

- ``source``: the source's prediction as it is, where it predicts the same classes, and trees that add to it
- ``prediction``: a linear head on the prediction alone, and trees that add to it what it leaves
- ``features``: a linear head on all features of the source (the probe), and trees that add to it
- ``columns``: trees alone, for which the prediction is a column like others

The size and number of the trees are chosen as those of the control ``baseline``; there are none where the loss does not
clearly fall. A source model's output as a feature is PRED in Daumé III 2007, Frustratingly easy domain adaptation, ACL;
trees that start from another model's output fit its residuals (Friedman 2001, Greedy function approximation).
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from headstart.datasets.base import Dataset
from headstart.errors import ArtefactError, MethodError
from headstart.methods.base import Fitted, Method, Need, Problem, hyper
from headstart.nn.boosting import Boosted, clearly_less, fit_boosting
from headstart.nn.linear import fit_linear
from headstart.nn.tables import TableFeatures
from headstart.runtime import Extractor
from headstart.tasks.base import Array, Task
from headstart.types import Json, LayerRow, Modality, Outputs

if TYPE_CHECKING:
    from headstart.sources.base import Source

STARTS = ("source", "prediction", "features", "columns")


@dataclass(frozen=True)
class Boosting(Method):
    """Boosted trees on the raw columns that go on from the source's prediction, or read it."""

    name: ClassVar[str] = "boosting"
    tasks: ClassVar[tuple[str, ...]] = ("classification", "multilabel", "regression")
    modalities: ClassVar[tuple[Modality, ...]] = ("table",)
    paper: ClassVar[str] = "Daumé III 2007; Friedman 2001; Ke et al. 2017 (LightGBM)"

    start: str = hyper("auto", "what the trees start from", choices=("auto", *STARTS))
    folds: int = hyper(5, "folds of the cross-validation", low=2, high=50)

    def admit(self, task: Task, source: Source | None, dataset: Dataset, given: Collection[Need] = ()) -> None:
        """See `Method.admit`; the source has to predict something itself."""
        super().admit(task, source, dataset, given)
        if source is not None and source.classifier is None:
            raise MethodError(
                "HS-METHOD-003", f"boosting needs a source that predicts; {source.card.name} does not.",
                "Make one: headstart pretrain TABLE --target COLUMN --out FOLDER.",
            )  # fmt: skip

    def ablation(self) -> Method:
        """The same trees without the source: the control."""
        from headstart.methods.baseline import Baseline

        return Baseline(folds=self.folds)

    def fit(self, problem: Problem) -> BoostingFitted:
        """Fit on the training rows alone; ``problem.valid`` is not read."""
        train, task, extractor = problem.train, problem.task, problem.extractor
        if problem.source is None or extractor is None:
            raise MethodError("HS-METHOD-003", "boosting needs a source.", "Name one with --source.")
        self.admit(task, problem.source, train)
        linear = problem.source.classifier
        assert linear is not None
        readout = linear.weight.detach().double().numpy(), linear.bias.detach().double().numpy()
        y, groups, weights = task.encode(train.targets()), train.groups(), train.weights()
        reader = TableFeatures.fit(train)
        pooled = extractor.matrix(train.without("target"))
        predicted = pooled @ readout[0].T + readout[1]  # [n,Z]
        X = np.hstack([reader.codes(train), predicted])
        same = same_classes(task, problem.source)
        best: tuple[str, Array, Array, Boosted, Array] | None = None
        starts = [start for start in STARTS if start != "source" or same is not None]
        for start in starts if self.start == "auto" else [self.start]:
            base, weight, bias = None, np.zeros((task.width, 0)), np.zeros(task.width)
            if start == "source":
                if same is None:
                    told = f"boosting: {problem.source.card.name} predicts other classes; start is source."
                    raise MethodError("HS-METHOD-003", told, "Choose another start, or auto.")
                weight = same
                base = predicted @ same.T
            elif start != "columns":
                inputs = predicted if start == "prediction" else pooled
                head = fit_linear(task, inputs, y, groups=groups, seed=problem.seed, folds=self.folds, weights=weights)
                weight, bias, base = head.weight, head.bias, head.cv_outputs
                if base is None:  # too few rows to fold
                    base = np.asarray(inputs @ weight.T + bias)
            trees, outputs = fit_boosting(
                task, X, y, categorical=reader.categorical, groups=groups, seed=problem.seed, folds=self.folds,
                deadline=problem.deadline, weights=weights, base=base,
            )  # fmt: skip
            if best is None or clearly_less(task, outputs, best[-1], y):
                best = start, weight, bias, trees, outputs
        assert best is not None
        start, weight, bias, trees, outputs = best
        fitted = BoostingFitted(replace(self, start=start), task, extractor, reader, readout, weight, bias, trees)
        score = task.score(outputs, y)
        fitted.history = [
            {"start": start, "rounds": trees.rounds, "leaves": trees.leaves, "cross-validation": float(score)}
        ]
        fitted.cv_outputs = outputs
        return fitted


class BoostingFitted(Fitted):
    """A linear head on what the source says, and trees on the columns and the source's prediction.

    readout: (weight [Z,D], bias [Z]) of the source's classifier. weight [C,Z or D], bias [C]: of the linear head.
    """

    kind: ClassVar[str] = "methods.boosting"

    def __init__(
        self, method: Boosting, task: Task, extractor: Extractor, reader: TableFeatures, readout: tuple[Array, Array],
        weight: Array, bias: Array, trees: Boosted,
    ) -> None:  # fmt: skip
        self.method, self.task, self.extractor, self.reader = method, task, extractor, reader
        self.readout, self.weight, self.bias, self.trees = readout, weight, bias, trees
        self.start = method.start
        self.history: list[Json] = []
        self.cv_outputs: Any = None

    @property
    def description(self) -> str:
        """What was fitted, in a few words."""
        trees = "gradient boosting" if self.trees.rounds else "no trees"
        if self.start == "source":
            return f"the source's prediction, {trees}"
        if self.start == "columns":
            return f"{trees} with the source's prediction as a column"
        return f"linear head on the source's {self.start}, {trees}"

    def outputs(self, dataset: Dataset) -> Outputs:
        """[N,C]. Raises DataError for inputs that cannot be read."""
        pooled = self.extractor.matrix(dataset.without("target"))
        predicted = pooled @ self.readout[0].T + self.readout[1]
        found = self.trees.outputs(np.hstack([self.reader.codes(dataset), predicted]))
        inputs = {"source": predicted, "prediction": predicted, "features": pooled}.get(self.start)
        return found if inputs is None else found + inputs @ self.weight.T + self.bias

    def trained(self) -> list[LayerRow]:
        """The head and the trees; no layer of the source moves."""
        trees = LayerRow("boosted trees", sum(text.count("Tree=") for text in self.trees.texts), 1.0, None)
        return [LayerRow("linear", int(self.weight.size + self.bias.size), 1.0, None), trees]

    def save(self, folder: Path) -> None:
        """``source/``, ``boosting.json`` (columns, trees) and ``boosting.safetensors``."""
        from safetensors.numpy import save_file

        source = self.extractor.source
        source.with_network(source.network).save(folder / "source")
        state, arrays = self.reader.state("columns.")
        readout = {"source.weight": self.readout[0], "source.bias": self.readout[1]}
        tensors = {"weight": self.weight, "bias": self.bias, **readout, **arrays}
        save_file({name: np.ascontiguousarray(each) for name, each in tensors.items()}, folder / "boosting.safetensors")
        facts = {"columns": state, "trees": vars(self.trees), "start": self.start, "history": self.history}
        (folder / "boosting.json").write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, task: Task, method: Method) -> BoostingFitted:
        """What `save` wrote. Raises ArtefactError HS-ARTEFACT-003 where tensors are missing or misshapen."""
        from safetensors.numpy import load_file

        from headstart.sources.shelf import open_source

        facts = json.loads((folder / "boosting.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "boosting.safetensors")
        try:
            reader = TableFeatures.restore(facts["columns"], tensors, "columns.")
            weight, bias = tensors["weight"], tensors["bias"]
            readout = tensors["source.weight"], tensors["source.bias"]
            if weight.shape[:1] != bias.shape or readout[0].shape[:1] != readout[1].shape or len(bias) != task.width:
                raise ValueError("misshapen weights")
        except (KeyError, ValueError) as error:
            raise ArtefactError(
                "HS-ARTEFACT-003", f"{folder / 'boosting.safetensors'}: {error}.",
                "The file is not the one that was saved; copy it again.",
            ) from error  # fmt: skip
        trees = Boosted(**{**facts["trees"], **{key: tuple(facts["trees"][key]) for key in ("texts", "constants")}})
        assert isinstance(method, Boosting)
        extractor = Extractor(open_source(str(folder / "source")))
        settled = replace(method, start=facts["start"])
        fitted = cls(settled, task, extractor, reader, readout, weight, bias, trees)
        fitted.history = facts["history"]
        return fitted


def same_classes(task: Task, source: Source) -> Array | None:
    """[C,C] 0/1, which of the source's outputs is which of the task's; None where it does not predict the same classes.

    Of numbers it is not known in which units the source predicts.
    """
    ours, theirs = [str(label) for label in task.classes], list(source.classes)
    if not ours or sorted(ours) != sorted(theirs):
        return None
    return np.eye(len(ours))[[theirs.index(label) for label in ours]]
