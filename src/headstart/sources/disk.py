"""Writing to disk: what the operating system refuses becomes one clear error, and nothing is left half written."""

from __future__ import annotations

import errno
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headstart.errors import EnvironmentProblem

_PARTIAL = ".partial-"
_DAY = 24 * 3600


@contextmanager
def guard(path: Path) -> Iterator[None]:
    """Turn refusals of the disk below ``path`` into EnvironmentProblem HS-ENV-002 (full) or HS-ENV-003 (permission)."""
    try:
        yield
    except EnvironmentProblem:
        raise
    except OSError as error:
        problem = refusal(path, error.errno, str(error))
        if problem is None:
            raise
        raise problem from error


def refusal(path: Path, number: int | None, text: str) -> EnvironmentProblem | None:
    """The error for a full disk or a missing permission, by error number or by the words of a tool; else None."""
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in text or "quota exceeded" in text:
        return EnvironmentProblem(
            "HS-ENV-002", f"the disk that holds {path} is full.", "Free some space, or set HEADSTART_HOME elsewhere."
        )
    denied = number in (errno.EACCES, errno.EPERM, errno.EROFS)
    if denied or "Permission denied" in text or "Read-only file system" in text:
        return EnvironmentProblem(
            "HS-ENV-003", f"{path} cannot be written.", "Change its permissions, or set HEADSTART_HOME elsewhere."
        )
    if number in (errno.ENOTDIR, errno.EEXIST):
        return EnvironmentProblem("HS-ENV-003", f"{path} cannot be a folder: a file is in the way.", "Move it away.")
    return None


@contextmanager
def workspace(beside: Path) -> Iterator[Path]:
    """A temporary folder in the parent of ``beside``, so that what is made in it can be renamed into place.

    It is removed at the end; folders that killed processes left more than a day ago are removed as well.
    """
    with guard(beside.parent):
        beside.parent.mkdir(parents=True, exist_ok=True)
        for old in beside.parent.glob(f"{_PARTIAL}*"):
            if time.time() - old.stat().st_mtime > _DAY:
                shutil.rmtree(old, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=beside.parent))
    try:
        with guard(beside):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def settle(made: Path, place: Path) -> None:
    """Rename ``made`` to ``place``. Where another process was faster, its result stays and ``made`` is dropped."""
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        made.replace(place)
    except OSError:
        if not place.exists():
            raise
