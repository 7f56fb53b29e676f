"""The model of a saved run: its digests verified, its task, its method and the columns that it reads.

    RUN/model.json   schema, kind of model, method, task, columns, sha256 of every file of RUN/model
    RUN/model/       safetensors and JSON

No code of the folder runs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError

from headstart import catalog
from headstart.datasets.base import Column, Dataset
from headstart.errors import ArtefactError, DataError, HeadstartError, did_you_mean
from headstart.methods.base import Fitted, fitted_class, make
from headstart.types import Json

SCHEMA = 1


@dataclass(frozen=True)
class Saved:
    """A model and the columns that it was fitted on."""

    fitted: Fitted
    columns: list[Column]

    @property
    def inputs(self) -> list[Column]:
        """The columns that it reads, in order."""
        return [column for column in self.columns if column.role == "input"]

    def check_columns(self, dataset: Dataset) -> None:
        """Raise DataError HS-DATA-015 where a column that the model reads is missing."""
        known = [column.name for column in dataset.columns]
        for column in self.inputs:
            if column.name not in known:
                raise DataError(
                    "HS-DATA-015", f'{dataset.origin}: the model needs the column "{column.name}".',
                    did_you_mean(column.name, known),
                )  # fmt: skip

    def arranged(self, dataset: Dataset) -> Dataset:
        """The rows with this model's inputs, and nothing else, as input, in its order."""
        return arranged(dataset, self.inputs, [])


def open_model(folder: str | Path) -> Saved:
    """The model of a run.

    Raises ArtefactError: HS-ARTEFACT-001 not a run, -002 written by a newer version, -003 tensors do not match,
    -004 a file was changed or is missing.
    """
    place = Path(folder)
    manifest = read_manifest(place)
    wrong = [
        name
        for name, digest in manifest["files"].items()
        if not (place / "model" / name).is_file() or sha256(place / "model" / name) != digest
    ]
    if wrong:
        state = "changed" if (place / "model" / wrong[0]).is_file() else "missing"
        raise ArtefactError("HS-ARTEFACT-004", f"{place / 'model' / wrong[0]} is {state}.", "Copy the run again.")
    try:
        task = catalog.find("tasks", manifest["task"]["name"]).from_json(manifest["task"])
        method = make(catalog.find("methods", manifest["method"]["name"]), manifest["method"]["settings"])
        columns = [Column(**column) for column in manifest["columns"]]
        return Saved(fitted_class(manifest["kind"]).load(place / "model", task, method), columns)
    except (KeyError, TypeError, ValueError, OSError, SafetensorError) as error:
        if isinstance(error, HeadstartError):
            raise
        raise ArtefactError("HS-ARTEFACT-004", f"{place} is damaged ({error}).", "Copy the run again.") from error


def read_manifest(place: Path) -> Json:
    """``model.json``. Raises ArtefactError HS-ARTEFACT-001, -002 and -004."""
    path = place / "model.json"
    if not path.is_file():
        raise ArtefactError("HS-ARTEFACT-001", f"{place} is not a Headstart run.", "Expected a folder with model.json.")
    try:
        manifest = json.loads(path.read_text())
        schema = int(manifest["schema"])
    except (ValueError, KeyError, TypeError) as error:
        raise ArtefactError("HS-ARTEFACT-004", f"{path} is damaged.", "Copy the run again.") from error
    if schema > SCHEMA:
        raise ArtefactError(
            "HS-ARTEFACT-002", f"{place} has schema {schema}; this version reads up to {SCHEMA}.", "Upgrade headstart."
        )
    if not isinstance(manifest.get("files"), dict):
        raise ArtefactError("HS-ARTEFACT-004", f"{path} is damaged.", "Copy the run again.")
    return dict(manifest)


def arranged(dataset: Dataset, inputs: Sequence[Column], targets: Sequence[Column]) -> Dataset:
    """The model's inputs and nothing else as input, in its order: several texts of a row are joined in it."""
    roles = {column.name: "input" for column in inputs} | {column.name: "target" for column in targets}
    others = [column.name for column in dataset.columns if column.name not in roles]
    gone = ("input", "target") if targets else ("input",)
    columns = []
    for column in map(dataset.column, [*roles, *others]):
        role = roles.get(column.name, "unused" if column.role in gone else column.role)
        columns.append(replace(column, role=role))  # type: ignore[arg-type]
    return Dataset(
        dataset.table, columns, origin=dataset.origin, root=dataset.root, rejects=dataset.rejects,
        numbers=dataset.numbers, items=dataset.items,
    )  # fmt: skip


def sha256(path: Path) -> str:
    """The digest of a file (hex)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
