"""One label a row: softmax over the classes, cross-entropy, accuracy.

Outputs are logits [N,C]; the classes keep the user's own type (str, int or bool) and are sorted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from headstart.datasets.base import Column, Dataset
from headstart.errors import DataError, HeadstartError, raise_all
from headstart.nn.solvers import multinomial
from headstart.tasks.base import Array, Targets, missing, plain, too_few, weighted, where
from headstart.tasks.labels import Labelled, label_key
from headstart.types import Outputs, Prediction

MOST_LISTED = 10


class Classification(Labelled):
    """One label a row. classes: sorted labels in output order."""

    name: ClassVar[str] = "classification"
    metric: ClassVar[str] = "accuracy"

    @classmethod
    def matches(cls, column: Column, values: Sequence[Any]) -> bool:
        """A column of categories or of text; numbers only where the task is named."""
        return column.kind in ("category", "text")

    @classmethod
    def learn(cls, dataset: Dataset) -> Classification:
        """The classes of the target column.

        Raises DataError HS-DATA-008 (a missing label), 009 (numbers and text mixed), 006 (one class), 007 (a class
        with one row) and 012 (fewer than 2 rows); several at once as `Problems`.
        """
        values = [plain(value) for value in dataset.targets()]
        problems = too_few(dataset, values)
        gaps = [row for row, value in enumerate(values) if missing(value)]
        if gaps:
            problems.append(
                DataError(
                    "HS-DATA-008",
                    f"{where(dataset, gaps[0])}: the label is missing ({len(gaps)} such rows).",
                    "Fill the cells, or leave the rows out.",
                )
            )
        values = [value for value in values if not missing(value)]
        if len({isinstance(value, str) for value in values}) > 1:
            problems.append(_mixed(dataset))
            raise_all(problems)
        counts = Counter(label_key(value) for value in values)
        by_key = {label_key(value): value for value in values}
        if len(counts) == 1:
            problems.append(
                DataError(
                    "HS-DATA-006",
                    f"{where(dataset)}: all {len(values)} rows have the label {values[0]!r}; expected two or more.",
                    "Name another column with --target, or add rows of other classes.",
                )
            )
        elif len(values) > 1:
            problems.extend(_lonely(dataset, [by_key[key] for key, count in counts.items() if count == 1]))
        raise_all(problems)
        return cls(sorted(by_key.values()))

    def describe(self) -> str:
        """Such as ``classification (6 classes)``."""
        return f"classification ({self.width} classes)"

    def encode(self, values: Sequence[Any]) -> Array:
        """Labels to class indices, int [N]. Raises TaskError HS-TASK-002 for a label not seen in training."""
        known = [self.index(plain(value)) for value in values]
        if None in known:
            row = known.index(None)
            raise self.unseen(f"row {row + 1}", plain(values[row]), "label")
        return np.asarray(known, dtype=np.int64)

    def strata(self, values: Sequence[Any]) -> Array | None:
        """The class of each row; labels outside the classes form one stratum of their own."""
        known = (self.index(plain(value)) for value in values)
        return np.asarray([self.width if code is None else code for code in known], dtype=np.int64)

    def collate(self, targets: Targets, length: int | None = None) -> torch.Tensor:
        """Class indices [B]."""
        return torch.as_tensor(np.asarray(targets), dtype=torch.long)

    def loss(
        self, output: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Cross-entropy of logits [B,C] and classes [B]."""
        return {"loss": weighted(nn.functional.cross_entropy(output.float(), target, reduction="none"), weight)}

    def linear(self, X: Any, y: Targets, strength: float, start: Any = None) -> tuple[Array, Array]:
        """Multinomial logistic regression; scikit-learn's LogisticRegression(C=strength)."""
        return multinomial(X, y, self.width, strength, start)

    def indicators(self, y: Targets) -> Array:
        """[N,C]: 1 for the class of the row and 0 for the others, less 1/C so that rows sum to 0."""
        return np.asarray(np.eye(self.width)[np.asarray(y)] - 1 / self.width)

    def statistics(self, output: Outputs, target: Targets) -> Array:
        """[N,2]: correct, 1."""
        target = np.asarray(target)
        right = np.asarray(output).argmax(axis=1) == target
        return np.column_stack([right, np.ones(len(target))]).astype(np.float64)

    def combine(self, sums: Array) -> Array:
        """Accuracy."""
        sums = np.asarray(sums)
        return np.asarray(sums[..., 0] / np.maximum(sums[..., 1], 1))

    def metrics(self, output: Outputs, target: Targets) -> dict[str, float]:
        """accuracy, balanced_accuracy, macro_f1, log_loss, and auc for two classes where both occur."""
        target = np.asarray(target)
        found = np.asarray(output).argmax(axis=1)
        counts = np.bincount(target * self.width + found, minlength=self.width**2).reshape(self.width, self.width)
        hit, true, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
        seen, named = true > 0, true + predicted > 0
        chance = softmax(output)[np.arange(len(target)), target]
        result = {
            "accuracy": self.score(output, target),
            "balanced_accuracy": float((hit[seen] / true[seen]).mean()),
            "macro_f1": float((2 * hit[named] / (true + predicted)[named]).mean()),
            "log_loss": float(-np.log(np.maximum(chance, 1e-15)).mean()),
        }
        if self.width == 2 and len(np.unique(target)) == 2:
            from sklearn.metrics import roc_auc_score

            logits = np.nan_to_num(np.asarray(output, dtype=np.float64))
            result["auc"] = float(roc_auc_score(target, logits[:, 1] - logits[:, 0]))
        return result

    def decode(self, output: Outputs) -> Prediction:
        """The likeliest label, its probability as confidence, and all probabilities [N,C]."""
        chances = softmax(output)
        values = [self._classes[i] for i in chances.argmax(axis=1)]
        return Prediction(values, chances, chances.max(axis=1), self.classes)


def softmax(logits: Any) -> Array:
    """Row-wise softmax in float64. [N,C] -> [N,C]."""
    logits = np.asarray(logits, dtype=np.float64)
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def _mixed(dataset: Dataset) -> DataError:
    values = [plain(value) for value in dataset.targets()]
    text = next(i for i, value in enumerate(values) if isinstance(value, str))
    number = next(i for i, value in enumerate(values) if not isinstance(value, str) and not missing(value))
    return DataError(
        "HS-DATA-009",
        f"{where(dataset)}: the labels mix text ({values[text]!r}, row {dataset.numbers[text]}) "
        f"and numbers ({values[number]!r}, row {dataset.numbers[number]}).",
        "Write every label in one way.",
    )


def _lonely(dataset: Dataset, labels: list[Any]) -> list[HeadstartError]:
    """One problem for each class with one row, or one for all of them where they are many."""
    values = [plain(value) for value in dataset.targets()]
    if len(labels) > MOST_LISTED:
        return [
            DataError(
                "HS-DATA-007",
                f"{where(dataset, values.index(labels[0]))}: the class {labels[0]!r} and {len(labels) - 1} others have "
                "one row; expected two or more in each class.",
                "Name another column with --target, choose --task regression for numbers, or merge rare classes.",
            )
        ]
    return [
        DataError(
            "HS-DATA-007",
            f"{where(dataset, values.index(label))}: the class {label!r} has one row; expected two or more.",
            f"Add rows of {label!r}, merge it with another class, or remove the row.",
        )
        for label in labels
    ]
