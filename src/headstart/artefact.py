"""The artefact: a folder that holds everything to predict, offline, on another machine, with no code in it.

    RUN/
      model.json       schema, kind of model, method, task, input columns, sha256 of every model file
      model/           safetensors and JSON
      run.json         the record; report.html, README.md and the summary are made from it
      rejected.csv     rows that could not be read

It is written beside its place and renamed. Loading checks every digest first and runs no code from the folder.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headstart import disk
from headstart.datasets.base import Column, Dataset
from headstart.errors import ArtefactError, DataError, HeadstartError, did_you_mean
from headstart.methods.base import Fitted
from headstart.methods.saved import SCHEMA, arranged, open_model, sha256
from headstart.report.layers import LayerTable
from headstart.types import Json, Prediction, Record, Sample

ARRANGING = ("series", "step", "known", "user", "rating")
"""Roles of columns that say how the rows of a table belong together."""


class Artefact:
    """A fitted model with its record. Made by `headstart.fit`, read by `headstart.load`."""

    def __init__(self, fitted: Fitted, record: Record, columns: Sequence[Column], folder: Path) -> None:
        self.fitted = fitted
        self.task = fitted.task
        self.record = record
        self.columns = list(columns)
        self.folder = folder

    # --- use ---------------------------------------------------------------------------------------------------

    def predict(self, data: Dataset | str | Path | Sequence[Sample]) -> Prediction:
        """Predictions for a dataset, a path, or a list of input values, in the user's own labels.

        Raises DataError HS-DATA-015 where a column the model needs is missing, HS-DATA-010 where a value given in
        memory cannot be read: there each row must get its prediction (a path may have rejects; see `read`).
        """
        dataset = self.read(data)
        if dataset.rejects and not isinstance(data, Dataset | str | Path):
            first = dataset.rejects[0]
            raise DataError("HS-DATA-010", f"row {first.row} cannot be read: {first.reason}.", "Leave the row out.")
        return self.fitted.predict(dataset)

    def evaluate(self, data: Dataset | str | Path) -> dict[str, float]:
        """All metrics on labelled rows. Raises DataError HS-DATA-003 where the target column is missing."""
        dataset = self.read(data, labelled=True)
        if dataset.windows:  # earlier windows have short histories, which is not how the model is used
            dataset = dataset.select([row for row, part in enumerate(dataset.values("split")) if part == "test"])
        targets = self.task.encode(dataset.targets())
        return self.task.metrics(self.fitted.outputs(dataset), targets)

    def read(self, data: Any, labelled: bool = False, users: Any = None) -> Dataset:
        """Data as the rows this model reads: its input columns, and its targets where ``labelled``.

        users: the table of what is known of each user, where the model reads features of users; by default that of the
        fit, if it is still there.
        """
        from headstart.datasets.read import read

        inputs = [column for column in self.columns if column.role == "input"]
        targets = [column for column in self.columns if column.role == "target" and labelled]
        if isinstance(data, Dataset):
            dataset = data
        else:
            if isinstance(data, list | tuple):
                data = {inputs[0].name: list(data)} if len(inputs) == 1 else _columns_of(data, inputs)
            features = [column for column in self.columns if column.role == "feature"]
            table = (self.users_table() if users is None else users) if features else None
            features = features if table is not None else []
            kinds = {column.name: column.kind for column in [*inputs, *targets, *features]}
            arranging = [column for column in self.columns if column.role in ARRANGING]
            roles = {column.name: column.role for column in [*arranging, *features]}
            try:
                dataset = read(
                    data,
                    target=[column.name for column in targets],
                    input=[column.name for column in inputs],
                    kinds=kinds,
                    roles=roles,
                    for_prediction=not labelled,
                    users=table,
                    **self.task.reading,
                )
            except DataError as error:
                if error.code == "HS-DATA-003" and not labelled:
                    raise DataError("HS-DATA-015", error.message, error.hint) from error
                raise
        known = [column.name for column in dataset.columns]
        for column in inputs:
            if column.name not in known:
                raise DataError(
                    "HS-DATA-015",
                    f'{dataset.origin}: the model needs the column "{column.name}".',
                    did_you_mean(column.name, known),
                )
        return arranged(dataset, inputs, targets)

    def users_table(self) -> str | None:
        """The table of users that the run was fitted with, where there was one and it is still there."""
        path = str(self.record.data.get("users") or "")
        return path if path and Path(path).is_file() else None

    # --- showing -----------------------------------------------------------------------------------------------

    def trained(self) -> LayerTable:
        """What of the model that ships trained, and how far it moved: a list of `LayerRow` that shows itself."""
        return LayerTable(self.fitted.trained())

    def summary(self) -> str:
        """The lines that `headstart fit` prints."""
        from headstart.report.summary import summary

        return summary(self.record)

    def to_json(self) -> Json:
        """The record as plain JSON values."""
        return self.record.to_json()

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        from headstart.report.summary import html_summary

        return html_summary(self.record)


def save(artefact: Artefact, rejects: Sequence[Any] = ()) -> None:
    """Write the artefact to ``artefact.folder``, replacing what was there, in one rename.

    Raises EnvironmentProblem HS-ENV-002 (disk full) or HS-ENV-003 (no permission); the old folder is then untouched.
    """
    from headstart.datasets.read import write_rejects
    from headstart.report.card import write_card
    from headstart.report.html import write

    folder = artefact.folder
    fresh = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        (fresh / "model").mkdir(parents=True)
        artefact.fitted.save(fresh / "model")
        manifest = {
            "schema": SCHEMA,
            "kind": artefact.fitted.kind,
            "method": {"name": artefact.fitted.method.name, "settings": artefact.fitted.method.hyperparameters()},
            "task": artefact.task.to_json(),
            "columns": [vars(column) for column in artefact.columns],
            "files": {
                str(path.relative_to(fresh / "model")): sha256(path)
                for path in sorted((fresh / "model").rglob("*"))
                if path.is_file()
            },
        }
        (fresh / "model.json").write_text(json.dumps(manifest, indent=1, default=str))
        (fresh / "run.json").write_text(json.dumps(artefact.record.to_json(), indent=1, default=str))
        write(artefact.record, fresh / "report.html")
        write_card(artefact.record, fresh / "README.md")
        if rejects:
            write_rejects(rejects, fresh / "rejected.csv")
        _swap(fresh, folder)
    except Exception as error:
        refused = isinstance(error, OSError) or disk.refusal(error) is not None  # safetensors has a class of its own
        if refused and not isinstance(error, HeadstartError):
            raise disk.write_error(error, folder) from error
        raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def load(folder: str | Path) -> Artefact:
    """The artefact in a folder.

    Raises ArtefactError: HS-ARTEFACT-001 not a run, -002 written by a newer version, -003 tensors do not match,
    -004 a file was changed or is missing.
    """
    place = Path(folder)
    saved = open_model(place)
    try:
        record = Record.from_json(json.loads((place / "run.json").read_text()))
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ArtefactError("HS-ARTEFACT-004", f"{place} is damaged ({error}).", "Copy the run again.") from error
    record.folder = str(place)
    return Artefact(saved.fitted, record, saved.columns, place)


def _columns_of(rows: Sequence[Any], inputs: Sequence[Column]) -> dict[str, list[Any]]:
    for number, row in enumerate(rows, start=1):
        for column in inputs:
            if not isinstance(row, dict) or column.name not in row:
                hint = did_you_mean(column.name, row) if isinstance(row, dict) else "Give dicts, one a row."
                raise DataError("HS-DATA-015", f'row {number}: the model needs the column "{column.name}".', hint)
    return {column.name: [row[column.name] for row in rows] for column in inputs}


def _swap(fresh: Path, folder: Path) -> None:
    old = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.old")
    if folder.exists():
        folder.rename(old)
    try:
        fresh.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
