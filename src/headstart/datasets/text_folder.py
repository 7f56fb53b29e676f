"""A folder of text files: columns ``text``, ``path``, and ``label`` and ``split`` where the layout has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.datasets import encoding, folder, store
from headstart.datasets.base import Reject
from headstart.datasets.parsed import Options, Parsed
from headstart.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 512  # files a batch


def matches(path: Path) -> bool:
    """A folder most of whose files are texts."""
    return folder.kind(path) == "text"


def parse(path: Path, options: Options) -> Parsed:
    """One row for each text file; those that cannot be decoded are rejected. Raises DataError HS-DATA-002."""
    ignored: list[Reject] = []
    found = folder.entries(path, lambda suffix: suffix in folder.TEXT_SUFFIXES, "a text", ignored)
    if not found:
        raise DataError("HS-DATA-002", f"{path}: the folder holds no texts.", "Put them into one folder a class.")
    wrong = {reject.row for reject in ignored}
    places = [row for row in range(1, len(found) + len(ignored) + 1) if row not in wrong]
    numbered = list(zip(places, found))
    layout = [[place, entry.path, entry.label, entry.split] for place, entry in numbered]
    key = store.digest("text_folder", [path / entry.path for entry in found], layout)
    table, rejects, _ = store.keep(key, lambda rejects: _batches(path, numbered, rejects))
    gone = {reject.row for reject in rejects}
    numbers = [place for place in places if place not in gone]
    target = "label" if "label" in table.column_names else None
    return Parsed(table, numbers, [*ignored, *rejects], target, ("text",), {"text": "text"}, root=path)


def _batches(path: Path, numbered: list[tuple[int, folder.Entry]], rejects: list[Reject]) -> Iterator[pa.RecordBatch]:
    labels = any(entry.label is not None for _, entry in numbered)
    splits = any(entry.split is not None for _, entry in numbered)
    for start in range(0, len(numbered), ROWS):
        rows: list[dict[str, Any]] = []
        for number, entry in numbered[start : start + ROWS]:
            try:
                text = encoding.text_of(path / entry.path)
            except DataError as error:
                rejects.append(Reject(str(path / entry.path), number, error.message.partition(": ")[2] or "unreadable"))
                continue
            rows.append({"text": text, "path": entry.path, "label": entry.label, "split": entry.split})
        names = ["text", "path", *(["label"] if labels else []), *(["split"] if splits else [])]
        if rows:
            yield _batch(rows, names)


def _batch(rows: list[dict[str, Any]], names: list[str]) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_arrays([pa.array([row[name] for row in rows], pa.string()) for name in names], names)
