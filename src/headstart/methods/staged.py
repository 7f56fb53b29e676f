"""A frozen source with a head in stages: how methods without training predict. Only the head is theirs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from headstart.datasets.base import Dataset
from headstart.methods.base import Fitted, Method
from headstart.methods.network import layer_rows, load_exactly
from headstart.nn import stages
from headstart.runtime import Extractor
from headstart.sources.base import Source
from headstart.tasks.base import Task
from headstart.types import Json, LayerRow, Outputs


class Staged(Fitted):
    """Pooled features [N,D] of a frozen source through `headstart.nn.stages` to logits [N,C]."""

    kind: ClassVar[str] = "methods.staged"

    def __init__(
        self, method: Method, task: Task, source: Source, head: Sequence[nn.Module], history: list[Json], *,
        extractor: Extractor | None = None, precision: str = "auto", description: str = "",
    ) -> None:  # fmt: skip
        self.method, self.task, self.source, self.history = method, task, source, history
        self.head = nn.Sequential(*head).eval()
        self.precision, self._extractor, self._description = precision, extractor, description

    @property
    def description(self) -> str:
        """What was fitted, in the words of the method."""
        return self._description or super().description

    @property
    def extractor(self) -> Extractor:
        """The frozen passes of predictions, cached on disk."""
        if self._extractor is None:
            self._extractor = Extractor(self.source, precision=self.precision)
        return self._extractor

    def outputs(self, dataset: Dataset) -> Outputs:
        """Logits [N,C]."""
        with torch.inference_mode():
            return self.head(torch.from_numpy(self.extractor.matrix(dataset)).float()).numpy()

    def trained(self) -> list[LayerRow]:
        """Only the head was made; nothing trained by gradient."""
        rows = layer_rows(self.source, self.head, [])
        return [*rows[:-1], LayerRow("head", rows[-1].parameters, 1.0, None)]

    def save(self, folder: Path) -> None:
        """``source/``, ``head.safetensors`` and ``staged.json``."""
        self.source.with_network(self.source.network).save(folder / "source")
        tensors = {name: value.contiguous() for name, value in self.head.state_dict().items()}
        save_file(tensors, folder / "head.safetensors")
        facts = {
            "stages": stages.describe(list(self.head)),
            "precision": self.precision,
            "history": self.history,
            "description": self._description,
        }
        (folder / "staged.json").write_text(json.dumps(facts, indent=1))

    @classmethod
    def load(cls, folder: Path, task: Task, method: Method) -> Staged:
        """What `save` wrote. Raises ArtefactError HS-ARTEFACT-003 unless every tensor of the head matches."""
        from headstart.sources.shelf import open_source

        facts: dict[str, Any] = json.loads((folder / "staged.json").read_text())
        head = stages.build(facts["stages"])
        load_exactly(head, load_file(folder / "head.safetensors"), folder / "head.safetensors")
        return cls(
            method, task, open_source(str(folder / "source")), list(head), facts["history"],
            precision=facts["precision"], description=facts["description"],
        )  # fmt: skip
