"""How a sound, or a part of one, is written as a single value.

A file by its path, and a part of it by its path and the seconds after ``#t=``, as media fragments are written on the
web (W3C, Media Fragments URI 1.0): ``talk.wav#t=1.5,4``, ``talk.wav#t=1.5``, ``talk.wav#t=,4``. A sound in memory is
held as the bytes of a sound file; numbers with a rate become those of a WAV file of 32-bit floats.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SOUND_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au"})
START, END = "start", "end"
"""Columns beside a path that say which seconds of the file a row means."""

_PART = re.compile(r"#t=([0-9.eE+-]*)(?:,([0-9.eE+-]*))?$")
_MAGIC = (b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"FORM", b".snd")


def spelled(path: str, start: float | None = None, end: float | None = None) -> str:
    """The part of a file from ``start`` to ``end`` seconds; None is the file's own beginning or end."""
    if start is None and end is None:
        return path
    ends = "" if end is None else f",{float(end)!r}"
    return f"{path}#t={'' if start is None else repr(float(start))}{ends}"


def parted(text: str) -> tuple[str, float | None, float | None]:
    """Path, start and end in seconds of what `spelled` wrote; the text itself where it names no part."""
    found = _PART.search(text)
    if found is None:
        return text, None, None
    try:
        start, end = (float(value) if value else None for value in found.groups())
    except ValueError:
        return text, None, None
    return text[: found.start()], start, end


def is_sound_path(text: str) -> bool:
    """Whether the text names a sound file that exists, or a part of one."""
    path = Path(parted(text)[0])
    return path.suffix.lower() in SOUND_SUFFIXES and path.is_file()


def is_sound(content: bytes) -> bool:
    """Whether the bytes begin like a sound file."""
    return content.startswith(_MAGIC) or (content.startswith(b"RIFF") and content[8:12] == b"WAVE")


def numbers(value: Any) -> tuple[Any, int] | None:
    """Values and rate of a sound given as ``(array, rate)`` or ``{"array": ..., "sampling_rate": ...}``, or None."""
    if isinstance(value, dict) and value.keys() >= {"array", "sampling_rate"} and value["array"] is not None:
        return value["array"], int(value["sampling_rate"])
    if isinstance(value, tuple) and len(value) == 2 and hasattr(value[0], "dtype") and hasattr(value[0], "shape"):
        return (value[0], int(value[1])) if isinstance(value[1], int) or hasattr(value[1], "dtype") else None
    return None


def floats(array: Any) -> np.ndarray:
    """[n], [n,C] or [C,n] of any number type as float32 [n,C], whole numbers scaled to -1..1. Raises ValueError."""
    import numpy as np

    values = np.asarray(array)
    if values.ndim not in (1, 2) or values.dtype.kind not in "fiu":
        raise ValueError(f"an array of shape {list(values.shape)} and type {values.dtype} is no sound")
    if values.dtype.kind in "iu":
        limits = np.iinfo(values.dtype)
        middle = 0 if values.dtype.kind == "i" else (limits.max + 1) / 2
        values = (values - middle) / (limits.max + 1 - middle)
    values = values.astype(np.float32, copy=False)
    if values.ndim == 1:
        return values[:, None]
    return values.T if values.shape[0] < values.shape[1] else values


def wav(array: Any, rate: int) -> bytes:
    """The bytes of a WAV file of 32-bit floats. Raises ValueError for what is no sound."""
    values = floats(array)
    if rate <= 0:
        raise ValueError(f"a rate of {rate} samples a second")
    channels, content = values.shape[1], values.astype("<f4").tobytes()
    layout = struct.pack("<HHIIHH", 3, channels, rate, rate * channels * 4, channels * 4, 32)
    head = b"WAVE" + b"fmt " + struct.pack("<I", len(layout)) + layout + b"data" + struct.pack("<I", len(content))
    return b"RIFF" + struct.pack("<I", len(head) + len(content)) + head + content
