"""Compiled graphs on disk, so that a process opens in a quarter of a second what took another three to compile.

A graph is one file, ``<key>-<crc>.graph`` in the folder ``runtime`` of the cache. The key covers all that it was made
from (`headstart.cache.key` of the weights' digest, the settings, the versions, the processor ...), so that another
version finds nothing; the CRC-32 of its bytes is in the name, so that a damaged file is noticed, dropped and made anew.
Files appear whole or not at all. Nothing here can fail a job: a graph that cannot be kept is made anew the next time.
"""

from __future__ import annotations

import os
import time
import zlib
from contextlib import suppress
from pathlib import Path

from headstart.disk import replacing
from headstart.errors import EnvironmentProblem
from headstart.types import cache_home

SUFFIX = ".graph"
_HOUR = 3600.0


def home() -> Path:
    """The folder of the graphs."""
    return cache_home() / "runtime"


def find(key: str) -> bytes | None:
    """The graph that was kept under ``key``, whole; None where there is none."""
    for path in home().glob(f"{key}-*{SUFFIX}"):
        try:
            content = path.read_bytes()
        except OSError:  # pruned meanwhile
            continue
        if _name(key, content) == path.name:
            with suppress(OSError):
                os.utime(path)  # the time of use: what is unused longest is pruned first
            return content
        drop(path)
    return None


def keep(key: str, content: bytes) -> None:
    """Keep a graph, in place of others of the same key; without an error where the disk refuses it."""
    place = home() / _name(key, content)
    with suppress(EnvironmentProblem):
        with replacing(place) as partial:
            partial.write_bytes(content)
        for other in home().glob(f"{key}-*{SUFFIX}"):
            if other != place:
                drop(other)


def discard(key: str) -> None:
    """Drop what was kept under ``key``: the backend could not read it."""
    for path in home().glob(f"{key}-*{SUFFIX}"):
        drop(path)


def files() -> list[Path]:
    """Every graph."""
    return sorted(path for path in home().glob(f"*{SUFFIX}") if not path.name.startswith("."))


def is_sound(path: Path) -> bool:
    """Whether the bytes are those that were written. Raises FileNotFoundError where another process removed it."""
    return _name(path.name.rpartition("-")[0], path.read_bytes()) == path.name


def left_over() -> list[Path]:
    """What killed writers left: files that are half written and have not grown for an hour."""
    found = []
    for path in home().glob(f".*{SUFFIX}.*.part"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _HOUR:
                found.append(path)
    return found


def drop(path: Path) -> None:
    """Remove a file, without an error where that cannot be."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _name(key: str, content: bytes) -> str:
    return f"{key}-{zlib.crc32(content):08x}{SUFFIX}"
