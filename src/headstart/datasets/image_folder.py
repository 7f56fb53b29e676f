"""A folder of images: columns ``image`` (path below the folder), ``label`` and ``split`` where the layout has them."""

from __future__ import annotations

from pathlib import Path

from headstart.datasets import folder
from headstart.datasets.base import IMAGE_SUFFIXES, Reject
from headstart.datasets.parsed import Options, Parsed
from headstart.errors import DataError


def matches(path: Path) -> bool:
    """A folder most of whose files are images."""
    return folder.kind(path) == "image"


def parse(path: Path, options: Options) -> Parsed:
    """One row for each image; whether it decodes is checked later. Raises DataError HS-DATA-002."""
    import pyarrow as pa

    rejects: list[Reject] = []
    found = folder.entries(path, lambda suffix: suffix in IMAGE_SUFFIXES, "an image", rejects)
    if not found:
        raise DataError("HS-DATA-002", f"{path}: the folder holds no images.", "Put them into one folder a class.")
    columns = {"image": pa.array([entry.path for entry in found])}
    if any(entry.label is not None for entry in found):
        columns["label"] = pa.array([entry.label for entry in found], pa.string())
    if any(entry.split is not None for entry in found):
        columns["split"] = pa.array([entry.split for entry in found], pa.string())
    gone = {reject.row for reject in rejects}
    numbers = [row for row in range(1, len(found) + len(rejects) + 1) if row not in gone]
    target = "label" if "label" in columns else None
    return Parsed(pa.table(columns), numbers, rejects, target, ("image",), {"image": "image"}, root=path)
