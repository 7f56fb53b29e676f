"""Features on disk, addressed by content.

A `Store` holds one output of one frozen source at one precision: ``pooled``, ``tokens`` or a layer. A row is found by
the digest of its input, so the same text or picture is never computed twice, in whichever table it stands. Rows
arrive in segments (`segments.py`), each whole or not there: a killed process loses the segment in flight and nothing
else, and several processes may write at once. Each segment is compared with its checksum when this process first
reads it; a damaged one is dropped and its rows count as missing. Many small segments are merged into a few.

While a `Store` lives it holds a shared lock on its folder, so that eviction (`upkeep.py`) passes it over.
"""

from __future__ import annotations

import hashlib
import json
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from headstart import disk, locks, segments, upkeep
from headstart.segments import Damaged, Gone, Segment

SMALL = 16 << 20  # bytes: segments below this are merged
MANY = 32  # once there are more of them than this
LARGE = 64 << 20  # into segments of about this size
_Rows = TypeVar("_Rows")


class Store:
    """One output of one source on disk. folder: where its segments lie. about: what `upkeep.stores` shows of it."""

    def __init__(self, folder: Path, about: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        self._about = about
        self._segments: dict[int, Segment] = {}
        self._numbers: dict[str, int] = {}  # file name -> number of the segment
        self._count = 0
        self._index = _Index()
        self._handle: int | None = None

    def missing(self, digests: np.ndarray) -> np.ndarray:
        """Positions [M] in ``digests`` [N] whose row is not stored; of equal digests the first alone.

        What is not named is stored whole: every segment concerned was compared with its checksum.
        """
        different, first = np.unique(digests, return_index=True)
        while True:
            self._refresh()
            found, where = self._index.find(different)
            if not self._drop_damaged(np.unique(where[found, 0])):
                return np.sort(first[~found])

    def append(self, digests: np.ndarray, rows: np.ndarray | Sequence[np.ndarray]) -> None:
        """Store rows [n,D], or for tokens n arrays [T_i,D]. Raises EnvironmentProblem on a full or closed disk."""
        self._use()
        made = segments.tensors(digests, rows)
        segments.write(self.folder, made)
        if self._about is not None and not (self.folder / upkeep.ABOUT).exists():
            disk.replace_text(self.folder / upkeep.ABOUT, json.dumps(dict(self._about)))
        upkeep.written(self.folder, sum(part.nbytes for parts in made.values() for part in parts))
        self._refresh()
        if sum(segment.nbytes < SMALL for segment in self._segments.values()) > MANY:
            self.compact()

    def rows(self, digests: np.ndarray) -> np.ndarray:
        """The stored rows [N,D] of these digests. Raises KeyError where one is missing (call `missing` first)."""
        return self._read(digests, self._rows)

    def ragged(self, digests: np.ndarray) -> list[np.ndarray]:
        """The stored token rows: a list of N arrays [T_i,D]. Raises KeyError where one is missing."""
        return self._read(digests, self._ragged)

    def compact(self) -> None:
        """Merge the small segments into large ones. Safe beside readers, writers and a kill; one process at a time."""
        handle = None
        with suppress(OSError):
            handle = locks.acquire(self.folder / segments.MERGE, wait=False)
        if handle is None:
            return
        try:
            group: list[Segment] = []
            for segment in [each for each in self._segments.values() if each.nbytes < SMALL]:
                group.append(segment)
                if sum(each.nbytes for each in group) >= LARGE:
                    self._merge(group)
                    group = []
            self._merge(group)
        finally:
            os.close(handle)
        self._refresh()

    # --- reading -----------------------------------------------------------------------------------------------

    def _read(self, digests: np.ndarray, read: Callable[[np.ndarray], _Rows]) -> _Rows:
        """What ``read`` makes of segment and row [N,2]; where a file vanishes meanwhile, rows are looked up anew."""
        while True:
            self._refresh()
            found, where = self._index.find(digests)
            if not found.all():
                raise KeyError(f"{int((~found).sum())} rows are not stored in {self.folder}")
            if self._drop_damaged(np.unique(where[:, 0])):
                continue
            try:
                return read(where)
            except (Gone, Damaged) as error:
                self._drop(self._numbers[str(error)])

    def _rows(self, where: np.ndarray) -> np.ndarray:
        out = np.empty((0, 0), np.float32)
        for number in np.unique(where[:, 0]):
            at = np.flatnonzero(where[:, 0] == number)
            values = self._segments[number].tensor("rows")
            if not out.size:
                out = np.empty((len(where), values.shape[1]), np.float32)
            out[at] = values[where[at, 1]]
        return out

    def _ragged(self, where: np.ndarray) -> list[np.ndarray]:
        out: list[np.ndarray] = [np.empty(0)] * len(where)
        for number in np.unique(where[:, 0]):
            values, lengths = self._segments[number].tensor("rows"), self._segments[number].tensor("lengths")
            ends = np.cumsum(lengths)
            for at in np.flatnonzero(where[:, 0] == number):
                row = where[at, 1]
                out[at] = np.array(values[ends[row] - lengths[row] : ends[row]])
        return out

    # --- index -------------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        """Bring the index up to date with the folder."""
        while True:
            names = self._listed()
            for name in self._numbers.keys() - set(names):
                self._drop(self._numbers[name])
            try:
                for name in [name for name in names if name not in self._numbers]:
                    self._add(self.folder / name)
                return
            except Gone:  # merged since it was listed: its rows stand elsewhere now
                continue

    def _listed(self) -> list[str]:
        if not self.folder.is_dir():
            return []
        self._use()
        try:
            with locks.holding(self.folder / segments.LIST, shared=True):  # a merge is seen before it or after it
                return segments.listed(self.folder)
        except OSError:  # a folder that we may only read
            return segments.listed(self.folder)

    def _add(self, path: Path) -> None:
        try:
            segment = Segment(path)
            digests = segment.digests()
        except Damaged:
            _remove(path)
            return
        self._segments[self._count] = segment
        self._numbers[path.name] = self._count
        self._index.add(digests, self._count)
        self._count += 1

    def _drop(self, number: int) -> None:
        self._numbers.pop(self._segments.pop(number).path.name)
        self._index.drop(number)

    def _drop_damaged(self, numbers: np.ndarray) -> bool:
        """Compare these segments with their checksums, drop those that differ or vanished; whether any did."""
        bad = False
        for number in numbers.tolist():
            try:
                self._segments[number].check()
            except (Damaged, Gone) as error:
                if isinstance(error, Damaged):
                    _remove(self._segments[number].path)
                self._drop(number)
                bad = True
        return bad

    # --- keeping order -----------------------------------------------------------------------------------------

    def _merge(self, group: Sequence[Segment]) -> None:
        if len(group) > 1:
            with suppress(Damaged, Gone):  # whoever reads it next drops it; the merge has time
                segments.merge(self.folder, group)

    def _use(self) -> None:
        """Hold the shared lock on the folder from now on."""
        if self._handle is None:
            with suppress(OSError):
                self.folder.mkdir(parents=True, exist_ok=True)
                self._handle = locks.acquire(self.folder / upkeep.IN_USE, shared=True)
                if self._handle is not None:
                    weakref.finalize(self, os.close, self._handle)


class _Index:
    """Digest -> segment and row. Sorted runs of growing size: adding a window does not sort everything again."""

    def __init__(self) -> None:
        self._runs: list[tuple[np.ndarray, np.ndarray]] = []  # digests [n] sorted, where [n,2] int32

    def add(self, digests: np.ndarray, number: int) -> None:
        order = np.argsort(digests, kind="stable")
        where = np.stack([np.full(len(order), number, np.int32), order.astype(np.int32)], axis=1)
        self._runs.append((digests[order], where))
        while len(self._runs) > 1 and len(self._runs[-2][0]) < 2 * len(self._runs[-1][0]):
            (one, here), (two, there) = self._runs.pop(-2), self._runs.pop()
            both = np.concatenate([one, two])
            order = np.argsort(both, kind="stable")
            self._runs.append((both[order], np.concatenate([here, there])[order]))

    def find(self, digests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """found [N] bool and where [N,2] int32 (segment, row) of each digest."""
        found, where = np.zeros(len(digests), bool), np.zeros((len(digests), 2), np.int32)
        for known, places in self._runs:
            if not len(known):
                continue
            open_ = np.flatnonzero(~found)
            at = np.minimum(np.searchsorted(known, digests[open_]), len(known) - 1)
            hit = known[at] == digests[open_]
            found[open_[hit]], where[open_[hit]] = True, places[at[hit]]
        return found, where

    def drop(self, number: int) -> None:
        kept = [(digests[where[:, 0] != number], where[where[:, 0] != number]) for digests, where in self._runs]
        self._runs = [run for run in kept if len(run[0])]


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def key(parts: dict[str, Any]) -> str:
    """A short folder name for a set of facts (source digest, preprocessing, precision, ...)."""
    return hashlib.blake2b(json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=10).hexdigest()
