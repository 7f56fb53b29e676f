"""Any number of labels a row: one logit a label, on above 0; binary cross-entropy; micro F1.

Outputs are logits [N,C]; encoded targets are 0/1 floats [N,C].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from headstart.datasets.base import Column, Dataset
from headstart.errors import DataError, raise_all
from headstart.nn.solvers import one_vs_rest
from headstart.tasks.base import Array, Targets, plain, too_few, weighted, where
from headstart.tasks.labels import Labelled
from headstart.types import Outputs, Prediction


class Multilabel(Labelled):
    """A set of labels a row, which may be empty. classes: sorted labels in output order."""

    name: ClassVar[str] = "multilabel"
    metric: ClassVar[str] = "micro_f1"

    @classmethod
    def matches(cls, column: Column, values: Sequence[Any]) -> bool:
        """A column of lists of labels."""
        return column.kind == "labels"

    @classmethod
    def learn(cls, dataset: Dataset) -> Multilabel:
        """The labels of the target column.

        Raises DataError HS-DATA-009 (numbers and text mixed), 006 (no label distinguishes the rows), 007 (a label with
        one row) and 012 (fewer than 2 rows).
        """
        rows = [_labels(value) for value in dataset.targets()]
        problems = too_few(dataset, rows)
        counts = Counter(label for row in rows for label in row)
        if len({isinstance(label, str) for label in counts}) > 1:
            raise_all(
                [
                    *problems,
                    DataError(
                        "HS-DATA-009",
                        f"{where(dataset)}: the labels mix text and numbers.",
                        "Write every label in one way.",
                    ),
                ]
            )
        if len(rows) > 1 and not any(0 < count < len(rows) for count in counts.values()):
            problems.append(
                DataError(
                    "HS-DATA-006",
                    f"{where(dataset)}: every row has the same labels {sorted(counts)!r}; expected rows that differ.",
                    "Name another column with --target, or add rows with other labels.",
                )
            )
        elif len(rows) > 1:
            for label in [label for label, count in counts.items() if count == 1][:10]:
                row = next(i for i, labels in enumerate(rows) if label in labels)
                problems.append(
                    DataError(
                        "HS-DATA-007",
                        f"{where(dataset, row)}: the label {label!r} has one row; expected two or more.",
                        f"Add rows with {label!r}, or remove the label from the row.",
                    )
                )
        raise_all(problems)
        return cls(sorted(counts))

    def describe(self) -> str:
        """Such as ``multilabel (19 labels)``."""
        return f"multilabel ({self.width} labels)"

    def encode(self, values: Sequence[Any]) -> Array:
        """Lists of labels to 0/1, float32 [N,C]. Raises TaskError HS-TASK-002 for a label not seen in training."""
        result = np.zeros((len(values), self.width), dtype=np.float32)
        for row, value in enumerate(values):
            for label in _labels(value):
                if (at := self.index(label)) is None:
                    raise self.unseen(f"row {row + 1}", label, "label")
                result[row, at] = 1
        return result

    def strata(self, values: Sequence[Any]) -> Array | None:
        """The rarest known label of each row, so that rare labels are spread over the parts."""
        return self.rarest([_labels(value) for value in values])

    def collate(self, targets: Targets, length: int | None = None) -> torch.Tensor:
        """0/1 floats [B,C]."""
        return torch.as_tensor(np.asarray(targets), dtype=torch.float32)

    def loss(
        self, output: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Binary cross-entropy of logits [B,C] and 0/1 [B,C], mean over both."""
        losses = nn.functional.binary_cross_entropy_with_logits(output.float(), target, reduction="none")
        return {"loss": weighted(losses, weight)}

    def linear(self, X: Any, y: Targets, strength: float, start: Any = None) -> tuple[Array, Array]:
        """One-vs-rest logistic regression; labels that never change get a constant."""
        return one_vs_rest(X, y, strength, start)

    def statistics(self, output: Outputs, target: Targets) -> Array:
        """[N,3]: true positives, predicted labels, true labels."""
        found, true = np.asarray(output) > 0, np.asarray(target) > 0.5
        return np.column_stack([(found & true).sum(axis=1), found.sum(axis=1), true.sum(axis=1)]).astype(np.float64)

    def combine(self, sums: Array) -> Array:
        """Micro F1; 1 where there is neither a true nor a predicted label."""
        sums = np.asarray(sums)
        total = sums[..., 1] + sums[..., 2]
        return np.asarray(np.where(total > 0, 2 * sums[..., 0] / np.maximum(total, 1), 1.0))

    def metrics(self, output: Outputs, target: Targets) -> dict[str, float]:
        """micro_f1, macro_f1 (labels that occur), subset_accuracy, hamming_accuracy."""
        found, true = np.asarray(output) > 0, np.asarray(target) > 0.5
        hit, total = (found & true).sum(axis=0), found.sum(axis=0) + true.sum(axis=0)
        seen = total > 0
        return {
            "micro_f1": self.score(output, target),
            "macro_f1": float((2 * hit[seen] / total[seen]).mean()) if seen.any() else 1.0,
            "subset_accuracy": float((found == true).all(axis=1).mean()),
            "hamming_accuracy": float((found == true).mean()),
        }

    def decode(self, output: Outputs) -> Prediction:
        """The labels above 0 in class order; probabilities [N,C]; confidence is that of the least certain label."""
        from scipy.special import expit

        logits = np.asarray(output, dtype=np.float64)
        chances = np.asarray(expit(logits))
        values = [[self._classes[i] for i in np.flatnonzero(row)] for row in logits > 0]
        return Prediction(values, chances, np.maximum(chances, 1 - chances).min(axis=1), self.classes)


def _labels(value: Any) -> list[Any]:
    return list(dict.fromkeys(plain(label) for label in value)) if value is not None else []
