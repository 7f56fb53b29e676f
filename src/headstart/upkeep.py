"""The size of the feature store, and what is removed from it: by age, by a limit, or because it is damaged.

The limit is ``HEADSTART_CACHE_SIZE`` (such as ``20GB``), else 20 GB or a tenth of the disk, whichever is less. Above
it the segments that were used longest ago go first. A store that a living process has open is passed over, so that
nothing is taken from under a fit: its own features may be more than the limit while it runs. Compiled graphs
(`headstart.graphs`) count towards the limit and go in the same order.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from headstart import graphs, locks, segments
from headstart.errors import UsageError
from headstart.segments import Damaged, Gone, Segment
from headstart.types import Json, cache_home

ABOUT = "about.json"  # source, output and precision of a store
IN_USE = ".in-use"  # every living `Store` holds a shared lock on it
DEFAULT = 20 * 10**9
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_EVERY = 256 << 20  # bytes written between two looks at the size
_unseen = _EVERY  # so that the first write of a process looks


@dataclass(frozen=True)
class Stored:
    """One store. used: seconds since the epoch when a segment was last written or read. open: by a living process."""

    source: str
    output: str
    precision: str
    rows: int
    bytes: int
    used: float
    open: bool
    path: str


@dataclass(frozen=True)
class _File:
    used: float
    size: int
    path: Path


def home() -> Path:
    """The folder of all stores."""
    return cache_home() / "features"


def stores() -> list[Stored]:
    """Every store, the one used last first."""
    found = []
    for folder in _folders():
        files, about = _files(folder), _about(folder)
        rows = sum(_count(file.path) for file in files)
        size, used = sum(file.size for file in files), max((file.used for file in files), default=0.0)
        open_ = locks.is_held(folder / IN_USE)
        words = (about["source"], about["output"], about["precision"])
        found.append(Stored(*words, rows, size, used, open_, str(folder)))
    return sorted(found, key=lambda each: -each.used)


def limit() -> int:
    """The size in bytes that the store may have. Raises UsageError HS-USAGE-001 for a bad ``HEADSTART_CACHE_SIZE``."""
    if text := os.environ.get("HEADSTART_CACHE_SIZE"):
        return size_of(text, "HEADSTART_CACHE_SIZE")
    place = cache_home()
    while not place.exists():
        place = place.parent
    return min(DEFAULT, shutil.disk_usage(place).total // 10)


def size_of(text: str, name: str) -> int:
    """``20GB``, ``500 MB``, ``1.5T`` or ``4GiB`` in bytes. Raises UsageError HS-USAGE-001 that names ``name``."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([KMGT]?)(I?)B?\s*", text, re.IGNORECASE)
    if match is None:
        raise UsageError("HS-USAGE-001", f'{name} got "{text}".', "Expected a size such as 20GB or 500MB.")
    number, unit, binary = match.groups()
    power = "KMGT".find(unit.upper()) + 1 if unit else 0
    return int(float(number) * (1024**power if binary else _UNITS[unit.upper()]))


def written(folder: Path, size: int) -> None:
    """Note that ``size`` bytes were stored in ``folder``; now and then, bring the whole store down to its limit."""
    global _unseen
    if not folder.is_relative_to(home()):
        return
    _unseen += size
    if _unseen >= _EVERY:
        _unseen = 0
        prune(to=limit())


def prune(*, to: int | None = None, older_than: float | None = None) -> Json:
    """Remove segments of stores that nobody has open: those unused for ``older_than`` days; the oldest, down to ``to``.

    Returns ``{"removed", "freed", "kept", "open"}``: files and bytes that went, bytes that stay, bytes of open stores.
    Files that cannot be removed stay, without an error.
    """
    with ExitStack() as held:
        free = _sizes(graphs.files())
        closed: list[Path] = []
        total, in_use = sum(file.size for file in free), 0
        for folder in _folders():
            files = _files(folder)
            total += sum(file.size for file in files)
            if _acquired(folder / IN_USE, held):
                _remove_partial(folder)
                free += _files(folder)
                closed.append(folder)
            else:
                in_use += sum(file.size for file in files)
        removed, freed = 0, 0
        for file in sorted(free, key=lambda file: file.used):
            old = older_than is not None and file.used < time.time() - older_than * 24 * 3600
            if old or (to is not None and total - freed > to):
                with suppress(OSError):
                    file.path.unlink()
                    removed, freed = removed + 1, freed + file.size
        for path in graphs.left_over():
            graphs.drop(path)
        for folder in closed:
            if not segments.listed(folder):
                _remove_folder(folder)
    return {"removed": removed, "freed": freed, "kept": total - freed, "open": in_use}


