"""Features on disk, addressed by content.

A `Store` holds one output of one frozen source at one precision: ``pooled``, ``tokens`` or a layer. A row is found by
the digest of its input, so the same text or picture is never computed twice, in whichever table it stands. Rows
arrive in segments, each written beside its place and renamed: a killed process loses the segment in flight and
nothing else, and two processes may write at once. A damaged segment is dropped and its rows are computed again.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from headstart.disk import write_error

DIGEST = "S32"  # hex digest of one sample


class Store:
    """One output of one source on disk. folder: where its segments lie."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._segments: list[Path] = []
        self._digests = np.empty(0, DIGEST)  # sorted, all segments
        self._where = np.empty((0, 2), np.int64)  # segment, row of each digest
        self._seen: set[str] = set()

    def missing(self, digests: np.ndarray) -> np.ndarray:
        """Positions [M] in ``digests`` [N] whose row is not stored; of equal digests the first alone."""
        self._refresh()
        _, first = np.unique(digests, return_index=True)
        first = np.sort(first)
        stored, _ = self._found(digests[first])
        return np.asarray(first[~stored])

    def append(self, digests: np.ndarray, rows: np.ndarray | Sequence[np.ndarray]) -> None:
        """Store rows [n,D], or for tokens n arrays [T_i,D]. Raises EnvironmentProblem on a full or closed disk."""
        tensors: dict[str, np.ndarray]
        if isinstance(rows, np.ndarray):
            tensors = {"rows": np.ascontiguousarray(rows, dtype=np.float32)}
        else:
            tensors = {
                "rows": np.ascontiguousarray(np.concatenate(list(rows)), dtype=np.float32),
                "lengths": np.array([len(row) for row in rows], np.int64),
            }
        tensors["digests"] = np.frombuffer(digests.astype(DIGEST).tobytes(), np.uint8).reshape(-1, 32)
        name = f"segment-{uuid.uuid4().hex}.safetensors"
        part = self.folder / f".{name}.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file(tensors, part)
            part.replace(self.folder / name)
        except (OSError, SafetensorError) as error:
            part.unlink(missing_ok=True)
            raise write_error(error, self.folder) from error

    def rows(self, digests: np.ndarray) -> np.ndarray:
        """The stored rows [N,D] of these digests. Raises KeyError where one is missing (call `missing` first)."""
        segment, row = self._locate(digests)
        out: np.ndarray | None = None
        for number in np.unique(segment):
            at = np.flatnonzero(segment == number)
            with safe_open(self._segments[number], "numpy") as file:
                values = file.get_tensor("rows")
            if out is None:
                out = np.empty((len(digests), values.shape[1]), np.float32)
            out[at] = values[row[at]]
        return out if out is not None else np.empty((0, 0), np.float32)

    def ragged(self, digests: np.ndarray) -> list[np.ndarray]:
        """The stored token rows: a list of N arrays [T_i,D]."""
        segment, row = self._locate(digests)
        out: list[np.ndarray] = [np.empty(0)] * len(digests)
        for number in np.unique(segment):
            with safe_open(self._segments[number], "numpy") as file:
                values, lengths = file.get_tensor("rows"), file.get_tensor("lengths")
            ends = np.cumsum(lengths)
            for at in np.flatnonzero(segment == number):
                end = ends[row[at]]
                out[at] = values[end - lengths[row[at]] : end]
        return out

    # --- index -------------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        names = sorted(path.name for path in self.folder.glob("segment-*.safetensors")) if self.folder.is_dir() else []
        new = [name for name in names if name not in self._seen]
        digests, where = [self._digests], [self._where]
        for name in new:
            self._seen.add(name)
            path = self.folder / name
            try:
                with safe_open(path, "numpy") as file:
                    raw = file.get_tensor("digests")
            except (OSError, SafetensorError):
                path.unlink(missing_ok=True)  # damaged: its rows are computed again
                continue
            self._segments.append(path)
            digests.append(np.frombuffer(raw.tobytes(), DIGEST))
            rows = np.arange(len(raw))
            where.append(np.stack([np.full(len(raw), len(self._segments) - 1), rows], axis=1))
        if len(digests) > 1:
            merged, first = np.unique(np.concatenate(digests), return_index=True)
            self._digests, self._where = merged, np.concatenate(where)[first]

    def _found(self, digests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if len(self._digests) == 0:
            return np.zeros(len(digests), bool), np.zeros(len(digests), np.int64)
        at = np.minimum(np.searchsorted(self._digests, digests), len(self._digests) - 1)
        return self._digests[at] == digests, at

    def _locate(self, digests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self._refresh()
        found, at = self._found(digests)
        if not found.all():
            raise KeyError(f"{int((~found).sum())} rows are not stored in {self.folder}")
        return self._where[at, 0], self._where[at, 1]


def key(parts: dict[str, Any]) -> str:
    """A short folder name for a set of facts (source digest, preprocessing, precision, ...)."""
    return hashlib.blake2b(json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=10).hexdigest()
