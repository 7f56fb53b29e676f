"""What this machine has, what is missing, and the pip line for it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from headstart import __version__
from headstart.console import Answer
from headstart.types import cache_home

ESSENTIAL = (
    "torch",
    "torchvision",
    "transformers",
    "timm",
    "datasets",
    "pyarrow",
    "accelerate",
    "safetensors",
    "scikit-learn",
    "numpy",
)
BACKENDS = {
    "openvino": ("openvino", "the fastest on most x86 CPUs"),
    "onnxruntime": ("onnx", "fast where bf16 is not native"),
}
"""Package of an optional backend: the extra that installs it, and what it is good for."""

SOUND = {"soundfile": ("audio", "reads sound files"), "soxr": ("audio", "brings sounds to one rate")}
"""The same of what sounds need."""

TABLES = {
    "rtdl_num_embeddings": ("tables", "networks of tables: pretrain TABLE --target"),
    "tabicl": ("tabicl", "tables in context: --source tabicl"),
    "tabpfn": ("tabpfn", "tables in context: --source tabpfn"),
}


@dataclass(frozen=True)
class Check:
    """One line: state is ``ok``, ``note`` (could be better) or ``broken`` (Headstart cannot work)."""

    group: str
    name: str
    state: Literal["ok", "note", "broken"]
    value: str
    mend: str = ""


def answer() -> Answer:
    """All checks as a table; the exit status is 1 where something essential is broken."""
    checks = list(examine())
    broken = [check for check in checks if check.state == "broken"]
    rows = [[check.group, check.name, check.state, check.value, check.mend] for check in checks]
    text = f"{len(broken)} essential parts are broken." if broken else "Everything essential works."
    data = {"ok": not broken, "checks": [asdict(check) for check in checks]}
    return Answer(data, text, ("", "", "state", "value", "to mend"), rows, status=1 if broken else 0)


def examine() -> Iterator[Check]:
    """Every check, in the order in which a person reads them."""
    yield Check("system", "headstart", "ok", __version__)
    yield Check("system", "python", "ok", f"{platform.python_version()} ({sys.executable})")
    yield Check("system", "platform", "ok", platform.platform())
    yield from packages()
    yield from devices()
    yield torchvision()
    yield from storage()


def packages() -> Iterator[Check]:
    """Versions of what is needed, and the optional backends."""
    for name in ESSENTIAL:
        found = _version(name)
        mend = "" if found else f"pip install {name}"
        yield Check("packages", name, "ok" if found else "broken", found or "missing", mend)
    for group, optional in (("backends", BACKENDS), ("sound", SOUND), ("tables", TABLES)):
        for name, (extra, use) in optional.items():
            found = _version(name)
            mend = "" if found else f"pip install 'headstart[{extra}]'"
            yield Check(group, name, "ok" if found else "note", found or f"missing: {use}", mend)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def devices() -> Iterator[Check]:
    """Cores, the CPU's instructions for bfloat16, GPUs."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    fast = sorted(cpu_flags() & {"amx_bf16", "avx512_bf16", "avx512f", "avx2"})
    half = "bf16 is fast here" if {"amx_bf16", "avx512_bf16"} & set(fast) else "fp32: no bf16 instructions"
    yield Check("devices", "cpu", "ok", f"{cores} cores; {', '.join(fast) or 'no vector flags known'}; {half}")
    if find_spec("torch") is None:
        return
    import torch

    yield Check("devices", "threads", "ok", f"torch uses {torch.get_num_threads()}")
    for index in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(index).total_memory
        yield Check("devices", f"cuda:{index}", "ok", f"{torch.cuda.get_device_name(index)}, {_size(memory)}")
    if torch.backends.mps.is_available():
        yield Check("devices", "mps", "ok", "Apple GPU")
    if torch.cuda.device_count() == 0 and not torch.backends.mps.is_available():
        yield Check("devices", "gpu", "note", "none: everything runs on the CPU")


def cpu_flags() -> set[str]:
    """The CPU's instruction sets as Linux names them; empty on other systems."""
    place = Path("/proc/cpuinfo")
    if not place.exists():
        return set()
    for line in place.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.lower().startswith("flags"):
            return set(line.partition(":")[2].split())
    return set()


def torchvision() -> Check:
    """Whether torchvision's operators load, or are healed beside a torch that they were not compiled for."""
    if find_spec("torchvision") is None:
        return Check("vision", "torchvision", "broken", "missing", "pip install torchvision")
    try:
        from headstart.sources.torchvision_compat import heal

        healed = heal()
        import torch
        import torchvision  # noqa: F401

        kept = torch.ops.torchvision.nms(torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 1.9]]), torch.tensor([0.9, 0.8]), 0.5)
    except (ImportError, OSError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        return Check(
            "vision", "torchvision", "broken", first, "Install torch and torchvision of one release and build."
        )
    if kept.tolist() != [0]:
        return Check("vision", "torchvision", "broken", "nms gives wrong results", "Reinstall torchvision.")
    return Check("vision", "torchvision", "ok", "operators supplied by headstart" if healed else "compiled operators")


def storage() -> Iterator[Check]:
    """The cache folder: whether it can be written, what is in it, what is free."""
    home = cache_home()
    problem = _unwritable(home)
    mend = "Point HEADSTART_HOME to a folder that you can write." if problem else ""
    yield Check("storage", "cache", "broken" if problem else "ok", f"{home}{problem}", mend)
    if problem:
        return
    for part in sorted(path for path in home.iterdir() if path.is_dir()):
        yield Check("storage", f"  {part.name}", "ok", _size(_bytes(part)))
    free = shutil.disk_usage(home).free
    low = free < 2 * 1024**3
    yield Check(
        "storage", "free", "note" if low else "ok", _size(free), "Features of large data need room." if low else ""
    )


def _unwritable(folder: Path) -> str:
    """Empty, or why nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return f" cannot be written: {error.strerror}"


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TB"
