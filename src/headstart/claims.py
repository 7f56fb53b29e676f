"""Who computes which rows: claims of processes that the kernel releases when their owner dies.

`Claims` keeps one small file for each group of rows that a process is computing, locked for as long as it does. A
process that is killed loses its locks with its life, so no claim outlives its owner and none needs a timeout.

    claims = Claims(folder)
    while len(rows := rows[store.missing(digests[rows])]):
        taken = 0
        for window in windows(rows):
            with claims.take(digests[window]) as mine:  # bool [n]: rows that no other process computes
                mine = window[mine]
                mine = mine[store.missing(digests[mine])]  # another may have finished them: read again under the claim
                compute and append(mine)
                taken += len(mine)
        if not taken:
            claims.wait(digests[rows])  # all that is left is being computed elsewhere

On a file system without locks everything is granted: then two processes may compute the same rows, and both are right.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from headstart import locks


class Claims:
    """The rows of one feature folder that processes are computing now. folder: of the source; claims lie inside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "claims"

    @contextmanager
    def take(self, digests: np.ndarray) -> Iterator[np.ndarray]:
        """A mask [N]: True for the digests ``digests`` [N] that are ours alone until the block ends. Never waits long.

        Rows that another process (or thread) holds are False; a row that it has finished is not known here, so ask
        `Store.missing` again inside the block.
        """
        path = self.folder / f"{uuid.uuid4().hex}.claim"
        handle = None
        mine = np.ones(len(digests), bool)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locks.holding(self.folder / "lock"):
                for _, theirs in self._held():
                    mine &= ~np.isin(digests, theirs)
                if mine.any():
                    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
                    locks.lock(handle)
                    path.write_bytes(digests[mine].astype("S32").tobytes())
        except OSError:
            pass  # a closed or full disk: what is computed will say so with a code when it is stored
        try:
            yield mine
        finally:
            if handle is not None:
                os.close(handle)
                with suppress(OSError):
                    path.unlink()

    def wait(self, digests: np.ndarray, pause: float = 0.05) -> None:
        """Return once a process that holds one of ``digests`` lets go of it; at once where none does."""
        try:
            with locks.holding(self.folder / "lock"):
                held = [path for path, theirs in self._held() if np.isin(digests, theirs).any()]
        except OSError:
            return
        while held and all(locks.is_held(path) for path in held):
            time.sleep(pause)
            pause = min(2 * pause, 0.5)

    def _held(self) -> Iterator[tuple[Path, np.ndarray]]:
        """The claims of the living with their digests; those of the dead are removed. Call it under the lock."""
        for path in sorted(self.folder.glob("*.claim")):
            if locks.is_held(path):
                with suppress(OSError):
                    raw = path.read_bytes()
                    yield path, np.frombuffer(raw[: len(raw) // 32 * 32], "S32")
            else:
                with suppress(OSError):
                    path.unlink()
