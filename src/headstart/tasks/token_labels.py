"""A tag for every word (named entities and the like): softmax for each word, entity F1 as seqeval counts it.

Outputs are a list of N logit arrays [T_i,C]; where a row is shorter than its tags (truncated input) the rest counts as
"O". Encoded targets are a list of N int arrays [T_i].
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from headstart.datasets.base import Column, Dataset
from headstart.errors import DataError, raise_all
from headstart.nn.solvers import multinomial
from headstart.tasks.base import Array, Targets, too_few, where
from headstart.tasks.classification import softmax
from headstart.tasks.labels import Labelled
from headstart.types import Outputs, Prediction

IGNORED = -100


class TokenLabels(Labelled):
    """A tag for every word. classes: "O" first where it occurs, then the tags sorted."""

    name: ClassVar[str] = "token_labels"
    metric: ClassVar[str] = "entity_f1"
    needs: ClassVar[Any] = "tokens"

    @classmethod
    def matches(cls, column: Column, values: Sequence[Any]) -> bool:
        """A column of tag lists."""
        return column.kind == "tags"

    @classmethod
    def learn(cls, dataset: Dataset) -> TokenLabels:
        """The tags of the target column.

        Raises DataError HS-DATA-018 (tags and words differ in number, or a row has no tags), 006 (one tag only) and
        012 (fewer than 2 rows).
        """
        rows = dataset.targets()
        problems = [*too_few(dataset, rows), *_misfits(dataset, rows)]
        raise_all(problems)
        counts = Counter(str(tag) for row in rows for tag in row)
        if len(counts) == 1:
            raise DataError(
                "HS-DATA-006",
                f"{where(dataset)}: every word has the tag {next(iter(counts))!r}; expected two tags or more.",
                "Name another column with --target, or add rows with entities.",
            )
        return cls(sorted(counts, key=lambda tag: (tag != "O", tag)))

    def describe(self) -> str:
        """Such as ``token labels (4 entity types, 9 tags)``."""
        kinds = {tag.split("-", 1)[-1] for tag in self._classes if tag != "O"}
        return f"token labels ({len(kinds)} entity types, {self.width} tags)"

    def encode(self, values: Sequence[Any]) -> list[Array]:
        """Tag lists to N int arrays [T_i]. Raises TaskError HS-TASK-002 for a tag not seen in training."""
        result = []
        for row, tags in enumerate(values):
            known = [self.index(str(tag)) for tag in tags]
            if None in known:
                word = known.index(None)
                raise self.unseen(f"row {row + 1}, word {word + 1}", tags[word], "tag")
            result.append(np.asarray(known, dtype=np.int64))
        return result

    def strata(self, values: Sequence[Any]) -> Array | None:
        """The rarest known tag of each row, so that rare entities are spread over the parts."""
        return self.rarest([[str(tag) for tag in tags] for tags in values])

    def collate(self, targets: Targets, length: int | None = None) -> torch.Tensor:
        """Tags padded with -100, or cut, to ``length`` words (default: the longest row). [B,T]."""
        longest = max((len(row) for row in targets), default=0) if length is None else length
        result = torch.full((len(targets), longest), IGNORED, dtype=torch.long)
        for i, row in enumerate(targets):
            result[i, : len(row)] = torch.as_tensor(np.asarray(row)[:longest], dtype=torch.long)
        return result

    def loss(
        self, output: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Cross-entropy over the words that are not masked; logits [B,T,C], tags [B,T]. 0 where all are masked."""
        flat = target.reshape(-1)
        losses = nn.functional.cross_entropy(
            output.float().reshape(-1, output.shape[-1]), flat, ignore_index=IGNORED, reduction="none"
        )
        if weight is not None:
            losses = losses * weight.repeat_interleave(target.shape[1]).to(losses.dtype)
        return {"loss": losses.sum() / (flat != IGNORED).sum().clamp(min=1)}

    def linear(self, X: Any, y: Targets, strength: float, start: Any = None) -> tuple[Array, Array]:
        """Multinomial logistic regression over words: X [items,D]; y int [items], or the list of N arrays."""
        flat = np.concatenate(y) if isinstance(y, list) else y
        return multinomial(X, flat, self.width, strength, start)

    def statistics(self, output: Outputs, target: Targets) -> Array:
        """[N,3]: entities found exactly, entities predicted, entities true; by seqeval's ``get_entities``."""
        from seqeval.metrics.sequence_labeling import get_entities

        found = self._tags(output, [len(row) for row in target])
        result = np.zeros((len(target), 3))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # seqeval warns of every tag without a prefix
            for i, (row, tags) in enumerate(zip(target, found)):
                truth = set(get_entities([self._classes[t] for t in row]))
                guess = set(get_entities(tags))
                result[i] = len(truth & guess), len(guess), len(truth)
        return result

    def combine(self, sums: Array) -> Array:
        """Entity F1; 0 where there is neither a true nor a predicted entity, as in seqeval."""
        sums = np.asarray(sums)
        return np.asarray(2 * sums[..., 0] / np.maximum(sums[..., 1] + sums[..., 2], 1))

    def metrics(self, output: Outputs, target: Targets) -> dict[str, float]:
        """entity_f1, entity_precision, entity_recall, token_accuracy."""
        hit, predicted, true = self.statistics(output, target).sum(axis=0)
        found = self._tags(output, [len(row) for row in target])
        right = [self._classes[t] == tag for row, tags in zip(target, found) for t, tag in zip(row, tags)]
        return {
            "entity_f1": self.score(output, target),
            "entity_precision": float(hit / max(predicted, 1)),
            "entity_recall": float(hit / max(true, 1)),
            "token_accuracy": float(np.mean(right)) if right else 0.0,
        }

    def decode(self, output: Outputs) -> Prediction:
        """The likeliest tag of every word seen; confidence is the mean probability of the chosen tags."""
        chances = [softmax(row) if len(row) else np.ones((0, self.width)) for row in output]
        confidence = np.asarray([row.max(axis=1).mean() if len(row) else 0.0 for row in chances])
        values = [[self._classes[i] for i in row.argmax(axis=1)] for row in chances]
        return Prediction(values, None, confidence, self.classes)

    def _tags(self, output: Outputs, lengths: Iterable[int]) -> list[list[str]]:
        result = []
        for row, length in zip(output, lengths):
            best = np.asarray(row).argmax(axis=1) if len(row) else np.zeros(0, dtype=np.int64)
            tags = [self._classes[i] for i in best[:length]]
            result.append(tags + ["O"] * (length - len(tags)))
        return result


def _misfits(dataset: Dataset, rows: Sequence[Any]) -> list[DataError]:
    columns = [column.name for column in dataset.inputs if column.kind == "tokens"]
    words = dataset.values(columns[0]) if columns else [None] * len(rows)
    problems = []
    for row, (tags, tokens) in enumerate(zip(rows, words)):
        if not tags:
            problems.append(
                DataError("HS-DATA-018", f"{where(dataset, row)}: the row has no tags.", "Give one tag for each word.")
            )
        elif tokens is not None and len(tokens) != len(tags):
            problems.append(
                DataError(
                    "HS-DATA-018",
                    f"{where(dataset, row)}: {len(tags)} tags for {len(tokens)} words; expected one tag for each word.",
                    "Correct the row.",
                )
            )
    return problems[:10]
