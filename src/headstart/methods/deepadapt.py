"""The automatic adaptation of a network: what label-free evidence prefers to that of the labelled rows.

The control and every candidate are trained ``runs`` times from different seeds on most of the labelled rows. The rest
of those, which no run has seen, and the target rows without labels are what the choice reads (`prefer`). The runs of
what is chosen are averaged: they are there already, and the mean of networks errs less than one. Where the evidence is
thin the control ships, averaged in the same way.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
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
    from headstart.runtime import Extractor
    from headstart.sources.base import Source


@dataclass(frozen=True)
class Deepadapt(Method):
    """The adaptation of the network that label-free evidence speaks for; none where it does not."""

    name: ClassVar[str] = "deepadapt"
    kind: ClassVar[Any] = "transductive"
    gradients: ClassVar[bool] = True
    needs: ClassVar[tuple[Need, ...]] = ("labels", "network", "domain")
    tasks: ClassVar[tuple[str, ...]] = ("classification",)

    of: str = hyper("fixmatch,mcc", 'among which it chooses: methods, with settings if any, "mcc,mcc temperature=1"')
    runs: int = hyper(2, "trainings of each, from different seeds", low=1, high=20)
    epochs: int = hyper(0, "passes over the labelled rows; 0 = by their number", low=0, high=1000)
    batch_size: int = hyper(64, "labelled rows a step sees", low=1, high=4096)
    learning_rate: float = hyper(0.0, "highest rate; 0 = by whether the source is pretrained", low=0.0, high=1.0)

    def candidates(self) -> dict[str, DeepAdaptation]:
        """The control, then the methods, by what they are called. Raises MethodError HS-METHOD-002 for what is none."""
        shared: Json = {"epochs": self.epochs, "batch_size": self.batch_size, "learning_rate": self.learning_rate}
        found: dict[str, DeepAdaptation] = {Sourcetuned.name: Sourcetuned(**shared)}
        for part in self.of.split(","):
            name, *given = part.split() or [""]
            method = catalog.find("methods", name)
            if not issubclass(method, DeepAdaptation) or method.role != "transfer":
                raise MethodError(
                    "HS-METHOD-002",
                    f"deepadapt: {name} does not adapt a network.",
                    "Name methods such as fixmatch,mcc.",
                )
            found[" ".join([name, *given])] = make(method, {**shared, **_settings(method, given)})  # type: ignore[assignment]
        return found

    def admit(self, task: Task, source: Source | None, dataset: Dataset, given: Collection[Need] = ()) -> None:
        """Refuse what any candidate cannot do. Raises MethodError HS-METHOD-003."""
        super().admit(task, source, dataset, given)
        for each in self.candidates().values():
            each.admit(task, source, dataset, given)

    def outputs_read(self, extractor: Extractor, task: Task) -> list[str]:
        """What every candidate reads."""
        return self.candidates()[Sourcetuned.name].outputs_read(extractor, task)

    def rows_trained(self, rows: int) -> float:
        """Of all trainings."""
        return self.runs * sum(each.rows_trained(rows) for each in self.candidates().values())

    def ablation(self) -> Method | None:
        """The network of the labelled rows alone."""
        return self.candidates()[Sourcetuned.name]

    def fit(self, problem: Problem) -> Fitted:
        """Train all, compare, and average the runs of what is preferred."""
        part = validation_part(problem)
        if problem.domain is None or part.valid is None:
            self.admit(problem.task, problem.source, problem.train, problem.given)
            raise MethodError("HS-METHOD-003", f"deepadapt: {len(problem.train)} rows leave none to choose by.")
        methods, fitted, seen, seconds = self.candidates(), [], [], []
        names = list(methods)
        for number, (name, method) in enumerate(methods.items()):
            began = time.monotonic()
            stages = [f"{name}, {number * self.runs + run + 1} of {self.runs * len(names)}" for run in range(self.runs)]
            runs = [self._run(part, method, f"{number}-{run}", run, stages[run]) for run in range(self.runs)]
            fitted.append(runs)
            seen.append(_seen(runs, part))
            seconds.append(time.monotonic() - began)
        valid = np.asarray(problem.task.encode(part.valid.targets()))
        right = float((seen[0].source.argmax(axis=1) == valid).mean())
        error = (max(right * (1 - right), 1 / len(valid)) / len(valid)) ** 0.5
        found = prefer(valid, seen[0], seen[1:], lose=max(SOURCE, 2 * error), seed=problem.seed)
        place = 0 if found.index is None else found.index + 1
        control, model = (_mean(self, problem.task, fitted[at]) for at in (0, place))
        because = found.reason if found.index is None else f"{names[place]} is {found.reason}"
        model.history = [{"chosen": names[place], "because": because, "compared": _lines(names, found)}]
        model.method, control.method, model.control = self, methods[names[0]], control
        model.tried = [
            Candidate(
                name,
                each.role,
                each.summary,
                problem.task.score(one.source, valid),
                None,
                took,
                each.hyperparameters(),
            )
            for (name, each), one, took in zip(methods.items(), seen, seconds)
        ]
        return model

    def _run(self, part: Problem, method: DeepAdaptation, place: str, run: int, stage: str) -> NetworkFitted:
        return method.fit(
            part.replace(
                seed=part.seed + 1000 * run,
                folder=None if part.folder is None else part.folder / place,
                report=lambda _, at, of: part.report(stage, at, of),
                options={**part.options, "drift": part.options.get("drift", True) and run == 0},
            )
        )


def _settings(method: type[Method], given: Sequence[str]) -> Json:
    """Settings as numbers of the kind that the method has. Raises MethodError HS-METHOD-002 for what is no setting."""
    found: Json = {}
    known: dict[str, Any] = {item.name: item.default for item in fields(method)}
    for each in given:
        name, _, value = each.partition("=")
        try:
            found[name] = type(known.get(name, ""))(value)
        except ValueError as error:
            raise MethodError("HS-METHOD-002", f'{method.name}: {name} is "{value}"; expected a number.') from error
    return found


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


def _lines(names: Sequence[str], found: Preference) -> list[Json]:
    """Of the control and each candidate its scores without target labels, and what speaks against it."""
    scores = [found.scores[-1], *found.scores[:-1]]
    return [
        {"method": name, "scores": score, "why": why} for name, score, why in zip(names, scores, ["", *found.doubts])
    ]


def _mean(method: Method, task: Task, runs: list[NetworkFitted]) -> Fitted:
    return runs[0] if len(runs) == 1 else EnsembleFitted(method, task, runs, [1.0] * len(runs))
