"""A folder of images: columns ``image`` (path below the folder), ``label`` and ``split`` where the layout has them."""

from __future__ import annotations

from pathlib import Path

from headstart.datasets import folder
from headstart.datasets.base import IMAGE_SUFFIXES
from headstart.datasets.parsed import Options, Parsed


def matches(path: Path) -> bool:
    """A folder most of whose files are images."""
    return folder.kind(path) == "image"


def parse(path: Path, options: Options) -> Parsed:
    """One row for each image; whether it decodes is checked later. Raises DataError HS-DATA-002."""
    return folder.listed(path, IMAGE_SUFFIXES, "image", "an image", "images")
