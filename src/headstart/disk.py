"""Writing to disk: what the operating system refuses becomes one clear error, and nothing is left half written.

A file is written beside its place and renamed (`replacing`, `replace_text`); so is a folder (`workspace`, `settle`).
A full disk is HS-ENV-002, a missing permission HS-ENV-003, whoever says so: an error number, or the words of a tool
that keeps the number to itself (pip, safetensors).
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headstart.errors import EnvironmentProblem, HeadstartError

_PARTIAL = ".partial-"
_DAY = 24 * 3600
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_IN_THE_WAY = {errno.ENOTDIR, errno.EEXIST}
_NUMBER = re.compile(r"os error (\d+)\)|\[Errno (\d+)\]")
_MEND_FULL = "Free some space, or point --out or HEADSTART_HOME to another disk; the same command then goes on."
_MEND_DENIED = "Change its permissions, or point --out or HEADSTART_HOME to a folder that is yours."


def refusal(error: BaseException | str, path: Path | None = None) -> EnvironmentProblem | None:
    """The error for a full disk or a missing permission at ``path``; None where ``error`` says neither.

    error: an exception, which may be a library's own, or the words that a tool printed.
    """
    text = str(error)
    numbers = {int(number) for pair in _NUMBER.findall(text) for number in pair if number}
    if isinstance(error, OSError) and error.errno is not None:
        numbers = {error.errno}
        path = path or (Path(str(error.filename)) if error.filename else None)
    place = f"{path}: " if path is not None else ""
    if numbers & _FULL or "No space left" in text or "quota exceeded" in text:
        return EnvironmentProblem("HS-ENV-002", f"{place}the disk is full.", _MEND_FULL)
    if numbers & _DENIED or "Permission denied" in text or "Read-only file system" in text:
        return EnvironmentProblem("HS-ENV-003", f"{place}no permission to read or write.", _MEND_DENIED)
    return None


def write_error(error: Exception, path: Path) -> EnvironmentProblem:
    """An error on writing ``path`` as one with a code: `refusal`, else HS-ENV-003 with the system's own words."""
    if isinstance(error, EnvironmentProblem):
        return error
    if (known := refusal(error, path)) is not None:
        return known
    number = error.errno if isinstance(error, OSError) else None
    why = "a file is in the way" if number in _IN_THE_WAY else (isinstance(error, OSError) and error.strerror) or error
    return EnvironmentProblem("HS-ENV-003", f"{path}: cannot be written ({why}).", _MEND_DENIED)


@contextmanager
def guard(path: Path) -> Iterator[None]:
    """Turn refusals of the disk below ``path`` into EnvironmentProblem HS-ENV-002 or HS-ENV-003.

    Other errors pass as they are, so that the block may read and compute as well as write.
    """
    try:
        yield
    except HeadstartError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _IN_THE_WAY:
            raise write_error(error, path) from error
        problem = refusal(error, path)
        if problem is None:
            raise
        raise problem from error


@contextmanager
def replacing(place: Path) -> Iterator[Path]:
    """A path beside ``place`` to write a file to; renamed to ``place`` where the block ends well, else removed.

    The parent folder is made. Raises EnvironmentProblem HS-ENV-002 or HS-ENV-003 for every error of the system.
    """
    partial = place.with_name(f".{place.name}.{os.getpid()}-{threading.get_native_id()}.part")  # one for each writer
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(place)
    except HeadstartError:
        raise
    except Exception as error:
        if not isinstance(error, OSError) and refusal(error) is None:
            raise
        raise write_error(error, place) from error
    finally:
        _remove(partial)


def replace_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file whole or not at all. Raises EnvironmentProblem HS-ENV-002 or HS-ENV-003."""
    with replacing(Path(path)) as partial:
        partial.write_text(text, encoding="utf-8", errors="replace", newline="\n")


@contextmanager
def workspace(beside: Path) -> Iterator[Path]:
    """A temporary folder in the parent of ``beside``, so that what is made in it can be renamed into place.

    It is removed at the end; folders that killed processes left more than a day ago are removed as well.
    """
    with guard(beside.parent):
        beside.parent.mkdir(parents=True, exist_ok=True)
        for old in beside.parent.glob(f"{_PARTIAL}*"):
            _remove_old(old)
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


def _remove_old(folder: Path) -> None:
    try:
        old = time.time() - folder.stat().st_mtime > _DAY
    except FileNotFoundError:  # another process was faster
        return
    if old:
        shutil.rmtree(folder, ignore_errors=True)


def _remove(path: Path) -> None:
    with suppress(OSError):  # the folder is closed to us, or is no folder: then nothing was written either
        path.unlink(missing_ok=True)
