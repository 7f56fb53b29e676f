"""Debian packages as data: fetched with ``apt-get download`` and unpacked into a folder; nothing is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path


def unpacked(packages: Sequence[str], folder: Path) -> Path:
    """``folder`` with the files of the packages in it, as they would lie below /."""
    for package in packages:
        marker = folder / f".{package}"
        if marker.exists():
            continue
        work = folder / "fetched"
        work.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "-qq", package], cwd=work, check=True)
        for found in work.glob("*.deb"):
            subprocess.run(["dpkg", "-x", str(found), str(folder)], check=True)
        shutil.rmtree(work)
        marker.touch()
    return folder


def program(name: str, packages: Sequence[str], folder: Path) -> tuple[str, dict[str, str]]:
    """A program on the path, or out of the packages, and the environment in which it runs."""
    environment = dict(os.environ)
    found = shutil.which(name)
    if found is None:
        unpacked(packages, folder)
        libraries = sorted({str(path.parent) for path in folder.rglob("*.so*")})
        environment["LD_LIBRARY_PATH"] = ":".join(libraries)
        found = str(folder / "usr/bin" / name)
    return found, environment
