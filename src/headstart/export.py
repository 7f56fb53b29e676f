"""Predictions as CSV beside the columns they were made from, and the record of a run read back.

Files are written beside their place and renamed, so that a killed command leaves the old file or the new one.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from headstart import disk
from headstart.errors import ArtefactError, UsageError
from headstart.types import Prediction, Record

if TYPE_CHECKING:
    from headstart.datasets.base import Dataset

CHUNK = 4096
"""Rows of the table that are in memory at once while writing."""


def write_csv(stream: IO[str], dataset: Dataset, prediction: Prediction) -> None:
    """Write the columns of ``dataset``, ``prediction`` and ``probability_<class>``: N lines in row order.

    Of several targets ``prediction_<target>`` and ``probability_<target>_<class>``, one target after the other. Where a
    row is answered by several lines, these alone.
    """
    names = list(dataset.table.column_names)
    writer = csv.writer(stream, lineterminator="\n")
    if prediction.lines:
        writer.writerow(prediction.lines)
        writer.writerows(zip(*prediction.lines.values(), strict=True))
        return
    parts = {f"_{target}": part for target, part in prediction.parts.items()} or {"": prediction}
    headings = [_heading(dataset, name) for name in names]
    for suffix, part in parts.items():
        headings += [f"prediction{suffix}", *(f"probability{suffix}_{label}" for label in _labels(part))]
    writer.writerow(headings)
    for row, cells in enumerate(_cells(dataset, names)):
        line = [*map(_text, cells)]
        for part in parts.values():
            likely = [f"{value:.6g}" for value in part.probabilities[row]] if _labels(part) else []  # type: ignore[index]
            line += [_text(part.values[row]), *likely]
        writer.writerow(line)


def _labels(prediction: Prediction) -> list[Any]:
    return prediction.classes if prediction.probabilities is not None else []


def _heading(dataset: Dataset, name: str) -> str:
    """The column's name; for the files of a folder ``path``."""
    file = any(column.name == name and column.kind in ("image", "audio") for column in dataset.columns)
    return "path" if file and dataset.root is not None and Path(dataset.origin).is_dir() else name


def _cells(dataset: Dataset, names: list[str]) -> Iterator[tuple[Any, ...]]:
    for start in range(0, len(dataset), CHUNK):
        part = dataset.table[start : start + CHUNK]
        yield from zip(*(part[name] for name in names))


def _text(value: Any) -> Any:
    """A cell: lists as JSON, images and sounds held as bytes by their size (they have no text of their own)."""
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return "" if value is None else value


def check_place(path: Path) -> None:
    """Raise UsageError HS-USAGE-001 where no file can be written to ``path``: before the work, not after it."""
    if path.is_dir():
        raise UsageError("HS-USAGE-001", f"--out {path} is a folder.", "Name a file, such as predictions.csv.")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise UsageError("HS-USAGE-001", f"--out {path}: {above} is a file, not a folder.", "Name another place.")


def save_csv(path: Path, dataset: Dataset, prediction: Prediction) -> None:
    """`write_csv` to a file, whole or not at all. Raises EnvironmentProblem HS-ENV-002 or HS-ENV-003."""
    with disk.replacing(path) as beside, beside.open("w", encoding="utf-8", newline="") as stream:
        write_csv(stream, dataset, prediction)


def save_rejects(dataset: Dataset, out: Path | None) -> str | None:
    """Write the rows that could not be read to ``<out>.rejected.csv`` and return its path; None without any."""
    if not dataset.rejects or out is None:
        return None
    from headstart.datasets.read import write_rejects

    path = out.with_name(f"{out.name.removesuffix('.csv')}.rejected.csv")
    write_rejects(dataset.rejects, path)
    return str(path)


def read_record(run: Path) -> Record:
    """The record of a run. Raises ArtefactError HS-ARTEFACT-001 or -004 where there is none or it is damaged."""
    place = run / "run.json"
    if not place.is_file():
        raise ArtefactError(
            "HS-ARTEFACT-001",
            f"{run} is not a run of Headstart: it has no run.json.",
            "Name the folder that fit saved.",
        )
    try:
        return Record.from_json(json.loads(place.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise ArtefactError(
            "HS-ARTEFACT-004", f"{place} is damaged: {error}.", "Fit again, or restore the folder."
        ) from error
