"""The Task contract: head, loss, metric and decode of one kind of prediction, in one file.

Every metric is a function of *summed per-row statistics*, metric = combine(sum_i statistics_i). Accuracy is
(sum correct) / (sum rows), entity F1 is 2 sum tp / (sum predicted + sum true), R² follows from sums of y, y² and
squared errors. So one matrix product bootstraps any of them (evidence/verdict.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import torch
from torch import nn

from headstart import catalog
from headstart.datasets.base import Column, Dataset
from headstart.errors import DataError, HeadstartError, TaskError, raise_all
from headstart.types import Json, Outputs, Prediction

Targets: TypeAlias = Any
"""Encoded targets of N rows: int [N], float [N,C], float [N,1], or a list of N int arrays [T_i]."""

Array: TypeAlias = np.ndarray


class Task(ABC):
    """What is predicted. Subclasses are final; instances know their classes or scale and are JSON-able.

    name: the file's name. metric: name of the headline metric (higher is better). needs: which features the head
    reads; ``items`` where there is no head, and only methods that rank items (`Method.ranks`) can do it. unsupervised:
    nothing is learned from labels, which only tell what it was worth (`headstart.unsupervised`). independent: whether
    rows stand for themselves; where they overlap (windows of one series) twins are not looked for, nothing is
    cross-validated, and no learning curve is measured. control: the method that needs no source; scratch: those of
    the source's network from fresh weights, of which the first that fits is taken; search: the one that ``auto`` stands
    for; source: the usual one, where it is not that of the kind of input. wants: options of `headstart.read` that rows
    of this task need.
    """

    name: ClassVar[str]
    metric: ClassVar[str]
    needs: ClassVar[Literal["pooled", "tokens", "items"]] = "pooled"
    unsupervised: ClassVar[bool] = False
    independent: ClassVar[bool] = True
    control: ClassVar[str] = "baseline"
    scratch: ClassVar[tuple[str, ...]] = ("scratch",)
    search: ClassVar[str] = "auto"
    source: ClassVar[str | None] = None
    wants: ClassVar[tuple[str, ...]] = ()

    # --- learning what the target is --------------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def matches(cls, column: Column, values: Sequence[Any]) -> bool:
        """Whether this task fits a target column (kind and values of the labelled rows)."""

    @classmethod
    @abstractmethod
    def learn(cls, dataset: Dataset) -> Task:
        """Classes or scale from the target values. Raises DataError (one class, NaN, mixed types, ...)."""

    def relearned(self, dataset: Dataset) -> Task:
        """The same task with its scale learned on these rows, as test rows took part in what came before the split."""
        return self

    @abstractmethod
    def to_json(self) -> Json:
        """What `from_json` needs; has the key ``name``."""

    @classmethod
    @abstractmethod
    def from_json(cls, data: Json) -> Task:
        """The task that `to_json` wrote."""

    @property
    def reading(self) -> Json:
        """What `headstart.read` has to be told of new rows, besides their columns."""
        return {}

    @property
    @abstractmethod
    def width(self) -> int:
        """C, the number of outputs for a row or token."""

    @property
    def classes(self) -> list[Any]:
        """The user's own labels in output order; empty where there are none."""
        return []

    @abstractmethod
    def describe(self) -> str:
        """A few words for the summary, such as ``classification (6 classes)``."""

    @abstractmethod
    def encode(self, values: Sequence[Any]) -> Targets:
        """The user's target values to numbers. An unseen label raises DataError HS-TASK-002 naming row and label."""

    def strata(self, values: Sequence[Any]) -> Array | None:
        """Integers [N] by which a split may be stratified, or None. Values as in the target column."""
        return None

    # --- networks ----------------------------------------------------------------------------------------------

    def head(self, features: int) -> nn.Module:
        """A fresh head from D features to C outputs."""
        return nn.Linear(features, self.width)

    def start(self, features: int) -> nn.Module | None:
        """A head that need not be fitted, where features of this width are what is predicted already; else None."""
        return None

    @abstractmethod
    def collate(self, targets: Targets, length: int | None = None) -> torch.Tensor:
        """Encoded targets of one batch as a tensor; token tasks pad to ``length`` T with -100 (masked by the loss)."""

    @abstractmethod
    def loss(
        self, output: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """The training loss under the key ``loss``; output [B,C] or [B,T,C]. weight: [B] of the rows, mean about 1."""

    # --- closed form -------------------------------------------------------------------------------------------

    @abstractmethod
    def linear(self, X: Any, y: Targets, strength: float, start: Any = None) -> tuple[Array, Array]:
        """A regularised linear head. X [n,D] dense or sparse (items: rows, or tokens for token tasks), y matching.

        strength: inverse regularisation (large = weak). start: a (W, b) to start from, for paths and curves.
        Returns W [C,D] and b [C] such that X W' + b are the outputs.
        """

    def indicators(self, y: Targets) -> Array | None:
        """Encoded targets as numbers [n,C] that sum to 0 in every row, for a head by least squares beside `linear`;
        None: there is none.
        """
        return None

    # --- scoring and decoding ----------------------------------------------------------------------------------

    @abstractmethod
    def statistics(self, output: Outputs, target: Targets) -> Array:
        """Per-row statistics [N,S] whose sums determine the metric."""

    @abstractmethod
    def combine(self, sums: Array) -> Array:
        """Summed statistics [...,S] to the headline metric [...]."""

    def score(self, output: Outputs, target: Targets) -> float:
        """The headline metric of these rows."""
        return float(self.combine(self.statistics(output, target).sum(axis=0)))

    @abstractmethod
    def metrics(self, output: Outputs, target: Targets) -> dict[str, float]:
        """All metrics for the report, the headline first under its name."""

    @abstractmethod
    def decode(self, output: Outputs) -> Prediction:
        """Outputs to predictions in the user's own labels."""

    def predictions(self, output: Outputs, rows: Dataset) -> Prediction:
        """The same where it takes the rows to say it in the user's own words or units."""
        return self.decode(output)

    def drawn(self, output: Outputs, target: Targets, rows: Dataset) -> list[Json] | None:
        """Some rows for the report to draw, where that tells more than numbers (`Record.forecasts`)."""
        return None


def weighted(losses: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    """The mean of losses [B] or [B,C], each row times its weight [B]."""
    if weight is None:
        return losses.mean()
    return (losses * weight.reshape(-1, *[1] * (losses.ndim - 1)).to(losses.dtype)).mean()


# --- which task a dataset asks for ---------------------------------------------------------------------------------

ORDER = ("token_labels", "recommendation", "multilabel", "classification", "regression")
"""Own tasks from the most to the least specific; plugins are asked after them."""

SEVERAL = "several"
"""The task of several target columns."""


def infer_task(dataset: Dataset, name: str | None = None) -> Task:
    """The task of the target column, learned on these rows; ``name`` overrides what the column suggests.

    Several target columns make the task ``several``, whose parts are what each column suggests.

    Raises TaskError HS-TASK-001 for an unknown name and HS-TASK-002 where the task does not fit the column, DataError
    HS-DATA-003 without a target column, HS-DATA-012 for fewer than 2 rows, and what `Task.learn` raises.
    """
    values = dataset.targets()
    column = dataset.target
    assert column is not None
    if len(dataset.with_role("target")) > 1:
        if name not in (None, SEVERAL):
            raise TaskError(
                "HS-TASK-002", f"{where(dataset)}: --task {name} names one task for several targets.",
                "Leave --task out; say what a column holds with --kind, such as --kind rating=number.",
            )  # fmt: skip
        return catalog.find("tasks", SEVERAL).learn(dataset)  # type: ignore[no-any-return]
    if name is not None:
        task: type[Task] = catalog.find("tasks", name)
        if not task.matches(column, values) and not _learnable(task, column, values):
            others = [other for other in _ordered() if catalog.find("tasks", other).matches(column, values)]
            fitting = " or ".join(others) if others else "none of the tasks"
            raise TaskError(
                "HS-TASK-002",
                f"{where(dataset)}: the task {name} does not fit the column, which holds {column.kind}; "
                f"expected {fitting}.",
                f"Leave --task out, or choose {fitting}." if others else "Name another column with --target.",
            )
        return task.learn(dataset)
    raise_all(too_few(dataset, values))
    for other in _ordered():
        task = catalog.find("tasks", other)
        if task.matches(column, values):
            return task.learn(dataset)
    raise TaskError(
        "HS-TASK-002",
        f"{where(dataset)}: no task fits a column of {column.kind}.",
        "Name another column with --target, or say which task it is with --task.",
    )


def check_options(name: str | None, **given: Any) -> None:
    """Raise TaskError HS-TASK-001 for an unknown task, HS-TASK-002 where it wants an option of `read` that is None."""
    for option in catalog.find("tasks", name).wants if name is not None else ():
        if given[option] is None:
            raise TaskError("HS-TASK-002", f"the task {name} needs --{option}.", f"Add --{option} and a number.")


def check_independent(task: Task | str | None, why: str, instead: str) -> None:
    """Raise TaskError HS-TASK-002 for a task, or the name of one, whose rows overlap. why: what then makes no sense."""
    found = catalog.find("tasks", task) if isinstance(task, str) else task
    if found is not None and not found.independent:
        raise TaskError("HS-TASK-002", f"{found.name}: {why}.", instead)


def _ordered() -> list[str]:
    known = catalog.names("tasks")
    return [name for name in ORDER if name in known] + [name for name in known if name not in ORDER]


def _learnable(task: type[Task], column: Column, values: Sequence[Any]) -> bool:
    """A named task may also read numbers as classes, and whole-number categories as numbers."""
    numbers = all(not isinstance(value, str) for value in values)
    return (task.name == "classification" and column.kind == "number") or (
        task.name == "regression" and column.kind == "category" and numbers
    )


def where(dataset: Dataset, row: int | None = None) -> str:
    """The place a message speaks of: file, column and row as a person counts it."""
    column = dataset.target.name if dataset.target is not None else ""
    place = f'{dataset.origin or "the data"}, column "{column}"'
    return place if row is None else f"{place}, row {dataset.numbers[row]}"


def too_few(dataset: Dataset, values: Sequence[Any]) -> list[HeadstartError]:
    """The problem HS-DATA-012 where there are fewer than 2 rows, else nothing."""
    if len(values) >= 2:
        return []
    return [
        DataError(
            "HS-DATA-012",
            f"{where(dataset)}: {len(values)} labelled row{'s' if len(values) != 1 else ''}; expected 2 or more.",
            "Add labelled rows.",
        )
    ]


def missing(value: Any) -> bool:
    """Whether a target cell is empty: None or NaN."""
    return value is None or (isinstance(value, float) and value != value)


def plain(value: Any) -> Any:
    """A NumPy scalar as the Python value it stands for; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value
