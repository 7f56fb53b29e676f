"""A folder of sounds: columns ``audio`` (path below the folder), ``label`` and ``split`` where the layout has them."""

from __future__ import annotations

from pathlib import Path

from headstart.datasets import folder
from headstart.datasets.clip import SOUND_SUFFIXES
from headstart.datasets.parsed import Options, Parsed


def matches(path: Path) -> bool:
    """A folder most of whose files are sounds."""
    return folder.kind(path) == "audio"


def parse(path: Path, options: Options) -> Parsed:
    """One row for each sound; whether it decodes is checked later. Raises DataError HS-DATA-002."""
    return folder.listed(path, SOUND_SUFFIXES, "audio", "a sound", "sounds")
