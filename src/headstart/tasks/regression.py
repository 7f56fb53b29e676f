"""One number a row: squared error on the standardised target, R².

Outputs and encoded targets are standardised, [N,1]: (value - mean) / scale of the training rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from headstart.datasets.base import Column, Dataset
from headstart.errors import DataError, TaskError, raise_all
from headstart.nn.solvers import ridge
from headstart.tasks.base import Array, Targets, Task, plain, too_few, weighted, where
from headstart.types import Json, Outputs, Prediction


class Regression(Task):
    """One number a row. mean, scale: of the training targets (scale is their standard deviation)."""

    name: ClassVar[str] = "regression"
    metric: ClassVar[str] = "r2"

    def __init__(self, mean: float, scale: float) -> None:
        self.mean, self.scale = float(mean), float(scale)

    @classmethod
    def matches(cls, column: Column, values: Sequence[Any]) -> bool:
        """A column of numbers."""
        return column.kind == "number" and not any(isinstance(value, str) for value in values)

    @classmethod
    def learn(cls, dataset: Dataset) -> Regression:
        """Mean and scale of the target column.

        Raises DataError HS-DATA-009 (not a number), 008 (missing, NaN, infinite), 006 (all equal), 012 (under 2 rows).
        """
        values = [plain(value) for value in dataset.targets()]
        problems = too_few(dataset, values)
        words = [row for row, value in enumerate(values) if isinstance(value, str)]
        if words:
            problems.append(
                DataError(
                    "HS-DATA-009",
                    f"{where(dataset, words[0])}: {values[words[0]]!r} is not a number ({len(words)} such rows).",
                    "Write numbers, or choose --task classification.",
                )
            )
        gaps = [row for row, value in enumerate(values) if not isinstance(value, str) and not _finite(value)]
        if gaps:
            problems.append(
                DataError(
                    "HS-DATA-008",
                    f"{where(dataset, gaps[0])}: the target is {values[gaps[0]]!r} ({len(gaps)} such rows); "
                    "expected a finite number.",
                    "Fill the cells, or leave the rows out.",
                )
            )
        raise_all(problems)
        numbers = np.asarray(values, dtype=np.float64)
        if np.ptp(numbers) <= 0:
            raise DataError(
                "HS-DATA-006",
                f"{where(dataset)}: all {len(numbers)} rows have the value {values[0]!r}; expected different ones.",
                "Name another column with --target.",
            )
        largest = np.abs(numbers).max()  # scaled before squaring, so that 1e300 does not overflow
        return cls(float((numbers / largest).mean() * largest), float((numbers / largest).std() * largest))

    def relearned(self, dataset: Dataset) -> Regression:
        """Mean and scale of these rows."""
        return Regression.learn(dataset)

    def to_json(self) -> Json:
        """The name, mean and scale."""
        return {"name": self.name, "mean": self.mean, "scale": self.scale}

    @classmethod
    def from_json(cls, data: Json) -> Regression:
        """The task that `to_json` wrote."""
        return cls(data["mean"], data["scale"])

    @property
    def width(self) -> int:
        """One output."""
        return 1

    def describe(self) -> str:
        """Such as ``regression (mean 4.2, standard deviation 1.1)``."""
        return f"regression (mean {self.mean:.4g}, standard deviation {self.scale:.4g})"

    def encode(self, values: Sequence[Any]) -> Array:
        """Numbers to standardised values, float64 [N,1]. Raises TaskError HS-TASK-002 unless each is finite."""
        for row, value in enumerate(values):
            if not _finite(value):
                raise TaskError(
                    "HS-TASK-002", f"row {row + 1}: the target is {value!r}; expected a finite number.", "Leave it out."
                )
        numbers = np.asarray([float(value) for value in values], dtype=np.float64)
        return ((numbers - self.mean) / self.scale)[:, None]

    def strata(self, values: Sequence[Any]) -> Array | None:
        """Tenths of the sorted values (fewer for small N), so that every part spans the range."""
        numbers = np.asarray([float(value) if _finite(value) else self.mean for value in values], dtype=np.float64)
        parts = max(1, min(10, len(numbers) // 10))
        order = numbers.argsort(kind="stable").argsort(kind="stable")
        return np.asarray(order * parts // max(len(numbers), 1), dtype=np.int64)

    def collate(self, targets: Targets, length: int | None = None) -> torch.Tensor:
        """Standardised targets [B,1]."""
        return torch.as_tensor(np.asarray(targets), dtype=torch.float32).reshape(-1, 1)

    def loss(
        self, output: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Mean squared error of [B,1] and [B,1]."""
        return {"loss": weighted(nn.functional.mse_loss(output.float(), target, reduction="none"), weight)}

    def linear(self, X: Any, y: Targets, strength: float, start: Any = None) -> tuple[Array, Array]:
        """Ridge regression in closed form; ``start`` is not needed."""
        return ridge(X, y, strength)

    def statistics(self, output: Outputs, target: Targets) -> Array:
        """[N,4]: 1, y, y², squared error; all standardised, hence centred on the training mean and stable.

        An output that is not finite counts as an error of 1e6 standard deviations.
        """
        y = np.asarray(target, dtype=np.float64).ravel()
        error = np.nan_to_num(np.asarray(output, dtype=np.float64).ravel() - y, nan=1e6, posinf=1e6, neginf=-1e6)
        return np.column_stack([np.ones_like(y), y, y**2, error**2])

    def combine(self, sums: Array) -> Array:
        """R² = 1 - sum err² / (sum y² - (sum y)²/n); 0 where the targets do not vary (1 if also met exactly)."""
        sums = np.asarray(sums)
        n = np.maximum(sums[..., 0], 1)
        spread = sums[..., 2] - sums[..., 1] ** 2 / n
        varies = spread > 1e-12 * np.maximum(sums[..., 2], 1e-300)
        constant = np.where(sums[..., 3] <= 1e-12 * n, 1.0, 0.0)
        return np.asarray(np.where(varies, 1 - sums[..., 3] / np.where(varies, spread, 1.0), constant))

    def metrics(self, output: Outputs, target: Targets) -> dict[str, float]:
        """r2, and mae and rmse in the user's units."""
        error = np.sqrt(self.statistics(output, target)[:, 3]) * self.scale
        return {
            "r2": self.score(output, target),
            "mae": float(error.mean()),
            "rmse": float(np.sqrt((error**2).mean())),
        }

    def decode(self, output: Outputs) -> Prediction:
        """Values in the user's units; no probabilities."""
        values = np.asarray(output, dtype=np.float64).ravel() * self.scale + self.mean
        return Prediction([float(value) for value in values])


def _finite(value: Any) -> bool:
    try:
        return value is not None and not isinstance(value, str) and math.isfinite(float(value))
    except (TypeError, ValueError):
        return False
