"""A bundle: for each of several target columns the model that predicts it.

A model may serve one column or several (a network that they share); it then stands in the bundle once and runs once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from headstart import catalog
from headstart.datasets.base import Dataset
from headstart.methods.base import Fitted, Method, load_part, save_part
from headstart.methods.network import NetworkFitted
from headstart.tasks.base import Task
from headstart.tasks.several import Several
from headstart.types import Json, LayerRow, Outputs


class Bundle(Fitted):
    """Models by target column. method: how they were made, or the method of the first where they differ.

    models: column -> model, for every part of ``task``; its own task is that part, or several of them.
    """

    kind: ClassVar[str] = "methods.bundle"

    def __init__(self, method: Method, task: Several, models: Mapping[str, Fitted]) -> None:
        self.method, self.task = method, task
        self.several = task
        self.models = {column: models[column] for column in task.parts}
        facts = {column: model.history[-1] for column, model in self.models.items() if model.history}
        self.history: list[Json] = [{"targets": facts}] if facts else []

    @property
    def description(self) -> str:
        """What the models are."""
        kinds = list(dict.fromkeys(model.description for model in self.models.values()))
        return f"{' and '.join(kinds)}; a model for each target" if len(kinds) == 1 else " and ".join(kinds)

    @property
    def keeps(self) -> str:
        """What its models keep."""
        return ", and ".join(dict.fromkeys(model.keeps for model in self.models.values() if model.keeps))

    def distinct(self) -> list[tuple[Fitted, list[str]]]:
        """Every model once, with the columns that it predicts."""
        found: dict[int, tuple[Fitted, list[str]]] = {}
        for column, model in self.models.items():
            found.setdefault(id(model), (model, []))[1].append(column)
        return list(found.values())

    def outputs(self, dataset: Dataset) -> Outputs:
        """The outputs [N,C] of all parts side by side."""
        parts = {}
        for model, columns in self.distinct():
            outputs = model.outputs(dataset)
            for column in columns:
                whole = isinstance(model.task, Several)
                parts[column] = model.task.outputs_for(column, outputs) if whole else np.asarray(outputs)  # type: ignore[attr-defined]
        return np.concatenate([parts[column] for column in self.several.parts], axis=1)

    def trained(self) -> list[LayerRow]:
        """The tables of all models, each line with the columns that it serves."""
        return [
            replace(row, layer=f"{', '.join(columns)}: {row.layer}")
            for model, columns in self.distinct()
            for row in model.trained()
        ]

    def save(self, folder: Path) -> None:
        """``bundle.json`` and a folder for each model."""
        facts = []
        for place, (model, columns) in enumerate(self.distinct()):
            part = save_part(model, folder / str(place))
            facts.append({**part, "task": model.task.to_json(), "columns": columns})
        (folder / "bundle.json").write_text(json.dumps({"models": facts}, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, task: Task, method: Method) -> Bundle:
        """What `save` wrote. Raises ArtefactError HS-ARTEFACT-003 unless every tensor matches."""
        assert isinstance(task, Several)
        models: dict[str, Fitted] = {}
        for place, facts in enumerate(json.loads((folder / "bundle.json").read_text(encoding="utf-8"))["models"]):
            part = catalog.find("tasks", facts["task"]["name"]).from_json(facts["task"])
            model = load_part(facts, folder / str(place), part)
            models |= dict.fromkeys(facts["columns"], model)
        return cls(method, task, models)


def one_network(method: Method, task: Several, models: Mapping[str, Fitted], rows: Dataset) -> NetworkFitted | None:
    """Linear heads on the same frozen source as one: the source is saved and runs once. None for other models.

    A head that does not read an output of the source has zeros there. rows: any, to see how wide the outputs are.
    """
    heads = [model for model in models.values() if isinstance(model, NetworkFitted) and type(model) is NetworkFitted]
    first = next(iter(heads), None)
    if first is None or len(heads) < len(models):
        return None
    if any(
        head.changed or head.source is not first.source or head.outputs_used == ("tokens",)
        or not isinstance(head.head, nn.Linear)
        for head in heads
    ):  # fmt: skip
        return None
    used = list(dict.fromkeys(output for head in heads for output in head.outputs_used))
    blocks = first.extractor.blocks(rows.select([0]).without("target"), used)
    ends = np.cumsum([block.shape[1] for block in blocks]).tolist()
    places = {output: range(end - block.shape[1], end) for output, end, block in zip(used, ends, blocks)}
    joint = nn.Linear(ends[-1], task.width)
    with torch.no_grad():
        joint.weight.zero_()
        for column, head in zip(models, heads):
            columns = [place for output in head.outputs_used for place in places[output]]
            at = task.outputs_of[column]
            joint.weight[at.start : at.stop, columns] = head.head.get_parameter("weight")
            joint.bias[at.start : at.stop] = head.head.get_parameter("bias")
    facts = {column: head.history[-1] for column, head in zip(models, heads) if head.history}
    layers = [*first.trained()[:-1], LayerRow("head", joint.weight.numel() + joint.bias.numel(), 1.0, None)]
    return NetworkFitted(
        method, task, first.source, joint, used, changed=False, precision=first.precision, extractor=first.extractor,
        history=[{"targets": facts}], layers=layers,
    )  # fmt: skip
