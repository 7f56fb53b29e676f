"""Several target columns at once: a task made of tasks, one for each column.

Outputs [N,C] and encoded targets [N,W] are those of the parts side by side (a class index is one column of W). So the
loss is the sum of the parts' losses, the statistics of a row are those of its parts, and the headline metric is the
mean of the parts' own; what works on one task (heads, engine, bootstrap, artefacts) works on this one unchanged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from headstart import catalog
from headstart.datasets.base import Column, Dataset
from headstart.errors import HeadstartError, Problems, TaskError, raise_all
from headstart.tasks.base import Array, Targets, Task, infer_task
from headstart.types import Json, Outputs, Prediction


class Several(Task):
    """One task for each of K target columns. parts: column -> task, in the order of the columns."""

    name: ClassVar[str] = "several"
    metric: ClassVar[str] = "mean_score"

    def __init__(self, parts: Mapping[str, Task]) -> None:
        self.parts = dict(parts)
        self.outputs_of = _slices([part.width for part in self.parts.values()], self.parts)
        empty = {column: part.encode([]) for column, part in self.parts.items()}
        self._encoded = {column: (np.asarray(value).ndim, np.asarray(value).dtype) for column, value in empty.items()}
        self._collated = {column: part.collate(empty[column]) for column, part in self.parts.items()}
        widths = [1 if value.ndim == 1 else value.shape[1] for value in self._collated.values()]
        self.targets_of = _slices(widths, self.parts)
        counted = [
            part.statistics(np.zeros((0, part.width)), empty[column]).shape[1] for column, part in self.parts.items()
        ]
        self.statistics_of = _slices(counted, self.parts)

    @classmethod
    def matches(cls, column: Column, values: Sequence[Any]) -> bool:
        """Never: one column is no several."""
        return False

    @classmethod
    def learn(cls, dataset: Dataset) -> Several:
        """The task of every target column.

        Raises TaskError HS-TASK-002 for one target column, or tags of words among several; and what the parts raise,
        all of it at once.
        """
        columns = [column.name for column in dataset.with_role("target")]
        if len(columns) < 2:
            raise TaskError(
                "HS-TASK-002", f"{dataset.origin or 'the data'}: one target column is not several.",
                "Name more with --target, or leave --task out.",
            )  # fmt: skip
        parts: dict[str, Task] = {}
        problems: list[HeadstartError] = []
        for column in columns:
            try:
                parts[column] = infer_task(dataset.aim(column))
            except Problems as error:
                problems += error.problems
            except HeadstartError as error:
                problems.append(error)
        for column, part in parts.items():
            if part.needs != "pooled":
                problems.append(
                    TaskError(
                        "HS-TASK-002",
                        f'{dataset.origin or "the data"}, column "{column}": {part.name} labels words, the other '
                        "targets rows; they cannot be learned together.",
                        "Fit it by itself.",
                    )
                )
        raise_all(problems)
        return cls(parts)

    def relearned(self, dataset: Dataset) -> Several:
        """Every part with its scale learned on these rows."""
        return Several({column: part.relearned(dataset.aim(column)) for column, part in self.parts.items()})

    def to_json(self) -> Json:
        """The name and the parts."""
        return {"name": self.name, "parts": [{"column": c, "task": part.to_json()} for c, part in self.parts.items()]}

    @classmethod
    def from_json(cls, data: Json) -> Several:
        """The task that `to_json` wrote."""
        return cls(
            {
                each["column"]: catalog.find("tasks", each["task"]["name"]).from_json(each["task"])
                for each in data["parts"]
            }
        )

    @property
    def width(self) -> int:
        """C, the outputs of all parts."""
        return sum(part.width for part in self.parts.values())

    def describe(self) -> str:
        """Such as ``2 targets: Department classification (6 classes), Rating regression (...)``."""
        return f"{len(self.parts)} targets: " + ", ".join(f"{c} {part.describe()}" for c, part in self.parts.items())

    def encode(self, values: Sequence[Any]) -> Array:
        """Tuples of values to float64 [N,W]. Raises what the parts raise."""
        columns = list(zip(*values)) if len(values) else [()] * len(self.parts)
        encoded = [
            np.asarray(part.encode(list(column)), dtype=np.float64).reshape(len(values), -1)
            for part, column in zip(self.parts.values(), columns, strict=True)
        ]
        if not len(values):
            return np.zeros((0, max(where.stop for where in self.targets_of.values())))
        return np.concatenate(encoded, axis=1)

    def strata(self, values: Sequence[Any]) -> Array | None:
        """The rarest stratum of each row over the parts, so that rare classes of every target are spread."""
        found = []
        for part, column in zip(self.parts.values(), zip(*values)):
            if (codes := part.strata(list(column))) is not None:
                found.append(codes)
        if not found:
            return None
        counts = [Counter(codes.tolist()) for codes in found]
        known: dict[tuple[int, int], int] = {}
        rarest = [
            min(((count[int(code)], at, int(code)) for at, (count, code) in enumerate(zip(counts, row))))[1:]
            for row in zip(*found)
        ]
        return np.asarray([known.setdefault(key, len(known)) for key in rarest], dtype=np.int64)

    # --- parts of arrays ---------------------------------------------------------------------------------------

    def outputs_for(self, column: str, outputs: Outputs) -> Array:
        """The outputs [N,C_k] of one target."""
        return np.asarray(outputs)[:, self.outputs_of[column]]

    def targets_for(self, column: str, targets: Targets) -> Array:
        """The encoded targets of one column, as its own task encodes them."""
        ndim, dtype = self._encoded[column]
        chosen = np.asarray(targets)[:, self.targets_of[column]].astype(dtype)
        return chosen[:, 0] if ndim == 1 else chosen

    def scores(self, outputs: Outputs, targets: Targets) -> dict[str, float]:
        """The headline metric of each target."""
        return {
            column: part.score(self.outputs_for(column, outputs), self.targets_for(column, targets))
            for column, part in self.parts.items()
        }

    def columns(self, targets: Targets) -> Array:
        """Encoded targets as columns that a linear score reads: classes one-hot, the others as they are. [N,K]."""
        found = []
        for column, part in self.parts.items():
            own = self.targets_for(column, targets)
            found.append(np.eye(part.width)[own] if own.ndim == 1 and part.classes else own.reshape(len(own), -1))
        return np.concatenate(found, axis=1).astype(np.float64)

    # --- networks ----------------------------------------------------------------------------------------------

    def collate(self, targets: Targets, length: int | None = None) -> torch.Tensor:
        """Encoded targets of one batch, float32 [B,W]."""
        return torch.as_tensor(np.asarray(targets), dtype=torch.float32)

    def losses(
        self, output: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """The training loss of each target; output [B,C], target [B,W]."""
        found = {}
        for column, part in self.parts.items():
            form = self._collated[column]
            own = target[:, self.targets_of[column]].to(form.dtype)
            own = own[:, 0] if form.ndim == 1 else own
            found[column] = part.loss(output[:, self.outputs_of[column]], own, weight)["loss"]
        return found

    def loss(
        self, output: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """The sum of the parts' losses, and each of them under ``loss of <column>``."""
        losses = self.losses(output, target, weight)
        return {"loss": torch.stack(list(losses.values())).sum()} | {f"loss of {c}": each for c, each in losses.items()}

    # --- closed form -------------------------------------------------------------------------------------------

    def linear(self, X: Any, y: Targets, strength: float, start: Any = None) -> tuple[Array, Array]:
        """The heads of the parts, one above the other; all of one strength."""
        found = []
        for column, part in self.parts.items():
            where = self.outputs_of[column]
            begin = None if start is None else (start[0][where], start[1][where])
            found.append(part.linear(X, self.targets_for(column, y), strength, begin))
        return np.concatenate([weight for weight, _ in found]), np.concatenate([bias for _, bias in found])

    # --- scoring and decoding ----------------------------------------------------------------------------------

    def statistics(self, output: Outputs, target: Targets) -> Array:
        """[N,S]: the statistics of the parts side by side."""
        return np.concatenate(
            [
                part.statistics(self.outputs_for(column, output), self.targets_for(column, target))
                for column, part in self.parts.items()
            ],
            axis=1,
        )

    def combine(self, sums: Array) -> Array:
        """The mean of the parts' headline metrics."""
        parts = [part.combine(np.asarray(sums)[..., self.statistics_of[column]]) for column, part in self.parts.items()]
        return np.asarray(np.mean(parts, axis=0))

    def metrics(self, output: Outputs, target: Targets) -> dict[str, float]:
        """mean_score, then all metrics of each target as ``<column>: <metric>``."""
        found = {self.metric: self.score(output, target)}
        for column, part in self.parts.items():
            own = part.metrics(self.outputs_for(column, output), self.targets_for(column, target))
            found |= {f"{column}: {name}": value for name, value in own.items()}
        return found

    def decode(self, output: Outputs) -> Prediction:
        """The prediction of each target in ``parts``; values are dicts column -> value."""
        parts = {column: part.decode(self.outputs_for(column, output)) for column, part in self.parts.items()}
        rows = zip(*(part.values for part in parts.values()))
        return Prediction([dict(zip(parts, row)) for row in rows], parts=parts)


def _slices(widths: Sequence[int], columns: Mapping[str, Any]) -> dict[str, slice]:
    """Where the columns of each part stand."""
    ends = np.cumsum(widths).tolist()
    return {column: slice(end - width, end) for column, width, end in zip(columns, widths, ends)}
