"""Table rows as numbers: codes for boosted trees, one-hot and standardised columns for a linear model."""

from __future__ import annotations

import datetime
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from headstart.datasets.base import Column, Dataset
from headstart.errors import DataError
from headstart.nn.featurizers import Featurizer
from headstart.types import Json

Array: TypeAlias = np.ndarray

MOST_LEVELS = 255


@dataclass(frozen=True)
class Plan:
    """How one input column becomes numbers. levels: known categories by frequency. width: of an array column."""

    name: str
    kind: str
    levels: tuple[str, ...] = ()
    width: int = 1

    @property
    def columns(self) -> int:
        """How many numbers `coded` makes of a value."""
        return self.width if self.kind == "array" else 4 if self.kind == "datetime" else 1

    @property
    def wide(self) -> int:
        """How many columns of `TableFeatures.transform` it becomes."""
        return len(self.levels) if self.kind == "category" else self.columns + 1


class TableFeatures(Featurizer):
    """Plans of the input columns; mean and spread [D] of the one-hot matrix in training."""

    kind = "table"

    def __init__(self, plans: list[Plan], mean: Array, spread: Array) -> None:
        self.plans, self.mean, self.spread = plans, np.asarray(mean), np.asarray(spread)

    @classmethod
    def fit(cls, train: Dataset) -> TableFeatures:
        """Categories, means and spreads of the training rows."""
        features = cls([_plan(train, column) for column in train.inputs], np.zeros(0), np.zeros(0))
        wide = features._wide(features._blocks(train))
        with np.errstate(invalid="ignore"):
            known = np.isfinite(wide)
            count = np.maximum(known.sum(axis=0), 1)
            mean = np.where(known, wide, 0).sum(axis=0) / count
            spread = np.sqrt((np.where(known, wide - mean, 0) ** 2).sum(axis=0) / count)
        features.mean, features.spread = mean, np.where(spread > 1e-9 * np.maximum(np.abs(mean), 1e-6), spread, 1.0)
        return features

    def codes(self, dataset: Dataset) -> Array:
        """For trees, float64 [N,D]: numbers as they are, categories as codes; NaN for missing and unseen."""
        return np.hstack(self._blocks(dataset))

    @property
    def categorical(self) -> list[int]:
        """The columns of `codes` that hold categories."""
        starts = np.cumsum([0, *(plan.columns for plan in self.plans)])
        return [int(start) for start, plan in zip(starts, self.plans) if plan.kind == "category"]

    def transform(self, dataset: Dataset) -> Any:
        """For linear models, float32 [N,D]: standardised, clipped to 8 deviations; missing numbers become the mean."""
        return self.standard(self._blocks(dataset))

    def standard(self, blocks: Sequence[Array]) -> Array:
        """What `transform` gives for columns that are coded already: of each plan [N,width]."""
        standard = (self._wide(blocks) - self.mean) / self.spread
        return np.asarray(np.clip(np.nan_to_num(standard, nan=0.0, posinf=8.0, neginf=-8.0), -8, 8), np.float32)

    def _blocks(self, dataset: Dataset) -> list[Array]:
        origin = dataset.origin or "the data"
        return [coded(plan, dataset.values(plan.name), origin, dataset.numbers) for plan in self.plans]

    def _wide(self, blocks: Sequence[Array]) -> Array:
        """One-hot categories, numbers, and an indicator of missing numbers. [N,D]."""
        wide = []
        for plan, block in zip(self.plans, blocks):
            if plan.kind == "category":
                wide.append((block == np.arange(len(plan.levels))).astype(np.float64))
            else:
                wide += [block, np.isnan(block).any(axis=1, keepdims=True).astype(np.float64)]
        return np.hstack(wide)

    @property
    def width(self) -> int:
        """D, the columns that `transform` gives."""
        return sum(plan.wide for plan in self.plans)

    def parts(self) -> dict[str, slice]:
        """Which columns of `transform` each input column became."""
        ends = np.cumsum([plan.wide for plan in self.plans])
        return {plan.name: slice(int(end) - plan.wide, int(end)) for plan, end in zip(self.plans, ends)}

    def state(self, prefix: str = "") -> tuple[Json, dict[str, Array]]:
        """The plans as JSON, mean and spread as arrays, whose names begin with ``prefix``."""
        arrays = {f"{prefix}mean": self.mean, f"{prefix}spread": self.spread}
        return {"plans": [vars(plan) for plan in self.plans]}, arrays

    @classmethod
    def restore(cls, data: Json, arrays: Mapping[str, Array], prefix: str = "") -> TableFeatures:
        """The featurizer that gave this `state`; further arrays are left alone."""
        plans = [Plan(plan["name"], plan["kind"], tuple(plan["levels"]), plan["width"]) for plan in data["plans"]]
        features = cls(plans, arrays[f"{prefix}mean"], arrays[f"{prefix}spread"])
        if features.mean.shape != (features.width,) or features.spread.shape != (features.width,):
            raise ValueError("misshapen mean or spread")
        return features


def _plan(train: Dataset, column: Column) -> Plan:
    if column.kind in ("number", "datetime"):
        return Plan(column.name, column.kind)
    values = train.values(column.name)
    if column.kind == "array":
        return Plan(column.name, "array", width=max((len(value) for value in values if value is not None), default=1))
    counts = Counter(_text(value) for value in values if value is not None)
    return Plan(column.name, "category", tuple(name for name, _ in counts.most_common(MOST_LEVELS)))


def coded(plan: Plan, values: Sequence[Any], origin: str, numbers: Sequence[int]) -> Array:
    """The values of one column as [N,width] float64, NaN where unknown. origin, numbers: for messages.

    Raises DataError HS-DATA-020 for a vector of another length.
    """
    if plan.kind == "category":
        index = {name: code for code, name in enumerate(plan.levels)}
        return np.asarray([index.get(_text(v), math.nan) if v is not None else math.nan for v in values])[:, None]
    if plan.kind == "datetime":
        return np.asarray([_moments(value) for value in values], dtype=np.float64).reshape(len(values), 4)
    if plan.kind == "array":
        block = np.full((len(values), plan.width), math.nan)
        for row, value in enumerate(values):
            if value is not None and len(value) != plan.width:
                raise DataError(
                    "HS-DATA-020",
                    f'{origin}, column "{plan.name}", row {numbers[row]}: the vector has '
                    f"{len(value)} numbers; expected {plan.width}.",
                    "Give vectors of one length.",
                )
            if value is not None:
                block[row] = np.asarray(value, dtype=np.float64)
        return block
    return np.asarray([math.nan if value is None else float(value) for value in values], dtype=np.float64)[:, None]


def _moments(value: Any) -> list[float]:
    """Days since 1970, month, weekday, hour."""
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime.datetime) or value != value:  # missing, or pandas' NaT
        return [math.nan] * 4
    days = value.toordinal() - 719_163 + value.hour / 24
    return [days, float(value.month), float(value.weekday()), float(value.hour)]


def _text(value: Any) -> str:
    return " ".join(sorted(map(str, value))) if isinstance(value, list | tuple) else str(value)
