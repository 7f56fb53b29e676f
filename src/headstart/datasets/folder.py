"""Folders of files: ``class/file``, ``train/class/file``, or files alone (rows without labels).

Hidden files are passed over. A folder is of images, sounds or texts by which of them it holds most.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from headstart.datasets.base import IMAGE_SUFFIXES, Kind, Reject
from headstart.datasets.clip import SOUND_SUFFIXES
from headstart.datasets.parsed import Parsed
from headstart.errors import DataError

TEXT_SUFFIXES = frozenset({".txt", ".text", ".md"})
SPLITS = {"train": "train", "training": "train", "valid": "valid", "val": "valid", "validation": "valid"}
SPLITS |= {"dev": "valid", "test": "test", "testing": "test"}


@dataclass(frozen=True)
class Entry:
    """One file of the folder. path is relative; label and split are None where the layout has none."""

    path: str
    label: str | None
    split: str | None


def kind(folder: Path) -> str:
    """``image``, ``audio``, ``text`` or an empty string, by the suffixes of the files."""
    if not folder.is_dir() or any((folder / name).is_file() for name in ("state.json", "dataset_dict.json")):
        return ""
    suffixes = [Path(name).suffix.lower() for name in _files(folder)]
    known = {"image": IMAGE_SUFFIXES, "audio": SOUND_SUFFIXES, "text": TEXT_SUFFIXES}
    counts = {what: sum(suffix in endings for suffix in suffixes) for what, endings in known.items()}
    most = max(counts, key=lambda what: counts[what])
    return most if counts[most] else ""


def listed(path: Path, suffixes: Collection[str], column: Kind, one: str, several: str) -> Parsed:
    """One row for each file with one of the suffixes, in ``column``; ``label`` and ``split`` where the layout has them.

    one, several: what messages call such a file. Raises DataError HS-DATA-002 where there is none.
    """
    import pyarrow as pa

    rejects: list[Reject] = []
    found = entries(path, lambda suffix: suffix in suffixes, one, rejects)
    if not found:
        raise DataError("HS-DATA-002", f"{path}: the folder holds no {several}.", "Put them into one folder a class.")
    columns: dict[str, pa.Array] = {column: pa.array([entry.path for entry in found])}
    if any(entry.label is not None for entry in found):
        columns["label"] = pa.array([entry.label for entry in found], pa.string())
    if any(entry.split is not None for entry in found):
        columns["split"] = pa.array([entry.split for entry in found], pa.string())
    gone = {reject.row for reject in rejects}
    numbers = [row for row in range(1, len(found) + len(rejects) + 1) if row not in gone]
    target = "label" if "label" in columns else None
    return Parsed(pa.table(columns), numbers, rejects, target, (column,), {column: column}, root=path)


def entries(folder: Path, wanted: Callable[[str], bool], what: str, rejects: list[Reject]) -> list[Entry]:
    """The wanted files in order of their paths; other files inside class folders go to ``rejects``.

    Row numbers count the files of the folder in that order.
    """
    names = list(_files(folder))
    splits = _split_folders(names)
    found: list[Entry] = []
    deep = any(len(Path(name).parts) > 1 + splits for name in names)
    number = 0
    for name in names:
        parts = Path(name).parts
        split = SPLITS[parts[0].lower()] if splits and len(parts) > 1 else None
        inner = parts[1:] if split else parts
        if deep and len(inner) < 2:
            continue  # a README beside the class folders
        number += 1
        if not wanted(Path(name).suffix.lower()):
            rejects.append(Reject(str(folder / name), number, f"not {what} file"))
            continue
        found.append(Entry(name, inner[0] if len(inner) > 1 else None, split))
    return found


def _split_folders(names: list[str]) -> bool:
    """Whether every folder directly below the root is called like a split."""
    tops = {Path(name).parts[0].lower() for name in names if len(Path(name).parts) > 1}
    return bool(tops) and tops <= SPLITS.keys()


def _files(folder: Path) -> Iterator[str]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        base = Path(root).relative_to(folder)
        for name in sorted(files):
            if not name.startswith(".") and name.lower() not in ("thumbs.db", "desktop.ini"):
                yield (base / name).as_posix()
