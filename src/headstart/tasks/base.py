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

from headstart.datasets.base import Column, Dataset
from headstart.types import Json, Outputs, Prediction

Targets: TypeAlias = Any
"""Encoded targets of N rows: int [N], float [N,C], float [N,1], or a list of N int arrays [T_i]."""

Array: TypeAlias = np.ndarray


class Task(ABC):
    """What is predicted. Subclasses are final; instances know their classes or scale and are JSON-able.

    name: the file's name. metric: name of the headline metric (higher is better). needs: which features the head
    reads.
    """

    name: ClassVar[str]
    metric: ClassVar[str]
    needs: ClassVar[Literal["pooled", "tokens"]] = "pooled"

    # --- learning what the target is --------------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def matches(cls, column: Column, values: Sequence[Any]) -> bool:
        """Whether this task fits a target column (kind and values of the labelled rows)."""

    @classmethod
    @abstractmethod
    def learn(cls, dataset: Dataset) -> Task:
        """Classes or scale from the target values. Raises DataError (one class, NaN, mixed types, ...)."""

    @abstractmethod
    def to_json(self) -> Json:
        """What `from_json` needs; has the key ``name``."""

    @classmethod
    @abstractmethod
    def from_json(cls, data: Json) -> Task:
        """The task that `to_json` wrote."""

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

    @abstractmethod
    def collate(self, targets: Targets, length: int | None = None) -> torch.Tensor:
        """Encoded targets of one batch as a tensor; token tasks pad to ``length`` T with -100 (masked by the loss)."""

    @abstractmethod
    def loss(self, output: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """The training loss under the key ``loss``; output [B,C] or [B,T,C]."""

    # --- closed form -------------------------------------------------------------------------------------------

    @abstractmethod
    def linear(self, X: Any, y: Targets, strength: float, start: Any = None) -> tuple[Array, Array]:
        """A regularised linear head. X [n,D] dense or sparse (items: rows, or tokens for token tasks), y matching.

        strength: inverse regularisation (large = weak). start: a (W, b) to start from, for paths and curves.
        Returns W [C,D] and b [C] such that X W' + b are the outputs.
        """

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
