"""Which steps of a series are unlike the rest of it: a score for every step, and a flag where it is over 1.

Outputs are a list of N arrays [T_i,1]: scores in units of the detector's own threshold. Nothing is learned from labels;
where there are some (0 and 1 for every step) they tell how good the scores are. The headline is the mean over series of
VUS-PR (`headstart.nn.range_metrics`), with buffers up to the median length of the anomalies of the series; average
precision of single steps stands beside it. Both need no threshold, and no metric here counts a step as found because
another one of its anomaly was. At the threshold: precision of steps, the share of anomalies with a flagged step, and
their harmonic mean, the composite F-score of Garg et al. 2021 (arXiv:2109.11428). Series without an anomaly count in
what holds at the threshold alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from headstart.datasets import points
from headstart.datasets.base import Column, Dataset
from headstart.errors import TaskError
from headstart.nn.range_metrics import events, vus_pr
from headstart.nn.solvers import one_vs_rest
from headstart.tasks.base import Array, Targets, Task, where
from headstart.types import Json, Outputs, Prediction

MOST_BUFFER = 100
"""Steps of a buffer at most."""

IGNORED = -1.0


class Anomalies(Task):
    """A score for every step of a series; over 1 it is flagged."""

    name: ClassVar[str] = "anomalies"
    metric: ClassVar[str] = "vus_pr"
    needs: ClassVar[Any] = "tokens"
    unsupervised: ClassVar[bool] = True

    @classmethod
    def matches(cls, column: Column, values: Sequence[Any]) -> bool:
        """A column with 0 or 1 for every step of a series."""
        return column.kind == "series"

    @classmethod
    def learn(cls, dataset: Dataset) -> Anomalies:
        """Nothing. Raises TaskError HS-TASK-002 where labels and series differ in length."""
        column, first = dataset.target, dataset.inputs[0]
        if column is not None and first.kind == "series":
            for row, (marks, values) in enumerate(zip(dataset.targets(), dataset.values(first.name))):
                if len(marks) != len(values):
                    raise TaskError(
                        "HS-TASK-002",
                        f"{where(dataset, row)}: {len(marks)} labels for a series of {len(values)} steps.",
                        "Give one for every step.",
                    )
        return cls()

    def to_json(self) -> Json:
        """The name."""
        return {"name": self.name}

    @classmethod
    def from_json(cls, data: Json) -> Anomalies:
        """The task that `to_json` wrote."""
        return cls()

    @property
    def reading(self) -> Json:
        """Steps keep their stamps."""
        return {"stepwise": True}

    @property
    def width(self) -> int:
        """One score."""
        return 1

    def describe(self) -> str:
        """``anomalies (a score for every step)``."""
        return "anomalies (a score for every step)"

    def encode(self, values: Sequence[Any]) -> list[Array]:
        """Labels of the steps of each series to int64 [T_i] of 0 and 1."""
        return [(np.asarray(row, np.float64) >= 0.5).astype(np.int64) for row in values]

    # --- networks --------------------------------------------------------------------------------------------------

    def collate(self, targets: Targets, length: int | None = None) -> torch.Tensor:
        """0/1 floats [B,T], -1 beyond the end of a series."""
        longest = max(length or 0, *(len(row) for row in targets))
        made = np.full((len(targets), longest), IGNORED, np.float32)
        for place, row in enumerate(targets):
            made[place, : len(row)] = row
        return torch.from_numpy(made)

    def loss(
        self, output: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Binary cross-entropy of scores [B,T,1] less 1, as logits, and labels [B,T]; weight: [B]."""
        there = target >= 0
        losses = nn.functional.binary_cross_entropy_with_logits(
            output[..., 0].float() - 1, target.clamp(min=0), reduction="none"
        )
        weighed = there.float() if weight is None else there * weight[:, None].float()
        return {"loss": (losses * weighed).sum() / there.sum().clamp(min=1)}

    def linear(self, X: Any, y: Targets, strength: float, start: Any = None) -> tuple[Array, Array]:
        """Logistic regression of the labels of steps; the score is 1 where its logit is 0."""
        weight, bias = one_vs_rest(X, np.asarray(y)[:, None], strength, start)
        return weight, bias + 1

    # --- scoring ---------------------------------------------------------------------------------------------------

    def statistics(self, output: Outputs, target: Targets) -> Array:
        """[N,7]: whether there is an anomaly, VUS-PR, average precision; flagged steps, those of them that are
        anomalous; anomalies, those of them with a flagged step.
        """
        return np.array([_row(np.ravel(scores), labels) for scores, labels in zip(output, target)]).reshape(-1, 7)

    def combine(self, sums: Array) -> Array:
        """The mean of VUS-PR over the series that have an anomaly; 0 where none has."""
        sums = np.asarray(sums)
        return np.asarray(sums[..., 1] / np.maximum(sums[..., 0], 1))

    def metrics(self, output: Outputs, target: Targets) -> dict[str, float]:
        """vus_pr, average_precision (means over series); precision, event_recall, composite_f1 at the threshold."""
        sums = self.statistics(output, target).sum(axis=0)
        precision = float(sums[4] / sums[3]) if sums[3] else 1.0
        recall = float(sums[6] / sums[5]) if sums[5] else 1.0
        return {
            "vus_pr": float(self.combine(sums)),
            "average_precision": float(sums[2] / max(sums[0], 1)),
            "precision": precision,
            "event_recall": recall,
            "composite_f1": 2 * precision * recall / max(precision + recall, 1e-12),
        }

    def decode(self, output: Outputs) -> Prediction:
        """For each series the flags of its steps, 0 or 1."""
        return Prediction([(np.ravel(scores) > 1).astype(int).tolist() for scores in output])

    def predictions(self, output: Outputs, rows: Dataset) -> Prediction:
        """The flags, and a line for each step: series, step, score, flag."""
        flags = self.decode(output).values
        lines: dict[str, list[Any]] = {}
        if (found := points.named(rows)) is not None:
            lines[found[0]] = [owner for owner, own in zip(found[1], flags, strict=True) for _ in own]
        if (steps := points.stamped(rows)) is not None:
            lines[steps[0]] = [stamp for own in steps[1] for stamp in own]
        lines["score"] = [float(f"{score:.6g}") for own in output for score in np.ravel(own).tolist()]
        lines["flag"] = [flag for own in flags for flag in own]
        return Prediction(flags, lines=lines)


def _row(scores: Array, labels: Array) -> list[float]:
    from sklearn.metrics import average_precision_score

    known, found = events(labels), scores > 1
    at_threshold = [found.sum(), (found & (labels > 0)).sum(), len(known), sum(found[a:b].any() for a, b in known)]
    if not known or len(scores) < 2:
        return [0.0, 0.0, 0.0, *map(float, at_threshold)]
    buffer = min(MOST_BUFFER, int(np.median([after - first for first, after in known])))
    precision = float(average_precision_score(labels, scores))
    return [1.0, vus_pr(labels, scores, buffer), precision, *map(float, at_threshold)]