def verify() -> Json:
    """Compare segments and compiled graphs with their checksums; remove the damaged, and what killed processes left.

    Returns ``{"segments", "bytes", "damaged": [paths], "left_over": [paths]}``, the counts of what is sound. Rows that
    go are computed again when they are next needed.
    """
    count, size, damaged, left = 0, 0, [], []
    for folder in _folders():
        with ExitStack() as held:
            if _acquired(folder / IN_USE, held):
                left += _remove_partial(folder)
        for file in _files(folder):
            try:
                Segment(file.path).check(touch=False)
                count, size = count + 1, size + file.size
            except Damaged:
                damaged.append(str(file.path))
                with suppress(OSError):
                    file.path.unlink()
            except Gone:  # merged or evicted meanwhile
                continue
    for path in graphs.files():
        with suppress(OSError):
            length = path.stat().st_size
            if graphs.is_sound(path):
                count, size = count + 1, size + length
            else:
                damaged.append(str(path))
                graphs.drop(path)
    for path in graphs.left_over():
        left.append(str(path))
        graphs.drop(path)
    return {"segments": count, "bytes": size, "damaged": damaged, "left_over": left}


def info() -> Json:
    """``{"stores": [...], "bytes", "graphs", "limit", "folder"}``: what `stores` found, as plain JSON.

    graphs: bytes of the compiled graphs, which ``bytes`` contains.
    """
    found = stores()
    compiled = sum(file.size for file in _sizes(graphs.files()))
    return {
        "stores": [asdict(each) for each in found],
        "bytes": sum(each.bytes for each in found) + compiled,
        "graphs": compiled,
        "limit": limit(),
        "folder": str(home()),
    }


# --- files -------------------------------------------------------------------------------------------------------


def _folders() -> Iterator[Path]:
    """The folders of stores: of each source, one an output."""
    for folder in sorted(home().glob("*/*")) if home().is_dir() else []:
        if (folder / IN_USE).exists() or segments.listed(folder):
            yield folder


def _files(folder: Path) -> list[_File]:
    return _sizes([folder / name for name in segments.listed(folder)])


def _sizes(paths: Sequence[Path]) -> list[_File]:
    found = []
    for path in paths:
        with suppress(OSError):
            stat = path.stat()
            found.append(_File(stat.st_mtime, stat.st_size, path))
    return found


def _count(path: Path) -> int:
    try:
        return Segment(path).count
    except (Damaged, Gone, OSError):
        return 0


def _about(folder: Path) -> dict[str, str]:
    """What the store says of itself; without that, what the names of its folders say."""
    known = {"source": folder.parent.name.rpartition("-")[0], "output": folder.name, "precision": "unknown"}
    with suppress(OSError, ValueError, TypeError, AttributeError):
        known |= {key: str(value) for key, value in json.loads((folder / ABOUT).read_text()).items() if key in known}
    return known


def _acquired(path: Path, held: ExitStack) -> bool:
    """Lock a store against being opened, until ``held`` ends; False where a living process has it open."""
    try:
        handle = locks.acquire(path, wait=False)
    except OSError:
        return False
    if handle is not None:
        held.callback(os.close, handle)
    return handle is not None


def _remove_partial(folder: Path) -> list[str]:
    """Remove what killed writers left; only under the lock."""
    left = list(folder.glob(".*.part"))
    for path in left:
        with suppress(OSError):
            path.unlink()
    return [str(path) for path in left]


def _remove_folder(folder: Path) -> None:
    """Remove an empty store, and its source's folder where no other store and no claim is in it."""
    for name in (ABOUT, segments.LIST, segments.MERGE, IN_USE):
        with suppress(OSError):
            (folder / name).unlink()
    with suppress(OSError):
        folder.rmdir()
        claims = folder.parent / "claims"
        if not any(path != claims for path in folder.parent.iterdir()) and not any(claims.glob("*.claim")):
            shutil.rmtree(folder.parent, ignore_errors=True)
