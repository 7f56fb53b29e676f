"""Adjusted: a forecaster of what is left of a series when the effect of columns known ahead is taken off its history;
the effect is added again at the steps of the forecast.

So a network that reads one series alone, pretrained on series that had no such columns, still profits from a price or a
holiday. The effect is that of ridge autoregression (`headstart.nn.local_forecasts.effect`), linear and of each history
anew; TimesFM's own code treats columns alike ("xreg", Das et al. 2024, arXiv:2310.10688). Nothing is trained here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from headstart.datasets import known, windows
from headstart.datasets.base import Dataset
from headstart.methods.base import Fitted, Method, load_part, save_part
from headstart.nn import local_forecasts
from headstart.tasks.base import Task
from headstart.types import LayerRow, Outputs


class AdjustedFitted(Fitted):
    """A forecaster between the taking off of the effect and its adding. inner: the forecaster."""

    kind: ClassVar[str] = "methods.adjusted"

    def __init__(self, inner: Fitted) -> None:
        self.inner, self.method, self.task, self.history = inner, inner.method, inner.task, inner.history
        self.model = f"{inner.method.name}_known"

    @property
    def description(self) -> str:
        """What the forecaster says of itself, and that the effect is taken off."""
        return f"{self.inner.description}, less the effect of what is known ahead"

    def outputs(self, dataset: Dataset) -> Outputs:
        """[N,H Q], in units of the range of each history."""
        task: Any = self.task
        rest, added = taken_off(dataset, task.horizon)
        found = task.in_units(self.inner.outputs(rest), rest) + added[:, :, None]  # [N,H,Q] in the user's units
        outputs: Outputs = task.in_ranges(found, dataset)
        return outputs

    def trained(self) -> list[LayerRow]:
        """That of the forecaster."""
        return self.inner.trained()

    def save(self, folder: Path) -> None:
        """``inner/`` and ``adjusted.json``."""
        facts = save_part(self.inner, folder / "inner")
        (folder / "adjusted.json").write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, task: Task, method: Method) -> AdjustedFitted:
        """What `save` wrote."""
        facts = json.loads((folder / "adjusted.json").read_text(encoding="utf-8"))
        return cls(load_part(facts, folder / "inner", task))


def taken_off(dataset: Dataset, horizon: int) -> tuple[Dataset, np.ndarray]:
    """The rows with histories that lack the effect of the columns known ahead, and the effect [N,H] behind them."""
    rest, added = [], []
    for sample, season, beside in zip(dataset.samples(), windows.seasons(dataset), known.ahead(dataset), strict=True):
        history = np.asarray(sample[0], np.float64)
        effect = local_forecasts.effect(history, beside, season)
        rest.append(history - effect[:-horizon])
        added.append(effect[-horizon:])
    return windows.with_histories(dataset, rest), np.array(added).reshape(len(dataset), horizon)
