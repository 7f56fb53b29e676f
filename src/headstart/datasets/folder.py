"""Folders of files: ``class/file``, ``train/class/file``, or files alone (rows without labels).

Hidden files are passed over. A folder is of images if most of its files are, of texts if most are texts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from headstart.datasets.base import IMAGE_SUFFIXES, Reject

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
    """``image``, ``text`` or an empty string, by the suffixes of the files."""
    if not folder.is_dir() or any((folder / name).is_file() for name in ("state.json", "dataset_dict.json")):
        return ""
    suffixes = [Path(name).suffix.lower() for name in _files(folder)]
    images = sum(suffix in IMAGE_SUFFIXES for suffix in suffixes)
    texts = sum(suffix in TEXT_SUFFIXES for suffix in suffixes)
    return "" if not images and not texts else "image" if images >= texts else "text"


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
