"""Forecasting: the quantiles of the next H values of a series, by pinball loss; minus the log of MASE.

Outputs are H x Q quantiles a row, step by step, in units of the row's own history: 0 is its smallest, 1 its largest
value. Encoded targets are [N,H+3]: the H values in those units (NaN where there is none), the size of the range over
the scale, low end and size of the range. The scale is the mean absolute change over a season (Hyndman & Koehler
2006), so

    MASE = mean over h of |y_h - median_h| / scale

of one window. The headline is minus the mean of log MASE over the windows: a point is a percent of MASE, a series
that is hard counts as much as one that is easy, and sums over rows determine it. Weighted quantile loss is

    wQL = 2 sum over q, windows, h of pinball_q(y_h, forecast_qh) / (Q sum over windows, h of |y_h|)

in the user's units, coverage the share of values between the 10 % and the 90 % quantile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from headstart.datasets import windows
from headstart.datasets.base import Column, Dataset
from headstart.errors import raise_all
from headstart.nn.forecaster import QUANTILES, pinball
from headstart.nn.solvers import Rotated, ridge, rotate
from headstart.tasks.base import Array, Targets, Task, too_few, weighted
from headstart.types import Json, Outputs, Prediction

MEDIAN = QUANTILES.index(0.5)
LEAST_MASE = 0.01
"""What a smaller error of a window counts as: a flat stretch that is met exactly must not outweigh all others."""

HEAVIEST = 30.0
"""Range over scale, at most, in the loss: a series that hardly changes within a season must not outweigh all others."""


DRAWN, SHOWN = 6, 30
"""Forecasts that the report draws at most, and steps of the history in front of them at least."""


class Forecasting(Task):
    """Quantiles of the next ``horizon`` values of a series."""

    name: ClassVar[str] = "forecasting"
    metric: ClassVar[str] = "neg_log_mase"
    independent: ClassVar[bool] = False
    control: ClassVar[str] = "statistical"
    search: ClassVar[str] = "gate"
    source: ClassVar[str | None] = "fracast"
    wants: ClassVar[tuple[str, ...]] = ("horizon",)

    def __init__(self, horizon: int) -> None:
        self.horizon = int(horizon)

    @classmethod
    def matches(cls, column: Column, values: Sequence[Any]) -> bool:
        """What follows windows of series."""
        return column.kind == "future"

    @classmethod
    def learn(cls, dataset: Dataset) -> Forecasting:
        """The horizon. Raises DataError HS-DATA-012 for fewer than 2 windows."""
        values = dataset.targets()
        raise_all(too_few(dataset, values))
        return cls(len(values[0]) - windows.FACTS)

    def to_json(self) -> Json:
        """The name and the horizon."""
        return {"name": self.name, "horizon": self.horizon}

    @classmethod
    def from_json(cls, data: Json) -> Forecasting:
        """The task that `to_json` wrote."""
        return cls(data["horizon"])

    @property
    def reading(self) -> Json:
        """The horizon."""
        return {"horizon": self.horizon}

    @property
    def width(self) -> int:
        """H x Q quantiles."""
        return self.horizon * len(QUANTILES)

    def describe(self) -> str:
        """Such as ``forecasting (12 steps, 9 quantiles)``."""
        return f"forecasting ({self.horizon} steps, {len(QUANTILES)} quantiles)"

    def encode(self, values: Sequence[Any]) -> Array:
        """Cells of a column of the kind ``future`` (H values, low, size, scale) to [N,H+3]."""
        cells = np.array([[np.nan if cell is None else cell for cell in row] for row in values], np.float64)
        cells = cells.reshape(len(values), self.horizon + windows.FACTS)
        low, size, scale = (cells[:, self.horizon + place, None] for place in range(windows.FACTS))
        return np.concatenate([(cells[:, : self.horizon] - low) / size, size / scale, low, size], axis=1)

    def head(self, features: int) -> nn.Module:
        """From forecasts to forecasts it changes nothing at first; from other features a fresh linear layer."""
        head = nn.Linear(features, self.width)
        if features == self.width:
            nn.init.eye_(head.weight)
            nn.init.zeros_(head.bias)
        return head

    def start(self, features: int) -> nn.Module | None:
        """The head that leaves a source's own forecasts as they are."""
        return self.head(features) if features == self.width else None

    def collate(self, targets: Targets, length: int | None = None) -> torch.Tensor:
        """[B,H+3], float32."""
        return torch.as_tensor(np.asarray(targets), dtype=torch.float32)

    def loss(
        self, output: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Twice the mean pinball loss, in scales."""
        truth, heavy = target[:, : self.horizon, None], target[:, self.horizon].clamp(max=HEAVIEST)
        found = pinball(output.reshape(len(output), self.horizon, len(QUANTILES)), truth)
        there = torch.isfinite(truth).squeeze(2).float()
        rows = (found.mean(dim=2) * there).sum(dim=1) / there.sum(dim=1).clamp(min=1)
        return {"loss": weighted(rows * heavy, weight)}

    def linear(self, X: Any, y: Targets, strength: float, start: Any = None) -> tuple[Array, Array]:
        """Ridge regression of every step; the quantiles are those of its residuals. A missing value counts as the
        mean of its step.
        """
        basis = X if isinstance(X, Rotated) else rotate(X)
        truth = np.asarray(y, np.float64)[:, : self.horizon]
        known = np.isfinite(truth)
        mean = np.where(known, truth, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        truth = np.where(known, truth, mean)
        weight, bias = ridge(basis, truth, strength)
        inner = basis.onto((weight, bias))
        assert inner is not None
        left = truth - (np.asarray(basis.Z, np.float64) @ inner[0].T + inner[1])
        return np.repeat(weight, len(QUANTILES), axis=0), (
            bias[:, None] + np.quantile(left, QUANTILES, axis=0).T
        ).ravel()

    def quantiles(self, output: Outputs) -> Array:
        """Outputs as quantiles [N,H,Q] that do not cross."""
        return np.sort(np.asarray(output, np.float64).reshape(-1, self.horizon, len(QUANTILES)), axis=2)

    def statistics(self, output: Outputs, target: Targets) -> Array:
        """For each window: 1, log MASE, MASE, the terms of wQL and of coverage; all 0 where no value is known."""
        target = np.asarray(target, np.float64)
        found, truth = (
            np.nan_to_num(self.quantiles(output), nan=1e3, posinf=1e3, neginf=-1e3),
            target[:, : self.horizon],
        )
        heavy, low, size = (target[:, self.horizon + place, None] for place in range(windows.FACTS))
        there = np.isfinite(truth)
        known = np.where(there, truth, 0.0)
        count = np.maximum(there.sum(axis=1), 1)
        mase = (np.abs(found[:, :, MEDIAN] - known) * there).sum(axis=1) / count * heavy[:, 0]
        error = known[:, :, None] - found
        levels = np.array(QUANTILES)
        lost = np.maximum(levels * error, (levels - 1) * error).mean(axis=2) * there * size
        inside = (found[:, :, 0] <= known) & (known <= found[:, :, -1]) & there
        rows = np.column_stack([
            np.ones(len(truth)), np.log(np.maximum(mase, LEAST_MASE)), mase, 2 * lost.sum(axis=1),
            (np.abs(low + size * known) * there).sum(axis=1), inside.sum(axis=1), there.sum(axis=1),
        ])  # fmt: skip
        return np.asarray(rows * there.any(axis=1, keepdims=True))

    def combine(self, sums: Array) -> Array:
        """Minus the mean of log MASE."""
        sums = np.asarray(sums)
        return np.asarray(-sums[..., 1] / np.maximum(sums[..., 0], 1e-12))

    def metrics(self, output: Outputs, target: Targets) -> dict[str, float]:
        """neg_log_mase; mase (geometric mean over windows), mean_mase, wql, and the coverage of the middle 80 %."""
        sums = self.statistics(output, target).sum(axis=0)
        score = float(self.combine(sums))
        return {
            "neg_log_mase": score,
            "mase": float(np.exp(-score)),
            "mean_mase": float(sums[2] / max(sums[0], 1)),
            "wql": float(sums[3] / max(sums[4], 1e-12)),
            "coverage_of_80": float(sums[5] / max(sums[6], 1)),
        }

    def decode(self, output: Outputs) -> Prediction:
        """The medians of each row, in units of its range; `predictions` gives them in the user's."""
        return Prediction([row.tolist() for row in self.quantiles(output)[:, :, MEDIAN]])

    def predictions(self, output: Outputs, rows: Dataset) -> Prediction:
        """Medians in the user's units, and a line for each step with all quantiles."""
        found = self.in_units(output, rows)
        name, steps = windows.stamps_ahead(rows)
        owners = rows.with_role("series")
        lines: dict[str, list[Any]] = {}
        if owners:
            lines[owners[0].name] = np.repeat(np.array(windows.names(rows), object), self.horizon).tolist()
        lines[name] = [stamp for each in steps for stamp in each]
        lines["prediction"] = found[:, :, MEDIAN].ravel().tolist()
        for place, level in enumerate(QUANTILES):
            lines[f"quantile_{level}"] = found[:, :, place].ravel().tolist()
        return Prediction([row.tolist() for row in found[:, :, MEDIAN]], lines=lines)

    def drawn(self, output: Outputs, target: Targets, rows: Dataset) -> list[Json]:
        """The last window of up to `DRAWN` series, evenly taken from the best served to the worst."""
        statistics, target = self.statistics(output, target), np.asarray(target, np.float64)
        names = [str(name) for name in windows.names(rows)]
        last = np.array([row for row, name in enumerate(names) if statistics[row, 0] and name not in names[row + 1 :]])
        if not len(last):
            return []
        order = last[np.argsort(statistics[last, 1], kind="stable")]
        found = self.in_units(output, rows)
        low, size = target[:, -2, None], target[:, -1, None]
        truth = low + size * target[:, : self.horizon]
        steps = windows.stamps_ahead(rows)[1]
        shown = []
        for row in order[np.unique(np.linspace(0, len(order) - 1, min(DRAWN, len(order))).astype(int))].tolist():
            history = rows.samples([row])[0][0][-max(4 * self.horizon, SHOWN) :]
            shown.append({
                "series": names[row], "first": steps[row][0], "mase": float(statistics[row, 2]),
                "history": [float(value) for value in history],
                "truth": [None if value != value else float(value) for value in truth[row]],
                "median": found[row, :, MEDIAN].tolist(), "low": found[row, :, 0].tolist(),
                "high": found[row, :, -1].tolist(),
            })  # fmt: skip
        return shown

    def in_units(self, output: Outputs, rows: Dataset) -> Array:
        """Quantiles [N,H,Q] in the user's units."""
        low, size = _ranges(rows)
        return np.asarray(self.quantiles(output) * size + low)

    def in_ranges(self, values: Array, rows: Dataset) -> Outputs:
        """The outputs [N,H Q] whose quantiles in the units of the series are ``values`` [N,H,Q]."""
        low, size = _ranges(rows)
        return np.asarray((values - low) / size).reshape(len(values), -1)


def _ranges(rows: Dataset) -> tuple[Array, Array]:
    """Low end and size [N,1,1] of the range of each row's history."""
    bounds = np.array([windows.ranged(np.asarray(sample[0], np.float64)) for sample in rows.samples()])
    return bounds[:, 0, None, None], bounds[:, 1, None, None]
