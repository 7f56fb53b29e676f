"""Who computes which rows, and who uses which folder: locks between processes that the kernel releases on death.

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

On a file system without locks everything is granted: then two processes may compute the same rows twice, and both
results are right.
"""

from __future__ import annotations

import errno
import os
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

_BUSY = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_PAST_THE_END = 1 << 30  # Windows locks bytes, and locked bytes cannot be read: lock one that no claim has


def lock(handle: int, *, shared: bool = False, wait: bool = False) -> bool:
    """Lock an open file; it is released when the handle is closed, at the latest when the process dies.

    Returns False where another handle has it and ``wait`` is false. True, without a lock, on a file system that has
    none (and for shared locks on Windows).
    """
    if sys.platform == "win32":
        import msvcrt

        if shared:
            return True
        os.lseek(handle, _PAST_THE_END, os.SEEK_SET)
        while True:
            try:
                msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
                return True
            except OSError:
                if not wait:
                    return False
                time.sleep(0.05)
    import fcntl

    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(handle, kind if wait else kind | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _BUSY
    return True


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Wait for the lock on ``path`` (made if need be), hold it in the block. Raises OSError where it cannot be made."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        lock(handle, wait=True)
        if _is_at(handle, path):
            break
        os.close(handle)  # the file was removed while we waited: another one counts now
    try:
        yield
    finally:
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


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
            with exclusive(self.folder / "lock"):
                for _, theirs in self._held():
                    mine &= ~np.isin(digests, theirs)
                if mine.any():
                    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
                    lock(handle)
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
            with exclusive(self.folder / "lock"):
                held = [path for path, theirs in self._held() if np.isin(digests, theirs).any()]
        except OSError:
            return
        while held and all(_is_locked(path) for path in held):
            time.sleep(pause)
            pause = min(2 * pause, 0.5)

    def _held(self) -> Iterator[tuple[Path, np.ndarray]]:
        """The claims of the living with their digests; those of the dead are removed. Call it under the lock."""
        for path in sorted(self.folder.glob("*.claim")):
            if _is_locked(path):
                with suppress(OSError):
                    raw = path.read_bytes()
                    yield path, np.frombuffer(raw[: len(raw) // 32 * 32], "S32")
            else:
                with suppress(OSError):
                    path.unlink()


def _is_locked(path: Path) -> bool:
    """Whether some process holds the lock of this file."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return not lock(handle)
    finally:
        os.close(handle)
