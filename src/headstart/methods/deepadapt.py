"""The automatic adaptation of a network: what label-free evidence prefers to that of the labelled rows.

The control and every candidate are trained ``runs`` times from different seeds on most of the labelled rows. The rest
of those, which no run has seen, and the target rows without labels are what the choice reads (`prefer`). The runs of
what is chosen are averaged: they are there already, and the mean of networks errs less than one. Where the evidence is
thin the control ships, averaged in the same way.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from headstart import catalog
from headstart.errors import MethodError
from headstart.methods.base import Fitted, Method, Need, Problem, hyper, make
from headstart.methods.deep_adaptation import DeepAdaptation
from headstart.methods.ensemble import EnsembleFitted
from headstart.methods.network import NetworkFitted
from headstart.methods.preference import SOURCE, Preference, Seen, prefer
from headstart.methods.selection import validation_part
from headstart.methods.sourcetuned import Sourcetuned
from headstart.tasks.base import Task
from headstart.types import Candidate, Json

if TYPE_CHECKING:
    from headstart.datasets.base import Dataset
    from headstart.sources.base import Source


@dataclass(frozen=True)
class Deepadapt(Method):
    """The adaptation of the network that label-free evidence speaks for; none where it does not."""

    name: ClassVar[str] = "deepadapt"
    kind: ClassVar[Any] = "transductive"
    gradients: ClassVar[bool] = True
    needs: ClassVar[tuple[Need, ...]] = ("labels", "network", "domain")
    tasks: ClassVar[tuple[str, ...]] = ("classification",)

    of: str = hyper("fixmatch,mcc", "the methods among which it chooses, with commas")
    runs: int = hyper(2, "trainings of each, from different seeds", low=1, high=20)
    epochs: int = hyper(0, "passes over the labelled rows; 0 = by their number", low=0, high=1000)
    batch_size: int = hyper(64, "labelled rows a step sees", low=1, high=4096)
    learning_rate: float = hyper(0.0, "highest rate; 0 = by whether the source is pretrained", low=0.0, high=1.0)

    def candidates(self) -> list[DeepAdaptation]:
        """The control, then the methods. Raises MethodError HS-METHOD-002 for one that does not adapt a network."""
        names = list(dict.fromkeys(name.strip() for name in self.of.split(",") if name.strip()))
        shared = {"epochs": self.epochs, "batch_size": self.batch_size, "learning_rate": self.learning_rate}
        found = [make(catalog.find("methods", name), shared) for name in names if self._adapts(name)]
        return [Sourcetuned(**shared), *found]  # type: ignore[arg-type, list-item]

    def _adapts(self, name: str) -> bool:
        found = catalog.find("methods", name)
        if not issubclass(found, DeepAdaptation) or found.role != "transfer":
            raise MethodError(
                "HS-METHOD-002", f"deepadapt: {name} does not adapt a network.", "Name methods such as fixmatch,mcc."
            )
        return True

    def admit(self, task: Task, source: Source | None, dataset: Dataset, given: Collection[Need] = ()) -> None:
        """Refuse what any candidate cannot do. Raises MethodError HS-METHOD-003."""
        super().admit(task, source, dataset, given)
        for each in self.candidates():
            each.admit(task, source, dataset, given)

    def rows_trained(self, rows: int) -> float:
        """Of all trainings."""
        return self.runs * sum(each.rows_trained(rows) for each in self.candidates())

    def ablation(self) -> Method | None:
        """The network of the labelled rows alone."""
        return self.candidates()[0]

    def fit(self, problem: Problem) -> Fitted:
        """Train all, compare, and average the runs of what is preferred."""
        part = validation_part(problem)
        if problem.domain is None or part.valid is None:
            self.admit(problem.task, problem.source, problem.train, problem.given)
            raise MethodError("HS-METHOD-003", f"deepadapt: {len(problem.train)} rows leave none to choose by.")
        methods, fitted, seen, seconds = self.candidates(), [], [], []
        for number, method in enumerate(methods):
            began = time.monotonic()
            runs = [self._run(part, method, run, number * self.runs + run) for run in range(self.runs)]
            fitted.append(runs)
            seen.append(_seen(runs, part))
            seconds.append(time.monotonic() - began)
        valid = np.asarray(problem.task.encode(part.valid.targets()))
        right = float((seen[0].source.argmax(axis=1) == valid).mean())
        error = (max(right * (1 - right), 1 / len(valid)) / len(valid)) ** 0.5
        found = prefer(valid, seen[0], seen[1:], lose=max(SOURCE, 2 * error), seed=problem.seed)
        place = 0 if found.index is None else found.index + 1
        control, model = (_mean(self, problem.task, fitted[at]) for at in (0, place))
        because = found.reason if found.index is None else f"{methods[place].name} is {found.reason}"
        model.history = [{"chosen": methods[place].name, "because": because, "compared": _lines(methods, found)}]
        model.method, control.method, model.control = self, methods[0], control
        model.tried = [
            Candidate(
                each.name,
                each.role,
                each.summary,
                problem.task.score(one.source, valid),
                None,
                took,
                each.hyperparameters(),
            )
            for each, one, took in zip(methods, seen, seconds)
        ]
        return model

    def _run(self, part: Problem, method: DeepAdaptation, run: int, done: int) -> NetworkFitted:
        total = self.runs * (1 + len(self.of.split(",")))
        name = f"{method.name}, {done + 1} of {total}"
        return method.fit(
            part.replace(
                seed=part.seed + 1000 * run,
                folder=None if part.folder is None else part.folder / f"{method.name}-{run}",
                report=lambda stage, at, of: part.report(name, at, of),
                options={**part.options, "drift": part.options.get("drift", True) and run == 0},
            )
        )


def _seen(runs: list[NetworkFitted], part: Problem) -> Seen:
    """What the choice reads of a method: outputs and features of the first run, and what the second says."""
    assert part.domain is not None and part.valid is not None
    target, valid = part.domain.without("target"), part.valid.without("target")
    first = runs[0]
    return Seen(
        np.asarray(first.outputs(valid)), np.asarray(first.outputs(target)),
        first.extractor.matrix(valid, first.outputs_used), first.extractor.matrix(target, first.outputs_used),
        np.asarray(runs[1].outputs(target)) if len(runs) > 1 else None,
    )  # fmt: skip


def _lines(methods: Sequence[Method], found: Preference) -> list[Json]:
    """Of the control and each candidate its scores without target labels, and what speaks against it."""
    scores = [found.scores[-1], *found.scores[:-1]]
    return [
        {"method": each.name, "scores": score, "why": why}
        for each, score, why in zip(methods, scores, ["", *found.doubts])
    ]


def _mean(method: Method, task: Task, runs: list[NetworkFitted]) -> Fitted:
    return runs[0] if len(runs) == 1 else EnsembleFitted(method, task, runs, [1.0] * len(runs))
