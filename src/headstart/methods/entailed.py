"""Labels by entailment: a classifier trained on natural language inference reads each text with each label's sentence.

The model ships whole, as it is; what was learned from the unlabelled rows is a bias for each label.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from headstart.datasets.base import Dataset
from headstart.methods.base import Fitted, Method
from headstart.sources import pairs
from headstart.tasks.base import Task
from headstart.types import Json, LayerRow, Outputs

MODEL = "entailment"


class Entailed(Fitted):
    """logits [N,C] = the mean over a label's sentences of log p(entailment), plus bias [C]. owner: [S]."""

    kind: ClassVar[str] = "methods.entailed"

    def __init__(
        self, method: Method, task: Task, model: pairs.Entailment, sentences: Sequence[str], owner: Sequence[int],
        bias: np.ndarray, history: list[Json],
    ) -> None:  # fmt: skip
        self.method, self.task, self.model, self.history = method, task, model, history
        self.sentences, self.owner, self.bias = list(sentences), np.asarray(owner, int), np.asarray(bias, np.float64)

    @property
    def description(self) -> str:
        """What decides."""
        return "labels by entailment, no training label read"

    def outputs(self, dataset: Dataset) -> Outputs:
        """Logits [N,C]."""
        scores = self.model.scores([as_text(sample) for sample in dataset.samples()], self.sentences)
        return np.asarray(by_label(scores, self.owner, len(self.bias)) + self.bias, np.float32)

    def trained(self) -> list[LayerRow]:
        """Nothing of the model."""
        return [LayerRow("entailment model", sum(p.numel() for p in self.model.model.parameters()), 0.0, None)]

    def save(self, folder: Path) -> None:
        """The model in transformers' format under ``entailment/``, and ``entailed.json``."""
        self.model.save(folder / MODEL)
        facts = {
            "sentences": self.sentences, "owner": self.owner.tolist(), "bias": self.bias.tolist(),
            "history": self.history,
        }  # fmt: skip
        (folder / "entailed.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False))

    @classmethod
    def load(cls, folder: Path, task: Task, method: Method) -> Entailed:
        """What `save` wrote. Raises SourceError HS-SOURCE-007, -008 where the model cannot be read."""
        facts = json.loads((folder / "entailed.json").read_text())
        model = pairs.entailment(str(folder / MODEL))
        return cls(method, task, model, facts["sentences"], facts["owner"], np.array(facts["bias"]), facts["history"])


def as_text(sample: object) -> str:
    """A sample as one text; pre-split words are joined."""
    return " ".join(map(str, sample)) if isinstance(sample, list | tuple) else "" if sample is None else str(sample)


def by_label(scores: np.ndarray, owner: np.ndarray, labels: int) -> np.ndarray:
    """The mean of the scores [N,S] of each label's sentences, [N,C]."""
    member = (owner[None, :] == np.arange(labels)[:, None]).astype(np.float64)
    return np.asarray(scores @ (member / member.sum(axis=1, keepdims=True)).T)
