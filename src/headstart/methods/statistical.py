"""The control of forecasting: what a careful person would do with each series alone, without any source.

Seasonal naive, the same with drift, ridge autoregression (where columns are known ahead, also with these), AutoETS and
AutoTheta (`headstart.nn.local_forecasts`) forecast the validation windows and are weighted for each series by what they
reached there, by the rule of `headstart.methods.gate`. Nothing else is fitted: each forecast comes from the history of
its own row. ``model`` names a single one for all series.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from headstart.datasets import known, windows
from headstart.datasets.base import Dataset
from headstart.errors import MethodError
from headstart.methods.base import Fitted, Method, Need, Problem, hyper
from headstart.methods.gate import weighed
from headstart.nn import local_forecasts
from headstart.tasks.base import Task
from headstart.types import Json, LayerRow, Outputs

if TYPE_CHECKING:
    from headstart.sources.base import Source

TRIED = 4
"""Windows on which the time of a model is measured."""

SHARE = 0.25
"""Part of the time left that one model may take for all windows."""

LACKING = "AutoETS and AutoTheta were not tried: pip install 'headstart[timeseries]'."

DESCRIBED = {
    "seasonal_naive": "seasonal naive", "drift": "seasonal naive with drift", "ridge": "ridge autoregression",
    "ridge_known": "ridge autoregression with what is known ahead", "autoets": "AutoETS", "autotheta": "AutoTheta",
}  # fmt: skip


@dataclass(frozen=True)
class Statistical(Method):
    """Seasonal naive with and without drift, ridge autoregression, AutoETS and AutoTheta, weighted by series."""

    name: ClassVar[str] = "statistical"
    role: ClassVar[Any] = "control"
    needs: ClassVar[tuple[Need, ...]] = ("labels",)
    tasks: ClassVar[tuple[str, ...]] = ("forecasting",)
    paper: ClassVar[str] = "Hyndman & Athanasopoulos 2021, Forecasting: Principles and Practice, chapters 5, 8 and 10"

    model: str = hyper(
        "auto", "one for all series; auto: all, weighted",
        choices=("auto", "seasonal_naive", "drift", "ridge", "ridge_known", "autoets", "autotheta"),
    )  # fmt: skip

    def admit(self, task: Task, source: Source | None, dataset: Dataset, given: Collection[Need] = ()) -> None:
        """See `Method.admit`; a model that reads what is known ahead needs such columns."""
        super().admit(task, source, dataset, given)
        if self.model in local_forecasts.READING and not dataset.with_role("known"):
            raise MethodError(
                "HS-METHOD-003", f"{self.model} reads columns known ahead, and there is none.", "Name one with --known."
            )

    def fit(self, problem: Problem) -> Fitted:
        """Weigh the models on ``problem.valid``."""
        if self.model != "auto":
            return StatisticalFitted(self, problem.task, self.model)
        return weighed(self, problem, self.models(problem))

    def models(self, problem: Problem) -> list[StatisticalFitted]:
        """Every model that can be fitted here in time."""
        names = local_forecasts.available(bool(problem.train.with_role("known")))
        if not set(local_forecasts.PACKAGED) <= set(names) and LACKING not in problem.notes:
            problem.notes.append(LACKING)
        rows = problem.valid if problem.valid is not None else problem.train
        few = rows.select(list(range(min(TRIED, len(rows))))).without("target")
        found: list[StatisticalFitted] = []
        for name in names:
            fitted = StatisticalFitted(replace(self, model=name), problem.task, name)
            fitted.outputs(few.select([0]))  # what is loaded and compiled once is no cost of a window
            left, started = problem.seconds_left, time.monotonic()
            fitted.outputs(few)
            needed = (time.monotonic() - started) / max(1, len(few) - 1) * 2 * len(rows)  # about as many to test
            if left is not None and name in local_forecasts.PACKAGED and needed > SHARE * left:
                note = f"{DESCRIBED[name]} was left out: it would take about {needed:.0f} s."
                problem.notes += [] if note in problem.notes else [note]
                continue
            found.append(fitted)
        return found

    def refitted(self, fitted: Fitted, problem: Problem) -> None:
        """Nothing: a forecast reads the whole history of its row as it is."""
        return None


class StatisticalFitted(Fitted):
    """A model of one series alone, by name."""

    kind: ClassVar[str] = "methods.statistical"

    def __init__(self, method: Method, task: Task, model: str) -> None:
        self.method, self.task, self.model = method, task, model
        self.history: list[Json] = []

    @property
    def description(self) -> str:
        """Such as ``AutoTheta``."""
        return DESCRIBED[self.model]

    def outputs(self, dataset: Dataset) -> Outputs:
        """[N,H Q], in units of the range of each history."""
        task: Any = self.task
        found = []
        reads = self.model in local_forecasts.READING
        beside: Sequence[np.ndarray | None] = known.ahead(dataset) if reads else [None] * len(dataset)
        for sample, season, lines in zip(dataset.samples(), windows.seasons(dataset), beside, strict=True):
            history = np.asarray(sample[0], np.float64)
            low, size = windows.ranged(history)
            found.append((local_forecasts.forecast(self.model, history, season, task.horizon, lines) - low) / size)
        return np.stack(found).reshape(len(found), -1)

    def trained(self) -> list[LayerRow]:
        """Nothing trains."""
        return []

    def save(self, folder: Path) -> None:
        """``statistical.json``."""
        (folder / "statistical.json").write_text(json.dumps({"model": self.model}), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, task: Task, method: Method) -> StatisticalFitted:
        """What `save` wrote."""
        facts = json.loads((folder / "statistical.json").read_text(encoding="utf-8"))
        return cls(method, task, str(facts["model"]))
