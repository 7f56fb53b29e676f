"""Sounds of any format, rate and number of channels as one channel of numbers; and why one cannot be used.

A row is left out, by name, where its sound

- does not exist, has zero bytes, or cannot be decoded to its end (a WAV file shorter than its header says, an Ogg file
  without its last page, an MP3 file with fewer frames than it promises);
- is shorter than a hundredth of a second;
- is silent: after mixing down nothing exceeds a ten-thousandth of full scale (-80 dB);
- is clipped: more than a fifth of its samples lie at full scale. A full-scale sine has one in 35 there, overdriven
  speech that is still understood one in ten;
- holds values that are not numbers.

What was found is remembered by path, size and time, so a second look at the same files costs nothing.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.datasets import clip, store
from headstart.errors import DataError, SourceError, missing_package
from headstart.types import Sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

SHORTEST = 0.01  # seconds
SILENT = 1e-4  # of full scale
FULL, CLIPPED = 0.999, 0.2  # of full scale; share of the samples
BEYOND = 0.1  # seconds by which a part may end after its file does
PIECE = 1 << 21  # samples of each channel that are decoded at a time
_STREAMED = 0xFFFFFF00  # lengths from here on mean "not known" in a WAV header
_LAST_PAGE = 1 << 17  # bytes at the end of an Ogg file in which its last page begins


def reason(sound: str | bytes) -> str:
    """Why a sound (path, part of a file, or content) cannot be used, or an empty string."""
    if isinstance(sound, bytes) and not sound:
        return "the sound has zero bytes"
    if isinstance(sound, str):
        path = Path(clip.parted(sound)[0])
        if not path.is_file():
            return "the sound file does not exist"
        if not path.stat().st_size:
            return "the sound has zero bytes"
    try:
        return _unusable(_pieces(sound))
    except PermissionError:
        return "no permission to read the sound"
    except DataError as error:
        return error.message.partition(": ")[2].rstrip(".") or error.message


def _unusable(pieces: Iterator[tuple[np.ndarray, int]]) -> str:
    """What `reason` says of a sound that can be decoded; an hour of it is never in memory at once."""
    import numpy as np

    length, full, shortest = 0, 0, 0.0
    highest, finite = 0.0, True
    for values, rate in pieces:
        size, shortest = np.abs(values), SHORTEST * rate
        length, full = length + len(size), full + int((size >= FULL).sum())
        finite = finite and bool(np.isfinite(size).all())
        highest = max(highest, float(size.max(initial=0.0)))
    if length < shortest:
        return f"the sound is empty (shorter than {SHORTEST:g} s)"
    if not finite:
        return "the sound holds values that are not finite"
    if highest < SILENT:
        return "the sound is silent (nothing exceeds -80 dB)"
    share = full / length
    return f"the sound is clipped ({share:.0%} of it lies at full scale)" if share > CLIPPED else ""


def broken(sounds: Sequence[str]) -> dict[int, str]:
    """Position -> reason for the sounds that cannot be used; two threads, remembered on disk."""
    paths = [Path(clip.parted(sound)[0]) for sound in sounds]
    key = store.digest("sounds", [path for path in paths if path.is_file()], list(sounds))
    found = store.remember(key, lambda: _check(sounds))
    return {int(position): why for position, why in found.items()}


def broken_bytes(sounds: Sequence[bytes]) -> dict[int, str]:
    """Position -> reason for encoded sounds that cannot be used."""
    return {int(position): why for position, why in _check(sounds).items()}


def _check(sounds: Sequence[str] | Sequence[bytes]) -> dict[str, str]:
    library()  # a missing package is one error, not one for each row
    with ThreadPoolExecutor(2) as pool:
        return {str(i): why for i, why in enumerate(pool.map(reason, sounds)) if why}


# --- decoding ----------------------------------------------------------------------------------------------------


def library() -> Any:
    """The module soundfile. Raises EnvironmentProblem HS-ENV-001 with the pip line where it is missing."""
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: without the C library that it wraps
        raise missing_package("soundfile", "audio") from error
    return soundfile


def read(sample: Sample, first: float | None = None, last: float | None = None) -> tuple[np.ndarray, int]:
    """One channel [n] of float32 (the mean of the channels) and its rate in samples a second.

    sample: a path or part of a file, the bytes of a file, ``(array, rate)``, or a dict with ``array`` and
    ``sampling_rate``, ``bytes`` or ``path``. first, last: the seconds of it that are wanted; of a file no more is
    decoded, and whether the rest is whole is not looked at. Raises DataError HS-DATA-013 that names the file for what
    cannot be decoded to its end, SourceError HS-SOURCE-005 for what is no sound at all, EnvironmentProblem HS-ENV-001.
    """
    import numpy as np

    pieces = list(_pieces(sample, first, last))
    return np.concatenate([values for values, _ in pieces]), pieces[0][1]


def _pieces(sample: Sample, first: float | None = None, last: float | None = None) -> Iterator[tuple[np.ndarray, int]]:
    """What `read` gives, at most `PIECE` samples at a time; the first piece may be empty."""
    if (given := clip.numbers(sample)) is not None:
        try:
            values, rate = clip.floats(given[0]).mean(axis=1), given[1]
        except ValueError as error:
            raise DataError("HS-DATA-013", f"a sound in memory: {error}.", "Give [n] or [n,C] numbers.") from error
        yield values[round((first or 0.0) * rate) : None if last is None else round(last * rate)], rate
        return
    name, start, end = _name(sample)
    if first is not None or last is not None:
        begun = start or 0.0
        start, end = begun + (first or 0.0), end if last is None else begun + last
    with _opened(sample, name) as file:
        rate, promised = int(file.samplerate), int(file.frames)
        first, last = _ends(name, start, end, promised / rate)
        whole, found = start is None and end is None, 0
        left = None if whole else max(0, round(last * rate) - round(first * rate))
        if not whole:
            file.seek(round(first * rate))
        values = file.read(0, dtype="float32", always_2d=True)
        while True:
            yield values.mean(axis=1), rate
            values = file.read(PIECE if left is None else min(PIECE, left - found), dtype="float32", always_2d=True)
            found += len(values)
            if not len(values):
                break
        if whole and (why := _cut_off(file, promised, found) or _unfinished(sample, file.format)):
            raise _damaged(name, why)


def seconds(sample: Sample) -> float:
    """How long a sound is, from its header; 0 where that cannot be read (decoding it will say why)."""
    if (given := clip.numbers(sample)) is not None:
        shape = getattr(given[0], "shape", (len(given[0]),))
        return max(shape, default=0) / given[1]
    try:
        name, start, end = _name(sample)
        with _opened(sample, name) as file:
            whole = file.frames / file.samplerate
    except DataError:
        return 0.0
    return float(max(0.0, (whole if end is None else min(end, whole)) - (start or 0.0)))


def _name(sample: Sample) -> tuple[str, float | None, float | None]:
    """What messages call the sound, and which seconds of it are meant."""
    content = _content(sample)
    return ("a sound given as bytes", None, None) if isinstance(content, bytes) else clip.parted(content)


def _content(sample: Sample) -> str | bytes:
    if isinstance(sample, dict) and (sample.get("bytes") or sample.get("path")):
        sample = sample.get("bytes") or sample["path"]
    if isinstance(sample, str | Path):
        return str(sample)
    if isinstance(sample, bytes):
        return sample
    raise SourceError(
        "HS-SOURCE-005",
        f"this source reads sounds, but a sample is of type {type(sample).__name__}.",
        "Choose a source for that kind of input, or give a path, bytes, or an array with its rate.",
    )


@contextmanager
def _opened(sample: Sample, name: str) -> Iterator[Any]:
    """An open ``SoundFile``; what the library raises becomes DataError HS-DATA-013."""
    soundfile, content = library(), _content(sample)
    if isinstance(content, str) and not Path(name).is_file():
        raise DataError("HS-DATA-013", f"{name} does not exist.", "Correct the path, or remove the row.")
    try:
        with soundfile.SoundFile(io.BytesIO(content) if isinstance(content, bytes) else name) as file:
            yield file
    except (soundfile.SoundFileError, ValueError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        said = str(error).replace(repr(name), "it").split(": ")[-1].strip().rstrip(".")
        raise _damaged(name, f"the sound cannot be decoded ({said})") from error


def _damaged(name: str, why: str) -> DataError:
    return DataError("HS-DATA-013", f"{name}: {why}.", "Copy the file again, or remove the row.")


def _ends(name: str, start: float | None, end: float | None, whole: float) -> tuple[float, float]:
    """The seconds that are meant of a file of ``whole`` seconds."""
    first, last = start or 0.0, whole if end is None else end
    if first < 0 or (end is not None and last <= first):
        raise _damaged(name, f"the part from {first:g} to {last:g} s is empty")
    if last > whole + BEYOND or (first >= whole and start is not None):
        raise _damaged(name, f"the part from {first:g} to {last:g} s lies beyond the sound's {whole:.2f} s")
    return first, min(last, whole)


def _cut_off(file: Any, promised: int, found: int) -> str:
    """Whether the data end before the header says; for WAV and AIFF the library tells of it in its log."""
    if found < promised - 2400:  # an MP3 frame or two less is how encoders pad
        return f"the sound is truncated ({found / max(promised, 1):.0%} of it is there)"
    for line in file.extra_info.splitlines():
        label, _, rest = line.partition(":")
        if label.strip() == "data" and "(should be" in rest and int(rest.split()[0]) < _STREAMED:
            stated, there = int(rest.split()[0]), int(rest.split("should be")[1].strip(" )"))
            if there < stated:
                return f"the sound is truncated ({there / stated:.0%} of it is there)"
    return ""


def _unfinished(sample: Sample, kind: str) -> str:
    """Whether an Ogg file lacks the page that is marked as its last."""
    if kind != "OGG":
        return ""
    content = _content(sample)
    if isinstance(content, str):
        with Path(clip.parted(content)[0]).open("rb") as file:
            file.seek(max(0, Path(clip.parted(content)[0]).stat().st_size - _LAST_PAGE))
            content = file.read()
    last = content.rfind(b"OggS")
    page = content[last:] if last >= 0 else b""  # 27 bytes, then the lengths of its segments, then the segments
    whole = len(page) > 27 and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])
    return "" if whole and page[5] & 4 else "the sound is truncated (its last page is missing or cut off)"
