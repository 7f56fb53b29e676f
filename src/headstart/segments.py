"""The files of the feature store: immutable safetensors files whose names carry the checksum of their bytes.

``segment-<unique>-<crc32>.safetensors`` holds ``rows`` [n,D] float32 (for tokens [sum of T_i,D] and ``lengths`` [n])
and ``digests`` [n,32]. A file is written beside its place and renamed, and never changed afterwards: one that is
truncated, or differs by a bit, no longer fits its name. zlib's CRC-32 runs at 6 GB/s on the development machine,
SHA-256 at 1.6 and BLAKE2b at 0.6, and what it guards against is damage, not malice.
"""

from __future__ import annotations

import errno
import json
import os
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from headstart import disk, locks

DIGEST = "S32"  # hex digest of one sample
PREFIX, SUFFIX = "segment-", ".safetensors"
LIST = ".list"  # locked while names change place
MERGE = ".merge"  # locked by the one process that merges
_TYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8"), "U8": np.dtype("u1")}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}
_CHUNK = 1 << 20


class Damaged(Exception):
    """The file is not what was written. Internal: the store drops it and its rows are computed again."""


class Gone(Exception):
    """The file is there no more: merged into another, or evicted. Internal."""


class Segment:
    """One file, read through a memory map. Raises `Damaged` or `Gone`, here and in every method.

    count: n rows. nbytes: size of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checked = False
        with _reading(path), path.open("rb") as file:
            self.nbytes = os.fstat(file.fileno()).st_size
            self._tensors = _header(file, self.nbytes)
            self.count = self._tensors["digests"][1][0]

    def check(self, touch: bool = True) -> None:
        """Compare the bytes with the checksum in the name; once only. ``touch``: mark the file as used now."""
        if self.checked:
            return
        crc = 0
        with _reading(self.path), self.path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                crc = zlib.crc32(chunk, crc)
        if not self.path.stem.endswith(f"-{crc:08x}"):
            raise Damaged(self.path.name)
        if touch:
            with suppress(OSError):
                os.utime(self.path)  # mounts rarely keep the time of access, so the time of writing stands for it
        self.checked = True

    def tensor(self, name: str) -> np.ndarray:
        """One tensor as a read-only map of the file: pages are read as they are used, and go with the array."""
        dtype, shape, offset = self._tensors[name]
        if 0 in shape:
            return np.empty(shape, dtype)
        with _reading(self.path):
            return np.memmap(self.path, dtype, "r", offset, tuple(shape))

    def digests(self) -> np.ndarray:
        """The digests [n] of the rows, in their order."""
        return np.frombuffer(self.tensor("digests").tobytes(), DIGEST)

    @property
    def ragged(self) -> bool:
        """Whether the rows are sequences of their own lengths."""
        return "lengths" in self._tensors


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """A missing file as `Gone`; a bad sector, or content without sense, as `Damaged`; other errors as they are."""
    try:
        yield
    except FileNotFoundError as error:
        raise Gone(path.name) from error
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        raise Damaged(path.name) from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise Damaged(path.name) from error


def listed(folder: Path) -> list[str]:
    """The names of the segments in a folder, sorted."""
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.name.startswith(PREFIX) and e.name.endswith(SUFFIX))
    except (FileNotFoundError, NotADirectoryError):
        return []


def write(folder: Path, tensors: Mapping[str, Sequence[np.ndarray]], replaces: Sequence[Segment] = ()) -> Path:
    """Write a segment; each tensor comes in parts that are joined along the first axis. Returns its path.

    replaces: segments that go in the same moment, for everyone who lists the folder under a shared lock on `LIST`.
    Raises EnvironmentProblem HS-ENV-002 or HS-ENV-003 on a full or closed disk; then nothing is left of it.
    """
    unique, crc = uuid.uuid4().hex, 0
    partial = folder / f".{unique}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            for block in _blocks(tensors):
                crc = zlib.crc32(block, crc)
                file.write(block)
        place = folder / f"{PREFIX}{unique}-{crc:08x}{SUFFIX}"
        if replaces:
            with locks.holding(folder / LIST):
                partial.replace(place)
                for segment in replaces:
                    segment.path.unlink(missing_ok=True)
        else:
            partial.replace(place)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError):
            raise disk.write_error(error, folder) from error
        raise
    return place


def merge(folder: Path, segments: Sequence[Segment]) -> Path:
    """Write one segment with the rows of several, each row once, in their place.

    Every file is checked first, so that damage is not copied under a good name. A kill between the steps leaves some
    rows twice, which does no harm. Raises `Damaged`, `Gone` and what `write` raises.
    """
    for segment in segments:
        segment.check()
    digests = [segment.digests() for segment in segments]
    every = np.concatenate(digests)
    keep = np.zeros(len(every), bool)
    keep[np.unique(every, return_index=True)[1]] = True
    parts: dict[str, list[np.ndarray]] = {"rows": [], "digests": []}
    start = 0
    for segment, own in zip(segments, digests):
        mine = keep[start : start + len(own)]
        start += len(own)
        chosen = mine
        if segment.ragged:
            lengths = segment.tensor("lengths")
            parts.setdefault("lengths", []).append(lengths[mine])
            chosen = np.repeat(mine, lengths)
        rows = segment.tensor("rows")
        parts["rows"].append(rows if chosen.all() else rows[chosen])
        parts["digests"].append(_bytes(own[mine]))
    return write(folder, parts, replaces=segments)


def tensors(digests: np.ndarray, rows: np.ndarray | Sequence[np.ndarray]) -> dict[str, list[np.ndarray]]:
    """What `write` takes for ``rows`` [n,D], or for tokens n arrays [T_i,D]."""
    made = {"digests": [_bytes(digests)]}
    if isinstance(rows, np.ndarray):
        return made | {"rows": [np.asarray(rows, np.float32)]}
    lengths = np.array([len(row) for row in rows], np.int64)
    return made | {"rows": [np.asarray(np.concatenate(list(rows)), np.float32)], "lengths": [lengths]}


def _bytes(digests: np.ndarray) -> np.ndarray:
    return np.frombuffer(digests.astype(DIGEST).tobytes(), np.uint8).reshape(-1, 32)


def _blocks(tensors: Mapping[str, Sequence[np.ndarray]]) -> Iterator[Any]:
    """The bytes of a safetensors file: length of the header, header, tensors. The widest type comes first."""
    named = sorted(tensors.items(), key=lambda item: -item[1][0].dtype.itemsize)
    described: dict[str, Any] = {}
    offset = 0
    for name, parts in named:
        size = sum(part.nbytes for part in parts)
        shape = [sum(len(part) for part in parts), *parts[0].shape[1:]]
        described[name] = {"dtype": _NAMES[parts[0].dtype], "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    header = json.dumps(described).encode()
    header += b" " * (-len(header) % 8)
    yield len(header).to_bytes(8, "little") + header
    for _, parts in named:
        for part in parts:
            yield np.ascontiguousarray(part).reshape(-1).view(np.uint8)


def _header(file: IO[bytes], size: int) -> dict[str, tuple[np.dtype[Any], list[int], int]]:
    """Name -> type, shape and place of each tensor. Raises ValueError, KeyError or TypeError for a damaged file."""
    length = int.from_bytes(file.read(8), "little")
    if not 0 < length < size:
        raise ValueError("the header is longer than the file")
    found: dict[str, tuple[np.dtype[Any], list[int], int]] = {}
    end = 8 + length
    for name, entry in json.loads(file.read(length)).items():
        dtype, shape = _TYPES[entry["dtype"]], [int(axis) for axis in entry["shape"]]
        begin, stop = (8 + length + int(offset) for offset in entry["data_offsets"])
        if stop - begin != dtype.itemsize * int(np.prod(shape)) or stop > size:
            raise ValueError("a tensor does not fit the file")
        found[name], end = (dtype, shape, begin), max(end, stop)
    if end != size or not {"rows", "digests"} <= found.keys():
        raise ValueError("the file has another size than its tensors")
    return found
