"""Locks between processes that the kernel releases when their owner dies (``flock``; on Windows a locked byte).

On a file system without locks every lock is granted.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BUSY = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_PAST_THE_END = 1 << 30  # Windows locks bytes, and locked bytes cannot be read: lock one that no file has


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


def acquire(path: Path, *, shared: bool = False, wait: bool = True) -> int | None:
    """A locked handle on ``path`` (made if need be), for the caller to close; None where others have it.

    Raises OSError where the file cannot be made.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            locked = lock(handle, shared=shared, wait=wait)
            if locked and _is_at(handle, path):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        if not locked:
            return None  # else the file was removed while we waited: another one counts now


@contextmanager
def holding(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Wait for the lock on ``path``, hold it in the block. Raises OSError where the file cannot be made."""
    handle = acquire(path, shared=shared)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def is_held(path: Path) -> bool:
    """Whether some process, ours included, holds the lock on this file."""
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return not lock(handle)
    finally:
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False
